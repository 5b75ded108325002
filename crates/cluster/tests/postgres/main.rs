//! Two nodes with real journals on a real server: one is killed, and the other has everything.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_cluster::{Beat, Cells, Load, NodeName, NodeSpec, PostgresTables, Tables as _, Takeover};
use stride_ids::{CellId, Code, DatabaseId, Epoch, Failure, Incarnation, Name, Seq};
use stride_journal::{
    Error, Journal,
    postgres::{Directory, PostgresJournal, Settings},
};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock, Tasks};

const CELLS: u16 = 64;

/// What an engine does with cells, without agents: takes over, replays, appends, gives up.
struct Engine {
    journal: Arc<PostgresJournal>,
    owned: Mutex<BTreeMap<CellId, (Epoch, Seq)>>,
}

fn failure(error: Error) -> Failure {
    Failure::new(Code::Unavailable, error.to_string())
}

impl Cells for Engine {
    fn owned(&self) -> Vec<(CellId, Epoch)> {
        self.owned.lock().iter().map(|(cell, (epoch, _))| (*cell, *epoch)).collect()
    }

    fn acquire(&self, cells: Vec<Takeover>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let cells: Vec<_> = cells.into_iter().map(|Takeover { cell, epoch, .. }| (cell, epoch)).collect();
            let journal = self.journal.clone();
            let tasks = Tasks::real();
            let opened = tasks.blocking(move || {
                let opened = journal.open_at(&cells)?;
                let taken = cells.iter().zip(opened).filter_map(|((cell, _), opened)| Some((*cell, opened?)));
                let replay = |(cell, opened): (CellId, stride_journal::Opened)| {
                    let records = journal.replay(cell, Seq::ZERO)?;
                    assert_eq!(records.len() as u64, opened.last.0, "the tail is there as a whole");
                    Ok((cell, (opened.epoch, opened.last)))
                };
                taken.map(replay).collect::<Result<Vec<_>, Error>>()
            });
            let opened = opened.await.map_err(failure)?;
            self.owned.lock().extend(opened);
            Ok(())
        })
    }

    fn release(&self, cell: CellId, _: Option<NodeName>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let Some((epoch, _)) = self.owned.lock().remove(&cell) else { return Ok(()) };
            let journal = self.journal.clone();
            Tasks::real().blocking(move || journal.release(cell, epoch)).await.map_err(failure)
        })
    }

    fn rehome(&self, cell: CellId, to: DatabaseId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let journal = self.journal.clone();
            Tasks::real().blocking(move || journal.reach(to)).await.map_err(failure)?;
            self.release(cell, None).await?;
            let journal = self.journal.clone();
            Tasks::real().blocking(move || journal.move_tail(cell, to)).await.map_err(failure)
        })
    }

    fn lose(&self, cell: CellId) {
        self.owned.lock().remove(&cell);
    }

    fn load(&self) -> Load {
        Load::default()
    }
}

struct Node {
    beat: Beat,
    engine: Arc<Engine>,
    journal: Arc<PostgresJournal>,
    clock: Clock,
}

async fn start(url: &str, name: &str) -> Node {
    let (clock, chance) = (Clock::real(), Chance::from_os());
    let incarnation = Incarnation::of_bits(chance.next_u64());
    let settings = Settings { url: url.into(), cells: CELLS, incarnation };
    let journal = {
        let clock = clock.clone();
        Tasks::real().blocking(move || PostgresJournal::open(settings, clock, chance)).await.unwrap()
    };
    let journal = Arc::new(journal);
    let engine = Arc::new(Engine { journal: journal.clone(), owned: Mutex::default() });
    let spec = NodeSpec {
        name: NodeName(Name::new(name).unwrap()),
        incarnation,
        home: None,
        http: String::new(),
        peer: format!("{name}:1"),
        labels: BTreeMap::new(),
        price: 0,
        cores: 2,
        memory_bytes: 0,
        release: String::new(),
    };
    let tables = Arc::new(PostgresTables::new(url).unwrap());
    let beat = Beat::start(spec, tables, engine.clone(), clock.clone()).await.unwrap();
    Node { beat, engine, journal, clock }
}

impl Node {
    fn owns(&self) -> usize {
        self.engine.owned.lock().len()
    }

    /// Writes a record into each of its cells.
    async fn write(&self, text: &str) -> usize {
        let owned: Vec<_> = self.engine.owned.lock().iter().map(|(cell, (epoch, _))| (*cell, *epoch)).collect();
        for (cell, epoch) in &owned {
            let pending = loop {
                match self.journal.append(*cell, *epoch, Bytes::from(text.to_owned())) {
                    Ok(pending) => break pending,
                    // It finds out a moment later than the beat that the server is back.
                    Err(Error::Unavailable(_)) => self.clock.sleep(Duration::from_millis(20)).await,
                    Err(error) => panic!("{cell}: {error}"),
                }
            };
            pending.await.unwrap();
        }
        owned.len()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) -> Duration {
    let clock = Clock::real();
    let began = clock.now();
    while !condition() {
        assert!(clock.now() - began < Duration::from_secs(60), "never: {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
    clock.now() - began
}

const ALL: usize = CELLS as usize;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_is_replaced_and_stores_nothing_more_if_it_was_not_dead_after_all() {
    let server = Server::start().unwrap();
    let url = server.url("postgres");
    let first = start(&url, "a").await;
    until("the first has all", || first.owns() == ALL).await;
    assert_eq!(first.write("1").await, ALL);
    let second = start(&url, "b").await;
    let took = until("both have half", || first.owns() == ALL / 2 && second.owns() == ALL / 2).await;
    eprintln!("{} cells moved within {took:?} of the second node's start", ALL / 2);
    assert_eq!(second.write("2").await, ALL / 2, "and what the first wrote is there before it");

    let Node { beat, engine, journal, clock } = first;
    let lease = beat.lease();
    let stale: Vec<_> = engine.owned();
    drop(beat);
    let took = until("the second has all", || second.owns() == ALL).await;
    eprintln!("all cells of a killed node were taken over after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!lease.is_valid(clock.now()), "its lease was over by then");
    assert_eq!(second.write("3").await, ALL);
    // Its process goes on, and does not know.
    for (cell, epoch) in stale {
        let stored = match journal.append(cell, epoch, Bytes::from("late")) {
            Ok(pending) => pending.await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(stored, Err(Error::Fenced { .. })), "{cell}: {stored:?}");
    }
    for (cell, _) in second.engine.owned() {
        let records = second.journal.replay(cell, Seq::ZERO).unwrap();
        assert!(records.iter().all(|record| record.bytes != "late"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_hands_everything_over_and_cells_go_where_they_are_pinned() {
    let server = Server::start().unwrap();
    let url = server.url("postgres");
    let (first, second) = (start(&url, "a").await, start(&url, "b").await);
    until("both have half", || first.owns() == ALL / 2 && second.owns() == ALL / 2).await;
    let operator = PostgresTables::new(&url).unwrap();
    let pinned: Vec<CellId> = (0..CELLS).map(CellId).collect();
    operator.pin(&pinned, &NodeName(Name::new("a").unwrap())).await.unwrap();
    until("the first has all", || first.owns() == ALL).await;
    first.write("1").await;
    let clock = Clock::real();
    let began = clock.now();
    first.beat.drain(Duration::from_secs(30)).await;
    eprintln!("{ALL} cells were drained in {:?}", clock.now() - began);
    assert_eq!(first.owns(), 0);
    until("the second has all", || second.owns() == ALL).await;
    assert_eq!(second.write("2").await, ALL);
    let world = operator.world().await.unwrap();
    assert_eq!(world.nodes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["b"]);
    assert!(world.map().cells.iter().all(|place| place.owner == place.wanted));
}

/// The data path has patience of its own; ownership must not suffer from a server that is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_for_longer_than_a_lease_takes_nobody_s_cells() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    let (first, second) = (start(&url, "a").await, start(&url, "b").await);
    until("both have half", || first.owns() == ALL / 2 && second.owns() == ALL / 2).await;
    let before = [first.engine.owned(), second.engine.owned()];
    server.kill();
    let answer = |node: &Node| node.beat.lease().is_valid(node.clock.now());
    until("nobody answers", || !answer(&first) && !answer(&second)).await;
    first.clock.sleep(Duration::from_secs(3)).await;
    server.resume().unwrap();
    until("both answer again", || answer(&first) && answer(&second)).await;
    first.write("1").await;
    second.write("2").await;
    // Long enough for whoever would be thought dead.
    first.clock.sleep(Duration::from_secs(4)).await;
    assert_eq!([first.engine.owned(), second.engine.owned()], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_are_spread_over_a_database_that_is_added_and_each_database_is_away_for_its_own_cells_only() {
    let (server, mut another) = (Server::start().unwrap(), Server::start().unwrap());
    let url = server.url("postgres");
    let (first, second) = (start(&url, "a").await, start(&url, "b").await);
    until("both have half", || first.owns() == ALL / 2 && second.owns() == ALL / 2).await;
    first.write("1").await;
    second.write("1").await;
    let directory = Directory::new(&url).unwrap();
    let number = directory.add(&another.url("postgres"), &Chance::from_os()).await.unwrap();
    let operator = PostgresTables::new(&url).unwrap();
    unfit(operator.begin_with("nod-1", &[CellId(3)], Seq(1)).await, "add-database");
    assert_eq!(operator.spread().await.unwrap(), ALL / 2);
    let spread = async || {
        let listed = directory.list().await.unwrap();
        listed.iter().map(|one| (one.cells, one.leaving + one.coming)).collect::<Vec<_>>()
    };
    let clock = Clock::real();
    let began = clock.now();
    while spread().await != [(ALL as u64 / 2, 0); 2] {
        assert!(clock.now() - began < Duration::from_secs(60), "{:?}", spread().await);
        clock.sleep(Duration::from_millis(20)).await;
    }
    eprintln!("{} tails moved after {:?}", ALL / 2, clock.now() - began);
    assert_eq!(operator.spread().await.unwrap(), 0);
    until("both have half again", || first.owns() == ALL / 2 && second.owns() == ALL / 2).await;
    assert_eq!(first.write("2").await + second.write("2").await, ALL, "and what was written before is there");

    another.kill();
    let world = operator.world().await.unwrap();
    let there = |cell: &CellId| world.cells[usize::from(cell.0)].database == number;
    for node in [&first, &second] {
        for (cell, epoch) in node.engine.owned().into_iter().filter(|(cell, _)| !there(cell)) {
            node.journal.append(cell, epoch, Bytes::from("3")).unwrap().await.unwrap();
        }
        // What a node does when it hears of it.
        for _ in 0..node.engine.owned().iter().filter(|(cell, _)| there(cell)).count() {
            let lost = node.journal.lost().await;
            assert!(there(&lost.cell));
            node.engine.lose(lost.cell);
        }
    }
    assert_eq!(first.owns() + second.owns(), ALL / 2, "the others stay");
    another.resume().unwrap();
    until("all are back", || first.owns() + second.owns() == ALL).await;
    assert_eq!(first.write("4").await + second.write("4").await, ALL);
    for node in [&first, &second] {
        for (cell, _) in node.engine.owned() {
            let records = node.journal.replay(cell, Seq::ZERO).unwrap();
            let texts: Vec<&[u8]> = records.iter().map(|record| &record.bytes[..]).collect();
            let expected: &[&[u8]] = if there(&cell) { &[b"1", b"2", b"4"] } else { &[b"1", b"2", b"3", b"4"] };
            assert_eq!(texts, expected, "{cell}");
        }
    }
}

fn unfit<T: std::fmt::Debug>(outcome: Result<T, stride_cluster::Error>, says: &str) {
    match outcome {
        Err(stride_cluster::Error::Unfit(why)) => assert!(why.contains(says), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_with_cells_of_somebody_else_only_if_it_never_had_any() {
    let server = Server::start().unwrap();
    let database = server.fresh_database().unwrap();
    let used = start(&server.url(&database), "used").await;
    until("it has all", || used.owns() == ALL).await;
    used.write("1").await;
    let tables = PostgresTables::new(&server.url(&database)).unwrap();
    unfit(tables.begin_with("nod-1", &[CellId(3)], Seq(1)).await, "in use");
    assert_eq!(used.write("2").await, ALL, "nobody lost anything");

    let url = server.url("postgres");
    let node = start(&url, "a").await;
    until("it has all", || node.owns() == ALL).await;
    let stale = node.engine.owned().into_iter().find(|(cell, _)| *cell == CellId(3)).unwrap();
    let tables = PostgresTables::new(&url).unwrap();
    assert_eq!(tables.state().await.unwrap().why_not_unused(), None);
    tables.begin_with("nod-1", &[CellId(3), CellId(5)], Seq(1)).await.unwrap();
    // The journal begins behind a record that only a snapshot has, and who had the cell has lost it.
    let lasts = node.journal.lasts().unwrap();
    let begun: Vec<usize> = (0..ALL).filter(|cell| lasts[*cell] == Seq(1)).collect();
    assert_eq!((begun, lasts.len()), (vec![3, 5], ALL));
    let late = match node.journal.append(stale.0, stale.1, Bytes::from("late")) {
        Ok(pending) => pending.await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
    assert!(matches!(node.journal.replay(CellId(3), Seq::ZERO), Err(Error::Gap { .. })));
    assert_eq!(node.journal.replay(CellId(3), Seq(1)).unwrap(), []);
    unfit(tables.begin_with("nod-2", &[CellId(4)], Seq(1)).await, "agents of nod-1");
    assert_eq!(tables.state().await.unwrap().adopted.as_deref(), Some("nod-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_closed_only_while_its_cells_are_held_and_for_good() {
    let server = Server::start().unwrap();
    let url = server.url("postgres");
    let node = start(&url, "a").await;
    until("it has all", || node.owns() == ALL).await;
    node.write("1").await;
    let holder = Incarnation::of_bits(77);
    let take = || {
        let settings = Settings { url: url.clone(), cells: CELLS, incarnation: holder };
        let journal = PostgresJournal::open(settings, Clock::real(), Chance::from_os()).unwrap();
        let opened = journal.open(&(0..CELLS).map(CellId).collect::<Vec<_>>()).unwrap();
        (0..).map(CellId).zip(opened).map(|(cell, opened)| (cell, opened.epoch)).collect::<Vec<_>>()
    };
    let tables = PostgresTables::new(&url).unwrap();
    let held = take();
    unfit(tables.close("elsewhere", &held, holder).await, "a node was started meanwhile (a)");
    drop(node.beat);
    let clock = Clock::real();
    while !tables.state().await.unwrap().living.is_empty() {
        clock.sleep(Duration::from_millis(20)).await;
    }
    // Whatever it took back before it ended is missing now.
    let held = take();
    let stale: Vec<_> = held.iter().map(|(cell, epoch)| (*cell, Epoch(epoch.0 - 1))).collect();
    unfit(tables.close("elsewhere", &stale, holder).await, "meanwhile");
    unfit(tables.close("elsewhere", &held, Incarnation::of_bits(78)).await, "meanwhile");
    tables.close("elsewhere", &held, holder).await.unwrap();
    unfit(tables.close("another place", &held, holder).await, "elsewhere");
    unfit(tables.begin_with("nod-1", &[CellId(3)], Seq(1)).await, "elsewhere");
    // Also who was only silent: it has to join again.
    let spec = NodeSpec {
        name: NodeName(Name::new("a").unwrap()),
        incarnation: Incarnation::of_bits(1),
        home: None,
        http: String::new(),
        peer: "a:1".into(),
        labels: BTreeMap::new(),
        price: 0,
        cores: 2,
        memory_bytes: 0,
        release: String::new(),
    };
    unfit(tables.join(&spec, Duration::from_secs(1)).await, "its agents are in elsewhere");
}
