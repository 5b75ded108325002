//! What the tables promise, for those in memory and for those in PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stride_cluster::{
    CellLoad, CellRow, Change, Deployment, Error, Labels, Load, NodeName, NodeSpec, PostgresTables, Pulse, Tables, Why,
    memory::MemoryTables,
};
use stride_ids::{CellId, DatabaseId, Epoch, Incarnation, Name};
use stride_journal::{
    Journal as _,
    postgres::{PostgresJournal, Settings},
};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};

const CELLS: u16 = 8;
const LEASE: Duration = Duration::from_secs(2);

/// Tables with nothing in them, for several nodes, and the clock to wait with.
struct Shared {
    nodes: Vec<Arc<dyn Tables>>,
    clock: Clock,
    server: Option<Server>,
}

fn in_memory() -> Shared {
    let clock = Clock::simulated();
    let tables = MemoryTables::new(CELLS, clock.clone());
    tables.add_database();
    tables.open_at(CellId(0), Epoch(0), Incarnation::of_bits(1)).unwrap();
    Shared { nodes: (0..3).map(|_| Arc::new(tables.way()) as Arc<dyn Tables>).collect(), clock, server: None }
}

async fn in_postgres() -> Shared {
    let (server, clock) = (Server::start().unwrap(), Clock::real());
    let database = server.fresh_database().unwrap();
    let url = server.url(&database);
    let settings = Settings { url: url.clone(), cells: CELLS, incarnation: Incarnation::of_bits(1) };
    let journal = PostgresJournal::open(settings, clock.clone(), Chance::from_os()).unwrap();
    server.psql(&database, "INSERT INTO stride.databases VALUES (1, 'dat-1', 'postgres://nowhere/x')").unwrap();
    tokio::task::spawn_blocking(move || journal.open_one(CellId(0)).unwrap()).await.unwrap();
    let nodes = (0..3).map(|_| Arc::new(PostgresTables::new(&url).unwrap()) as Arc<dyn Tables>).collect();
    Shared { nodes, clock, server: Some(server) }
}

fn name(text: &str) -> NodeName {
    NodeName(Name::new(text).unwrap())
}

fn spec(text: &str, bits: u64, home: Option<&str>) -> NodeSpec {
    NodeSpec {
        name: name(text),
        incarnation: Incarnation::of_bits(bits),
        home: home.map(str::to_owned),
        http: format!("http://{text}"),
        peer: format!("{text}:1"),
        labels: BTreeMap::from([("region".into(), "eu \"1\"".into())]),
        price: 7,
        cores: 4,
        memory_bytes: 1 << 40,
        release: "0.1.0".into(),
    }
}

fn demanded() -> Labels {
    Labels::from([("region".into(), "eu \"1\"".into()), ("region".into(), "us".into()), ("tier".into(), String::new())])
}

fn pulse(bits: u64) -> Pulse {
    let one = CellLoad { cell: CellId(1), bytes: Some(1 << 33), busy: Some(250), labels: demanded() };
    let load = Load { agents: 5, queue: 2, cells: vec![one] };
    Pulse { incarnation: Incarnation::of_bits(bits), draining: false, bytes: 1 << 33, load, cells: 3, deployed: 1 }
}

async fn wait(shared: &Shared, duration: Duration) {
    shared.clock.sleep(duration).await;
}

/// A name has one node at a time.
async fn a_name_is_refused_while_its_node_lives_and_free_when_it_does_not(shared: &Shared) {
    let [a, b, _] = &shared.nodes[..] else { panic!("three") };
    a.join(&spec("n", 1, Some("here")), LEASE).await.unwrap();
    a.join(&spec("n", 1, Some("here")), LEASE).await.unwrap();
    let refused = b.join(&spec("n", 2, Some("there")), LEASE).await;
    assert_eq!(refused, Err(Error::NameInUse { name: name("n"), peer: "n:1".into() }));
    assert!(b.join(&spec("n", 2, None), LEASE).await.is_err(), "no home is nobody's");
    // The process that had the directory's lock before has ended.
    b.join(&spec("n", 3, Some("here")), LEASE).await.unwrap();
    assert_eq!(a.beat(&pulse(1)).await, Err(Error::Replaced));
    wait(shared, LEASE + LEASE / 4).await;
    a.join(&spec("n", 4, Some("elsewhere")), LEASE).await.unwrap();
    assert_eq!(b.beat(&pulse(3)).await, Err(Error::Replaced));
    a.leave(Incarnation::of_bits(4)).await.unwrap();
    b.join(&spec("n", 5, Some("there")), LEASE).await.unwrap();
    let world = a.world().await.unwrap();
    assert_eq!(world.nodes.len(), 1);
    let row = &world.nodes[&name("n")];
    assert_eq!(row.spec, spec("n", 5, Some("there")));
    assert!(!row.dead && !row.draining && row.silent < LEASE);
}

/// A beat says what it says, and is told when something has changed.
async fn beats_carry_the_load_and_tell_of_changes(shared: &Shared) {
    let [a, b, _] = &shared.nodes[..] else { panic!("three") };
    a.join(&spec("a", 1, None), LEASE).await.unwrap();
    let first = a.beat(&pulse(1)).await.unwrap();
    let again = a.beat(&pulse(1)).await.unwrap();
    assert_eq!((again.nodes, again.wanted, again.owners), (first.nodes, first.wanted, first.owners));
    assert!(again.now >= first.now);
    b.join(&spec("b", 2, None), LEASE).await.unwrap();
    let joined = a.beat(&pulse(1)).await.unwrap();
    assert!(joined.nodes > again.nodes);
    b.beat(&Pulse { draining: true, ..pulse(2) }).await.unwrap();
    let drains = a.beat(&pulse(1)).await.unwrap();
    assert!(drains.nodes > joined.nodes);
    let world = b.world().await.unwrap();
    let row = &world.nodes[&name("a")];
    assert_eq!((row.cells, row.agents, row.queue, row.bytes, row.deployed), (3, 5, 2, 1 << 33, 1));
    assert!(world.nodes[&name("b")].draining && !row.draining);
    assert_eq!(world.cells.len(), usize::from(CELLS));
    let said = async || {
        let row = b.world().await.unwrap().cells.swap_remove(1);
        (row.bytes, row.busy, row.labels)
    };
    assert_eq!(said().await, (1 << 33, 250, demanded()));
    // Who has just taken it over knows nothing of it yet: it stays as it was said before. What its agents need is known all the time.
    for labels in [demanded(), Labels::new()] {
        let unknown = CellLoad { cell: CellId(1), bytes: None, busy: Some(20), labels: labels.clone() };
        let load = Load { cells: vec![unknown], ..Load::default() };
        a.beat(&Pulse { load, ..pulse(1) }).await.unwrap();
        assert_eq!(said().await, (1 << 33, 20, labels));
    }
    assert!(world.cells.iter().enumerate().all(|(nth, row)| nth == 1 || row.labels.is_empty()));
}

/// Dead is who was silent for longer than its lease, once somebody who was not says so; and it stays so until it joins.
async fn the_silent_are_declared_dead_by_one_who_was_heard_just_now(shared: &Shared) {
    let [a, b, _] = &shared.nodes[..] else { panic!("three") };
    let (ours, theirs) = (Incarnation::of_bits(1), Incarnation::of_bits(2));
    a.join(&spec("a", 1, None), LEASE).await.unwrap();
    b.join(&spec("b", 2, None), LEASE).await.unwrap();
    assert_eq!(a.reconcile(ours, LEASE, true).await, Ok(Some(0)));
    assert_eq!(b.reconcile(theirs, LEASE, true).await, Ok(None), "one at a time");
    assert_eq!(a.reconcile(ours, LEASE, true).await, Ok(Some(0)), "and it keeps it");
    b.beat(&pulse(2)).await.unwrap();
    wait(shared, LEASE + LEASE / 4).await;
    assert_eq!(a.reconcile(ours, LEASE, true).await, Ok(Some(0)));
    b.beat(&pulse(2)).await.expect("who was silent itself judges nobody");
    wait(shared, LEASE + LEASE / 4).await;
    let before = a.beat(&pulse(1)).await.unwrap();
    assert_eq!(a.reconcile(ours, LEASE, false).await, Ok(Some(0)));
    assert!(!a.world().await.unwrap().nodes[&name("b")].dead, "only if it is meant to");
    assert_eq!(a.reconcile(ours, LEASE, true).await, Ok(Some(1)));
    assert!(a.beat(&pulse(1)).await.unwrap().nodes > before.nodes);
    assert!(a.world().await.unwrap().nodes[&name("b")].dead);
    assert_eq!(b.beat(&pulse(2)).await, Err(Error::Dead), "too late");
    b.join(&spec("b", 2, None), LEASE).await.unwrap();
    b.beat(&pulse(2)).await.unwrap();
    assert!(!a.world().await.unwrap().nodes[&name("b")].dead);
    wait(shared, LEASE + LEASE / 4).await;
    assert!(b.reconcile(theirs, LEASE, true).await.unwrap().is_some(), "the lease for it goes on to others");
    assert_eq!(a.reconcile(ours, LEASE, true).await, Ok(None));
    b.leave(theirs).await.unwrap();
    assert!(a.reconcile(ours, LEASE, true).await.unwrap().is_some(), "who leaves does not keep it");
}

/// Two who decide at the same time do not undo each other.
async fn what_is_wanted_is_written_by_one_who_knows_what_is_there(shared: &Shared) {
    let [a, b, other] = &shared.nodes[..] else { panic!("three") };
    let (ours, theirs) = (Incarnation::of_bits(1), Incarnation::of_bits(2));
    a.join(&spec("a", 1, None), LEASE).await.unwrap();
    b.join(&spec("b", 2, None), LEASE).await.unwrap();
    let change = |cell, to: &str| Change { cell: CellId(cell), to: name(to), why: Why::Gone(name("x")) };
    assert!(a.reconcile(ours, LEASE, false).await.unwrap().is_some());
    let seen = a.world().await.unwrap();
    let before = a.beat(&pulse(1)).await.unwrap();
    assert!(!b.want(theirs, seen.version, &[change(0, "b")]).await.unwrap(), "it is not its turn");
    assert!(a.want(ours, seen.version, &[change(0, "a"), change(3, "b")]).await.unwrap());
    assert!(!a.want(ours, seen.version, &[change(0, "b")]).await.unwrap(), "it has changed since");
    let news = a.beat(&pulse(1)).await.unwrap();
    assert!(news.wanted > before.wanted);
    let world = b.world().await.unwrap();
    assert_eq!(world.version, news.wanted);
    let wanted: Vec<_> =
        world.cells.iter().map(|row| row.wanted.as_ref().map(|wanted| wanted.node.to_string())).collect();
    assert_eq!(wanted[..4], [Some("a".into()), None, None, Some("b".into())]);
    assert_eq!(world.cells[0].wanted.as_ref().unwrap().why, "x is gone");
    // A pin changes what is wanted too: who has decided without it decides again.
    other.pin(&[CellId(1), CellId(99)], &name("b")).await.unwrap();
    assert!(!a.want(ours, world.version, &[change(1, "a")]).await.unwrap());
    assert_eq!(other.pin(&[CellId(1)], &name("x")).await, Err(Error::UnknownNode { name: name("x") }));
    assert_eq!(a.world().await.unwrap().cells[1].pin, Some(name("b")));
    other.unpin(&[CellId(1)]).await.unwrap();
    assert_eq!(a.world().await.unwrap().cells[1].pin, None);
    wait(shared, LEASE + LEASE / 4).await;
    let version = a.world().await.unwrap().version;
    assert!(!a.want(ours, version, &[change(0, "b")]).await.unwrap(), "its turn is over");
}

async fn only_what_a_node_has_is_confirmed(shared: &Shared) {
    let [a, ..] = &shared.nodes[..] else { panic!("three") };
    let (cell, none) = (CellId(0), CellId(u16::MAX));
    let world = a.world().await.unwrap();
    let epoch = world.cells[0].epoch;
    let (ours, theirs) = (Incarnation::of_bits(1), Incarnation::of_bits(77));
    assert_eq!(world.cells[0].holder, Some(ours), "it was opened before");
    assert_eq!(a.confirm(ours, &[(cell, epoch), (none, epoch)]).await.unwrap(), [cell]);
    assert_eq!(a.confirm(ours, &[(cell, Epoch(epoch.0 + 1))]).await.unwrap(), []);
    assert_eq!(a.confirm(theirs, &[(cell, epoch)]).await.unwrap(), []);
}

/// Whoever owns them finds it there.
async fn tails_are_sent_to_databases_that_there_are_and_everybody_sees_it(shared: &Shared) {
    let [a, b, _] = &shared.nodes[..] else { panic!("three") };
    a.join(&spec("a", 1, None), LEASE).await.unwrap();
    let before = a.beat(&pulse(1)).await.unwrap();
    let refused = a.send_tails(&[CellId(0)], DatabaseId(2)).await;
    assert_eq!(refused, Err(Error::UnknownDatabase { number: DatabaseId(2) }));
    assert_eq!(a.beat(&pulse(1)).await.unwrap().wanted, before.wanted);
    b.send_tails(&[CellId(0), CellId(2), CellId(u16::MAX)], DatabaseId(1)).await.unwrap();
    assert!(a.beat(&pulse(1)).await.unwrap().wanted > before.wanted);
    let goes = async || {
        let world = a.world().await.unwrap();
        let to = world.cells.iter().map(|row| (row.database.0, row.moves_to.map(|to| to.0)));
        to.take(3).collect::<Vec<_>>()
    };
    assert_eq!(goes().await, [(0, Some(1)), (0, None), (0, Some(1))]);
    b.send_tails(&[CellId(0)], DatabaseId::FIRST).await.unwrap();
    assert_eq!(goes().await, [(0, None), (0, None), (0, Some(1))], "it is there");
}

/// History, with one number for all.
async fn deployments_have_an_order_and_nobody_overwrites_what_it_has_not_seen(shared: &Shared) {
    let [a, b, _] = &shared.nodes[..] else { panic!("three") };
    a.join(&spec("a", 1, None), LEASE).await.unwrap();
    let deployment = |component: &str, entry: Option<&str>| Deployment {
        number: 0,
        tenant: Name::default_tenant(),
        component: Name::new(component).unwrap(),
        entry: entry.map(str::to_owned),
        hash: "h".into(),
    };
    assert_eq!(a.deploy(&deployment("x", Some("{\"v\": 1}")), Some(4)).await, Err(Error::Conflict { current: None }));
    assert_eq!(a.deploy(&deployment("x", Some("{\"v\": 1}")), None).await, Ok(1));
    assert_eq!(b.deploy(&deployment("y", Some("{}")), None).await, Ok(2));
    assert_eq!(b.deploy(&deployment("x", None), None).await, Err(Error::Conflict { current: Some(1) }));
    let (one, other) = (deployment("x", None), deployment("x", Some("{}")));
    let both = [a.deploy(&one, Some(1)), b.deploy(&other, Some(1))];
    let both = futures::future::join_all(both).await;
    assert_eq!(both.iter().filter(|one| **one == Ok(3)).count(), 1, "{both:?}");
    assert!(both.contains(&Err(Error::Conflict { current: Some(3) })), "{both:?}");
    assert_eq!(a.beat(&pulse(1)).await.unwrap().deployments, 3);
    let all = a.deployments(0).await.unwrap();
    assert_eq!(
        all.iter().map(|one| (one.number, one.component.as_str())).collect::<Vec<_>>(),
        [(1, "x"), (2, "y"), (3, "x")]
    );
    assert_eq!(all[0].entry.as_deref(), Some("{\"v\": 1}"));
    assert_eq!(b.deployments(2).await.unwrap().len(), 1);
}

macro_rules! for_both {
    ($($test:ident)*) => {
        mod memory { $(#[tokio::test(start_paused = true)] async fn $test() { super::$test(&super::in_memory()).await; })* }
        mod postgres { $(#[tokio::test] async fn $test() { super::$test(&super::in_postgres().await).await; })* }
    };
}

for_both! {
    a_name_is_refused_while_its_node_lives_and_free_when_it_does_not
    beats_carry_the_load_and_tell_of_changes
    the_silent_are_declared_dead_by_one_who_was_heard_just_now
    what_is_wanted_is_written_by_one_who_knows_what_is_there
    only_what_a_node_has_is_confirmed
    tails_are_sent_to_databases_that_there_are_and_everybody_sees_it
    deployments_have_an_order_and_nobody_overwrites_what_it_has_not_seen
}

/// What an older release kept is there, and nothing is demanded until somebody says so.
#[tokio::test]
async fn tables_of_a_release_that_knew_no_labels_of_cells_are_brought_forward() {
    let shared = in_postgres().await;
    let [a, b, c] = &shared.nodes[..] else { panic!("three") };
    a.join(&spec("a", 1, None), LEASE).await.unwrap();
    a.beat(&pulse(1)).await.unwrap();
    let before = a.world().await.unwrap().cells;
    let older = "ALTER TABLE stride.wanted DROP COLUMN labels; UPDATE stride.control_version SET version = 3";
    shared.server.as_ref().unwrap().psql("db0", older).unwrap();
    let expected: Vec<_> = before.iter().map(|row| CellRow { labels: Labels::new(), ..row.clone() }).collect();
    assert_eq!(b.world().await.unwrap().cells, expected);
    c.beat(&pulse(1)).await.unwrap();
    assert_eq!(c.world().await.unwrap().cells, before);
}

#[tokio::test]
async fn a_database_without_a_journal_or_of_a_newer_release_is_refused() {
    let server = Server::start().unwrap();
    let url = server.url(&server.fresh_database().unwrap());
    let tables = PostgresTables::new(&url).unwrap();
    assert!(matches!(tables.world().await, Err(Error::Unfit(why)) if why.contains("no journal")));
    let settings = Settings { url: url.clone(), cells: CELLS, incarnation: Incarnation::of_bits(1) };
    let _journal = PostgresJournal::open(settings, Clock::real(), Chance::from_os()).unwrap();
    tables.world().await.unwrap();
    server.psql("db0", "UPDATE stride.control_version SET version = 99").unwrap();
    let newer = PostgresTables::new(&url).unwrap().world().await;
    assert!(matches!(&newer, Err(Error::Unfit(why)) if why.contains("99")), "{newer:?}");
    assert!(matches!(PostgresTables::new("nonsense").map(drop), Err(Error::Unfit(_))));
}
