//! Messages, timers, failures and upgrades on a journal in memory, with bodies that are plain Rust and time that jumps.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use stride_agents::{
    Answer, Ask, Bodies, Body, Engine, Kind, Method, Offline, Resettled, Schedule, Settings, Surroundings, Tell, Told,
    Turn,
};
use stride_ids::{Address, AgentKey, CellId, Code, Failure, Layout, Name, Payload, Seq};
use stride_journal::{Journal as _, memory::MemoryJournal};
use stride_sim::{Chance, Clock, Tasks};
use stride_store::Store;

/// Agents that append what they are told to a list, pass messages on, ask, fail and set timers.
struct Lists {
    version: AtomicU64,
    clock: Clock,
}

struct List {
    version: u64,
    clock: Clock,
}

const METHODS: [&str; 12] =
    ["note", "pass", "fan", "fail", "fail_twice", "ask", "circle", "after", "every", "cancel", "tick", "stray"];

impl Lists {
    fn kind_with(version: u64) -> Arc<Kind> {
        let changing = METHODS.map(|name| (name.to_owned(), Method { read_only: false }));
        let mut methods: BTreeMap<_, _> = changing.into();
        methods.insert("all".into(), Method { read_only: true });
        let name = Name::new("list").unwrap();
        let idle = Duration::from_secs(60);
        Arc::new(Kind { component: name.clone(), version: version.to_string().into(), name, methods, idle })
    }
}

impl Bodies for Lists {
    fn kind(&self, _: &Name, name: &Name) -> Option<Arc<Kind>> {
        (name.as_str() == "list").then(|| Self::kind_with(self.version.load(Ordering::Relaxed)))
    }

    fn kind_of_version(&self, _: &Name, _: &Name, version: &str) -> Option<Arc<Kind>> {
        Some(Self::kind_with(version.parse().unwrap()))
    }

    fn nearest_kind(&self, _: &Name, _: &Name) -> Option<String> {
        Some("list".into())
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, _: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        let list = List { version: kind.version.parse().unwrap(), clock: self.clock.clone() };
        Box::pin(async { Ok(Box::new(list) as Box<dyn Body>) })
    }
}

fn text(payload: &Payload) -> String {
    String::from_utf8(payload.body.to_vec()).unwrap()
}

fn agent(key: &str) -> Address {
    let kind = Name::new("list").unwrap();
    Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(key).unwrap() }
}

fn add(turn: &mut Turn, what: &str) {
    let list = turn.load().map_or(String::new(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
    turn.save(format!("{list}{what} ").into()).unwrap();
}

impl Body for List {
    /// Version 1 changes the state; version 2 traps while it does so.
    fn migrate<'a>(&'a mut self, mut turn: Turn, from: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        let version = self.version;
        Box::pin(async move {
            add(&mut turn, &format!("({from}->{version})"));
            if version == 2 { Err(Failure::new(Code::GuestTrap, "version 2 cannot migrate")) } else { Ok(turn) }
        })
    }

    fn turn<'a>(
        &'a mut self,
        mut turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let input = text(&input);
            let tell = |turn: &mut Turn, to: &str, method: &str, input: &str| {
                turn.tell(agent(to), method.into(), Payload::json(input.to_owned())).unwrap();
            };
            match method {
                "all" => {
                    let list = turn.load().unwrap_or_default();
                    return Ok((turn, Payload { content_type: "text/plain".into(), body: list }));
                }
                "note" => add(&mut turn, &input),
                "pass" => tell(&mut turn, &input, "note", "passed"),
                "stray" => {
                    let kind = Name::new(&input).unwrap();
                    turn.tell(Address { kind, ..agent("x") }, "note".into(), Payload::json(""))?;
                }
                "fan" => (0..20).for_each(|n| tell(&mut turn, &input, "note", &n.to_string())),
                "fail" => {
                    add(&mut turn, "never");
                    tell(&mut turn, "other", "note", "never");
                    if self.version == 0 {
                        return Err(Failure::new(Code::GuestTrap, "it always fails"));
                    }
                    add(&mut turn, "mended");
                }
                "fail_twice" => {
                    let asked = Payload::json("asked");
                    turn.ask(agent("other"), "note".into(), asked).await?;
                    let at = self.clock.timestamp();
                    if at < input.parse().unwrap() {
                        return Err(Failure::new(Code::GuestError, "too early"));
                    }
                    add(&mut turn, "done");
                }
                "ask" => {
                    let answer = turn.ask(agent(&input), "all".into(), Payload::json("")).await?;
                    add(&mut turn, &format!("[{}]", text(&answer)));
                }
                "circle" => {
                    let (next, rest) = input.split_once(' ').unwrap();
                    let answer = turn.ask(agent(next), "circle".into(), Payload::json(rest.to_owned())).await?;
                    return Ok((turn, answer));
                }
                "after" => {
                    let at = Schedule::At(self.clock.timestamp() + input.parse::<u64>().unwrap());
                    turn.set_timer("once".into(), at, "tick".into(), Payload::json("")).unwrap();
                }
                "every" => {
                    let every = Schedule::Every(input.parse().unwrap());
                    turn.set_timer("again".into(), every, "tick".into(), Payload::json("")).unwrap();
                }
                "cancel" => {
                    let was_set = turn.cancel_timer(&input).unwrap();
                    add(&mut turn, &format!("cancelled:{was_set}"));
                }
                "tick" => {
                    let firing = turn.firing().unwrap().clone();
                    add(&mut turn, &format!("{}+{}", firing.name, firing.missed));
                }
                other => panic!("{other}"),
            }
            Ok((turn, Payload::json("null")))
        })
    }
}

/// A node's engine, and what outlives it.
struct World {
    engine: Arc<Engine>,
    journal: Arc<MemoryJournal>,
    bodies: Arc<Lists>,
    clock: Clock,
    dir: tempfile::TempDir,
    layout: Layout,
}

async fn open(
    journal: &Arc<MemoryJournal>,
    bodies: &Arc<Lists>,
    dir: &tempfile::TempDir,
    clock: &Clock,
    layout: &Layout,
) -> Arc<Engine> {
    let settings = Settings { cells: layout.cells(), ..Settings::default() };
    let store = Arc::new(Store::open(dir.path(), layout.clone(), Default::default()).unwrap());
    let surroundings = Surroundings {
        journal: journal.clone(),
        store,
        bodies: bodies.clone(),
        clock: clock.clone(),
        chance: Chance::seeded(1),
        tasks: Tasks::real(),
        cluster: None,
    };
    Engine::open(surroundings, settings).await.unwrap()
}

impl World {
    async fn new() -> Self {
        Self::with(Layout::from(8)).await
    }

    async fn with(layout: Layout) -> Self {
        let (journal, clock, dir) = (Arc::new(MemoryJournal::new()), Clock::simulated(), tempfile::tempdir().unwrap());
        let bodies = Arc::new(Lists { version: AtomicU64::new(0), clock: clock.clone() });
        let engine = open(&journal, &bodies, &dir, &clock, &layout).await;
        Self { engine, journal, bodies, clock, dir, layout }
    }

    /// Ends the node and starts it again after a while.
    async fn restart_after(self, away: Duration) -> Self {
        let Self { engine, journal, bodies, clock, dir, layout } = self;
        engine.stop_handling().await;
        drop(engine);
        clock.sleep(away).await;
        // The task that waits for alarms lets go of the engine when it next looks.
        clock.sleep(Duration::from_secs(61)).await;
        let engine = open(&journal, &bodies, &dir, &clock, &layout).await;
        Self { engine, journal, bodies, clock, dir, layout }
    }

    /// Ends the node and starts another one with the same agents in so many cells. What the cells that are named have in the
    /// journal has not become durable.
    async fn resettled(self, into: u16, lost: &[CellId]) -> Self {
        let Self { engine, journal, bodies, clock, dir, layout } = self;
        engine.stop_handling().await;
        drop(engine);
        clock.sleep(Duration::from_secs(61)).await;
        let store = Arc::new(Store::open(dir.path(), layout.clone(), Default::default()).unwrap());
        let records = |cell, after| if lost.contains(&cell) { Ok(Vec::new()) } else { journal.replay(cell, after) };
        let last =
            |cell| if lost.contains(&cell) { store.position(cell) } else { journal.open_one(cell).unwrap().last };
        let before = Offline::over(store.clone(), last, records).unwrap();

        let (journal, dir) = (Arc::new(MemoryJournal::new()), tempfile::tempdir().unwrap());
        let layout = layout.in_cells(into);
        let store = Arc::new(Store::open(dir.path(), layout.clone(), Default::default()).unwrap());
        let written = before.resettle(into).unwrap().write(&store, |_| {}).unwrap();
        store.persist().unwrap();
        for cell in (0..into).map(CellId).filter(|cell| store.position(*cell) > Seq::ZERO) {
            let epoch = journal.open_one(cell).unwrap().epoch;
            journal.append(cell, epoch, Resettled::record()).unwrap().await.unwrap();
        }
        // As it was written; and whoever resettles it again in as many cells has the same.
        let position = |cell| store.position(cell);
        let after = Offline::over(store.clone(), position, |_, _| Ok(Vec::new())).unwrap();
        assert_eq!(after.tallies().unwrap(), written);
        let again =
            Arc::new(Store::open(tempfile::tempdir().unwrap().path(), layout.clone(), Default::default()).unwrap());
        assert_eq!(after.resettle(into).unwrap().write(&again, |_| {}).unwrap(), written);
        drop((after, store, before));
        let engine = open(&journal, &bodies, &dir, &clock, &layout).await;
        Self { engine, journal, bodies, clock, dir, layout }
    }

    async fn ask(&self, key: &str, method: &str, input: &str) -> Result<Answer, Failure> {
        let input = Payload::json(input.to_owned());
        let ask = Ask { address: agent(key), method: method.into(), input, idempotency_key: None, trace: None };
        self.engine.ask(ask).await
    }

    async fn tell(&self, key: &str, method: &str, input: &str, idempotency_key: Option<&str>) -> Result<Told, Failure> {
        let input = Payload::json(input.to_owned());
        let idempotency_key = idempotency_key.map(str::to_owned);
        self.engine.tell(Tell { address: agent(key), method: method.into(), input, idempotency_key, trace: None }).await
    }

    async fn all(&self, key: &str) -> String {
        text(&self.ask(key, "all", "").await.unwrap().payload).trim_end().to_owned()
    }

    /// Waits until no message waits or is on its way.
    async fn quiet(&self) {
        for _ in 0..100_000 {
            let stats = self.engine.stats();
            if stats.waiting + stats.leaving == 0 {
                return;
            }
            self.clock.sleep(Duration::from_millis(1)).await;
        }
        panic!("something waits for ever: {:?}", self.engine.stats());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tell_takes_effect_once_however_often_its_key_is_repeated() {
    let world = World::new().await;
    let first = world.tell("a", "note", "x", Some("key")).await.unwrap();
    let second = world.tell("a", "note", "x", Some("key")).await.unwrap();
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(first.message, second.message);
    assert_eq!(world.tell("a", "note", "y", Some("key")).await.unwrap_err().code, Code::Conflict);
    world.quiet().await;
    assert_eq!(world.all("a").await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_tell_of_what_does_not_exist_or_is_too_large_is_refused() {
    let world = World::new().await;
    assert_eq!(world.tell("a", "sing", "", None).await.unwrap_err().code, Code::NotFound);
    let large = "x".repeat(Payload::LEN_MAX + 1);
    assert_eq!(world.tell("a", "note", &large, None).await.unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(world.engine.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_between_two_agents_arrive_once_and_in_order_whichever_cells_they_are_in() {
    let world = World::new().await;
    let expected: Vec<String> = (0..20).map(|n: u32| n.to_string()).collect();
    for key in ["b", "c", "d", "e", "f", "g"] {
        world.ask("a", "fan", key).await.unwrap();
        world.quiet().await;
        assert_eq!(world.all(key).await, expected.join(" "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_accepted_is_handled_after_a_restart() {
    let world = World::new().await;
    world.engine.stop_handling().await;
    world.tell("a", "note", "x", None).await.unwrap();
    world.ask("b", "pass", "c").await.unwrap();
    assert!(world.engine.stats().waiting > 0);
    let world = world.restart_after(Duration::ZERO).await;
    world.quiet().await;
    assert_eq!((world.all("a").await, world.all("c").await), ("x".into(), "passed".into()));
}

#[tokio::test(start_paused = true)]
async fn what_always_fails_is_parked_with_its_cause_and_leaves_no_trace_while_others_go_on() {
    let world = World::new().await;
    world.tell("a", "fail", "", None).await.unwrap();
    world.tell("a", "note", "x", None).await.unwrap();
    world.quiet().await;
    assert_eq!((world.all("a").await, world.all("other").await), ("x".into(), String::new()));
    let parked = world.engine.parked(&Name::default_tenant(), None, 10).unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].attempts, parked[0].method.as_str(), parked[0].version.as_deref()), (5, "fail", Some("0")));
    assert_eq!(parked[0].cause, Failure::new(Code::GuestTrap, "it always fails"));

    let world = world.restart_after(Duration::ZERO).await;
    assert_eq!(world.engine.stats().parked, 1);
    world.bodies.version.store(1, Ordering::Relaxed);
    assert_eq!(world.engine.resume(&agent("a")).await.unwrap(), 1);
    world.quiet().await;
    assert_eq!(world.all("a").await, "x (0->1) never mended");
    assert_eq!(world.engine.stats().parked, 0);
    assert_eq!(world.engine.resume(&agent("a")).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_tried_again_asks_nothing_twice() {
    let world = World::new().await;
    let later = (world.clock.timestamp() + 400).to_string();
    world.tell("a", "fail_twice", &later, None).await.unwrap();
    world.quiet().await;
    assert_eq!((world.all("a").await, world.all("other").await), ("done".into(), "asked".into()));
    assert!(world.engine.stats().failed > 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_asks_another_one_within_its_turn() {
    let world = World::new().await;
    world.ask("b", "note", "x").await.unwrap();
    world.ask("a", "ask", "b").await.unwrap();
    assert_eq!(world.all("a").await, "[x ]");
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_asks_is_refused_wherever_it_begins() {
    let world = World::new().await;
    for circle in ["a x", "b a x", "b c a x"] {
        assert_eq!(world.ask("a", "circle", circle).await.unwrap_err().code, Code::ReentrantCall);
    }
    let both = futures::join!(world.ask("a", "circle", "b a x"), world.ask("b", "circle", "a b x"));
    assert!([both.0, both.1].iter().all(|answer| answer.as_ref().is_err_and(|e| e.code == Code::ReentrantCall)));
    world.ask("a", "note", "usable").await.unwrap();
    assert_eq!(world.all("a").await, "usable");
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_once_and_one_that_was_due_while_the_node_was_down_fires_on_return() {
    let world = World::new().await;
    world.ask("a", "after", "500").await.unwrap();
    world.clock.sleep(Duration::from_millis(400)).await;
    assert_eq!(world.all("a").await, "");
    world.clock.sleep(Duration::from_millis(200)).await;
    assert_eq!(world.all("a").await, "once+0");
    world.ask("a", "after", "500").await.unwrap();
    let world = world.restart_after(Duration::from_secs(3_600)).await;
    world.quiet().await;
    assert_eq!(world.all("a").await, "once+0 once+0");
    assert_eq!(world.engine.stats().timers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_several_find_to_be_lost_at_the_same_time_is_given_up_once() {
    let world = World::new().await;
    for n in 0..16_000 {
        world.ask(&format!("t{n}"), "after", "3600000").await.unwrap();
    }
    assert_eq!(world.engine.stats().timers, 16_000);
    let (together, runtime) = (std::sync::Barrier::new(8), tokio::runtime::Handle::current());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _entered = runtime.enter();
                for cell in (0..8).map(CellId) {
                    together.wait();
                    world.engine.lose(cell);
                }
            });
        }
    });
    assert_eq!(world.engine.cells().len(), 0);
    // Were each of them to take its timers out of the count, it would be less than nothing.
    assert_eq!(world.engine.stats().timers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeating_timer_says_how_many_times_it_missed() {
    let world = World::new().await;
    world.ask("a", "every", "1000").await.unwrap();
    world.clock.sleep(Duration::from_millis(2_500)).await;
    assert_eq!(world.all("a").await, "again+0 again+0");
    let world = world.restart_after(Duration::ZERO).await;
    world.quiet().await;
    // It was away for 61 seconds.
    assert_eq!(world.all("a").await, "again+0 again+0 again+60");
    assert_eq!(world.engine.timers_of(&agent("a")).unwrap().len(), 1);
    world.ask("a", "cancel", "again").await.unwrap();
    world.clock.sleep(Duration::from_secs(5)).await;
    assert_eq!(world.all("a").await, "again+0 again+0 again+60 cancelled:true");
    assert_eq!(world.engine.stats().timers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_set_again_replaces_the_one_of_its_name() {
    let world = World::new().await;
    world.ask("a", "after", "500").await.unwrap();
    world.ask("a", "after", "60000").await.unwrap();
    assert_eq!(world.engine.stats().timers, 1);
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.all("a").await, "");
    world.ask("a", "cancel", "nothing").await.unwrap();
    assert_eq!(world.all("a").await, "cancelled:false");
}

#[tokio::test(start_paused = true)]
async fn a_removed_agent_takes_its_timers_and_messages_with_it() {
    let world = World::new().await;
    world.ask("a", "every", "1000").await.unwrap();
    world.tell("a", "fail", "", None).await.unwrap();
    world.quiet().await;
    world.engine.remove(&agent("a")).await.unwrap();
    let stats = world.engine.stats();
    assert_eq!((stats.timers, stats.parked, stats.waiting), (0, 0, 0));
    world.clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(world.all("a").await, "");
}

#[tokio::test(start_paused = true)]
async fn new_code_takes_over_with_a_migration_and_code_that_cannot_is_refused() {
    let world = World::new().await;
    world.ask("a", "note", "x").await.unwrap();
    world.bodies.version.store(1, Ordering::Relaxed);
    // A method that only reads sees the migrated state and commits nothing, so the migration is still to be done.
    assert_eq!(world.all("a").await, "x (0->1)");
    assert_eq!(world.all("a").await, "x (0->1)");
    assert_eq!(world.engine.inspect(&agent("a")).await.unwrap().version.as_deref(), Some("0"));
    world.ask("a", "note", "y").await.unwrap();
    assert_eq!(world.all("a").await, "x (0->1) y");
    world.bodies.version.store(2, Ordering::Relaxed);
    world.ask("a", "note", "z").await.unwrap();
    assert_eq!(world.all("a").await, "x (0->1) y z");
    let status = world.engine.inspect(&agent("a")).await.unwrap();
    assert_eq!((status.version.as_deref(), status.refused.as_deref()), (Some("1"), Some("2")));
    let refusal = world.engine.refusal(&Name::default_tenant(), &Name::new("list").unwrap(), "2").unwrap();
    assert_eq!((refusal.agents, refusal.cause.message.as_str()), (1, "version 2 cannot migrate"));
    // It is known, and counted once, however many turns follow and also after a restart.
    world.ask("a", "note", "w").await.unwrap();
    let world = world.restart_after(Duration::from_secs(1)).await;
    world.ask("a", "note", "v").await.unwrap();
    let refused = |world: &World| world.engine.refusal(&Name::default_tenant(), &Name::new("list").unwrap(), "2");
    assert_eq!(refused(&world), Some(refusal.clone()));
    assert_eq!(world.all("a").await, "x (0->1) y z w v");
    // An agent that is removed refuses nothing any more.
    world.bodies.version.store(1, Ordering::Relaxed);
    world.ask("b", "note", "x").await.unwrap();
    world.bodies.version.store(2, Ordering::Relaxed);
    world.ask("b", "note", "y").await.unwrap();
    assert_eq!(refused(&world).unwrap().agents, 2);
    world.engine.remove(&agent("b")).await.unwrap();
    assert_eq!(refused(&world), Some(refusal));
    // A later version is tried again.
    world.bodies.version.store(3, Ordering::Relaxed);
    world.ask("a", "note", "!").await.unwrap();
    assert_eq!(world.all("a").await, "x (0->1) y z w v (1->3) !");
    assert_eq!(refused(&world), None);
    assert_eq!(world.engine.inspect(&agent("a")).await.unwrap().refused, None);
    // An agent that begins on a version has nothing to go back to, and nothing to migrate.
    world.bodies.version.store(2, Ordering::Relaxed);
    world.ask("new", "note", "x").await.unwrap();
    assert_eq!(world.all("new").await, "x");
}

#[tokio::test(start_paused = true)]
async fn messages_on_their_way_arrive_once_and_in_order_in_other_cells() {
    let expected: Vec<String> = (0..20).map(|n: u32| n.to_string()).collect();
    for into in [1, 3, 8, 64] {
        let world = World::new().await;
        let (near, far) = (agent("a").cell(8), agent("b").cell(8));
        assert_ne!(near, far);
        world.ask("a", "fan", "b").await.unwrap();
        // Sent and durable, but what takes them in is not.
        let world = world.resettled(into, &[far]).await;
        assert_eq!(world.engine.stats().leaving, 0, "they wait for their agent now");
        world.quiet().await;
        assert_eq!(world.all("b").await, expected.join(" "));
        // Taken in and handled: what the sender still has of them is not sent again.
        let world = world.resettled(8, &[]).await;
        world.quiet().await;
        assert_eq!(world.all("b").await, expected.join(" "));
        world.ask("a", "fan", "b").await.unwrap();
        world.quiet().await;
        assert_eq!(world.all("b").await, [expected.join(" "), expected.join(" ")].join(" "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_tried_again_in_another_cell_asks_nothing_twice() {
    for into in [1, 3, 64] {
        let mut world = World::new().await;
        // Moving takes a minute of this clock: the turn fails here, there, and succeeds when it is back.
        let at = world.clock.timestamp() + 100_000;
        world.tell("a", "fail_twice", &at.to_string(), None).await.unwrap();
        for cells in [into, 8] {
            while world.engine.stats().failed == 0 {
                world.clock.sleep(Duration::from_millis(1)).await;
            }
            world = world.resettled(cells, &[]).await;
        }
        world.quiet().await;
        assert_eq!(
            (world.all("a").await, world.all("other").await),
            ("done".into(), "asked".into()),
            "in {into} cells"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn keys_timers_and_parked_messages_are_there_in_other_cells() {
    let world = World::new().await;
    let first = world.tell("a", "note", "x", Some("key")).await.unwrap();
    world.ask("timed", "after", "600000").await.unwrap();
    world.tell("bad", "fail", "", None).await.unwrap();
    while world.engine.stats().parked == 0 {
        world.clock.sleep(Duration::from_millis(10)).await;
    }
    let world = world.resettled(64, &[]).await;
    assert_eq!((world.engine.stats().parked, world.engine.stats().timers), (1, 1));
    let again = world.tell("a", "note", "x", Some("key")).await.unwrap();
    assert_eq!((again.replayed, again.message), (true, first.message));
    world.clock.sleep(Duration::from_secs(600)).await;
    world.quiet().await;
    assert_eq!((world.all("timed").await, world.all("a").await), ("once+0".into(), "x".into()));
    world.bodies.version.store(1, Ordering::Relaxed);
    world.engine.resume(&agent("bad")).await.unwrap();
    world.quiet().await;
    assert_eq!(world.all("bad").await, "never mended");
}

#[tokio::test(start_paused = true)]
async fn agents_that_are_close_to_something_share_its_cell_also_after_a_restart_and_in_other_cells() {
    let layout = Layout::from(8);
    let rule = "agent:room/{key.1}".parse().unwrap();
    layout.declare(&Name::default_tenant(), &[(Name::new("list").unwrap(), Some(rule))].into());
    let mut world = World::with(layout).await;
    for round in 0..3 {
        for (room, member) in (0..10).flat_map(|room| (0..3).map(move |member| (room, member))) {
            world.tell(&format!("{room}/{member}"), "pass", &format!("{room}/{}", member + 1), None).await.unwrap();
            world.ask(&format!("{room}/{member}"), "after", "1000").await.unwrap();
        }
        world.quiet().await;
        for room in 0..10 {
            let home = Address { kind: Name::new("room").unwrap(), ..agent(&room.to_string()) };
            for member in 1..3 {
                let key = format!("{room}/{member}");
                assert_eq!(world.engine.inspect(&agent(&key)).await.unwrap().cell, home.cell(world.layout.cells()));
                assert_eq!(world.all(&key).await.matches("passed").count(), round + 1, "{key}");
            }
        }
        let (tenant, kind) = (Name::default_tenant(), Name::new("list").unwrap());
        assert_eq!(world.engine.list(&tenant, &kind, None, 100).await.unwrap().len(), 40);
        world = match round {
            0 => world.restart_after(Duration::ZERO).await,
            _ => world.resettled(31, &[]).await,
        };
    }
    world.clock.sleep(Duration::from_secs(2)).await;
    world.quiet().await;
    assert!(world.all("3/1").await.contains("once+0"), "its timer came along");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_tells_an_agent_of_a_type_that_was_never_deployed_fails_and_one_that_was_is_told() {
    let world = World::new().await;
    let failure = world.ask("a", "stray", "nobody").await.unwrap_err();
    assert_eq!(failure.code, Code::NotFound, "{failure}");
    assert!(failure.message.contains("agent type `nobody`"), "{failure}");
    // Deployed once and not any more: what it is told is kept for it.
    world.layout.declare(&Name::default_tenant(), &[(Name::new("nobody").unwrap(), None)].into());
    world.ask("a", "stray", "nobody").await.unwrap();
}
