//! The engine on a journal in memory, with bodies that are plain Rust.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use stride_agents::{Answer, Ask, Bodies, Body, Engine, Kind, Method, Settings, Surroundings, Tell, Turn};
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload};
use stride_journal::{Journal, memory::MemoryJournal};
use stride_sim::{Chance, Clock, Tasks};
use stride_store::Store;
use tokio::sync::Barrier;

/// Counters: `add` and `add_then_fail` change the typed state, `get` reads it, `meet` too but only together with another
/// one, `wait` never ends.
struct Counters {
    started: AtomicUsize,
    version: parking_lot::Mutex<Arc<str>>,
    meeting: Arc<Barrier>,
}

impl Counters {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: AtomicUsize::new(0),
            version: parking_lot::Mutex::new("1".into()),
            meeting: Arc::new(Barrier::new(2)),
        })
    }
}

/// Keeps the value in memory between turns, as the SDK does.
struct Counter {
    value: Option<u64>,
    meeting: Arc<Barrier>,
}

fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(0, |bytes| std::str::from_utf8(bytes).unwrap().parse().unwrap())
}

impl Bodies for Counters {
    fn kind(&self, _: &Name, name: &Name) -> Option<Arc<Kind>> {
        let methods = [("add", false), ("add_then_fail", false), ("get", true), ("meet", true), ("wait", false)];
        let methods: BTreeMap<_, _> =
            methods.map(|(name, read_only)| (name.to_owned(), Method { read_only })).into_iter().collect();
        (name.as_str() == "counter").then(|| {
            let idle = Duration::from_secs(60);
            let version = self.version.lock().clone();
            Arc::new(Kind { component: name.clone(), version, name: name.clone(), methods, idle })
        })
    }

    fn kind_of_version(&self, _: &Name, _: &Name, _: &str) -> Option<Arc<Kind>> {
        None
    }

    fn nearest_kind(&self, _: &Name, _: &Name) -> Option<String> {
        Some("counter".into())
    }

    fn start<'a>(&'a self, _: &'a Arc<Kind>, _: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let counter = Counter { value: None, meeting: self.meeting.clone() };
        Box::pin(async { Ok(Box::new(counter) as Box<dyn Body>) })
    }
}

impl Body for Counter {
    fn migrate<'a>(&'a mut self, turn: Turn, _: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        Box::pin(async { Ok(turn) })
    }

    fn turn<'a>(
        &'a mut self,
        mut turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            if method == "wait" {
                std::future::pending::<()>().await;
            }
            let mut value = self.value.unwrap_or_else(|| number(turn.load().as_deref()));
            if method == "meet" {
                self.meeting.wait().await;
            }
            if method.starts_with("add") {
                value += number(Some(&input.body));
                turn.save(value.to_string().into()).unwrap();
            }
            if method == "add_then_fail" {
                return Err(Failure::new(Code::GuestError, "no luck"));
            }
            self.value = Some(value);
            Ok((turn, Payload::json(value.to_string())))
        })
    }
}

struct World {
    engine: Arc<Engine>,
    bodies: Arc<Counters>,
    clock: Clock,
}

fn surroundings(journal: Arc<dyn Journal>, store: Arc<Store>, bodies: Arc<Counters>, clock: Clock) -> Surroundings {
    Surroundings { journal, store, bodies, clock, chance: Chance::seeded(1), tasks: Tasks::real(), cluster: None }
}

async fn world_on(journal: Arc<dyn Journal>, dir: &Path, settings: Settings) -> World {
    let (clock, bodies) = (Clock::manual(), Counters::new());
    let store = Arc::new(Store::open(dir, settings.cells, stride_store::Settings::default()).unwrap());
    let engine = Engine::open(surroundings(journal, store, bodies.clone(), clock.clone()), settings).await.unwrap();
    World { engine, bodies, clock }
}

async fn world(dir: &Path) -> World {
    world_on(Arc::new(MemoryJournal::new()), dir, Settings::default()).await
}

fn agent(key: &str) -> Address {
    let kind = Name::new("counter").unwrap();
    Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(key).unwrap() }
}

impl World {
    async fn ask(&self, key: &str, method: &str, n: u64) -> Result<Answer, Failure> {
        self.keyed(key, method, n, None).await
    }

    async fn keyed(&self, key: &str, method: &str, n: u64, idempotency_key: Option<&str>) -> Result<Answer, Failure> {
        let ask = Ask {
            address: agent(key),
            method: method.into(),
            input: Payload::json(n.to_string()),
            idempotency_key: idempotency_key.map(str::to_owned),
            trace: None,
        };
        self.engine.ask(ask).await
    }

    async fn value(&self, key: &str) -> u64 {
        number(Some(&self.ask(key, "get", 0).await.unwrap().payload.body))
    }
}

#[tokio::test]
async fn turns_that_only_read_run_side_by_side_and_see_what_was_changed_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    for total in [2, 4, 6] {
        world.ask("a", "add", 2).await.unwrap();
        // Neither ends before the other one has begun.
        let (one, other) = tokio::join!(world.ask("a", "meet", 0), world.ask("a", "meet", 0));
        assert_eq!([one, other].map(|answer| number(Some(&answer.unwrap().payload.body))), [total; 2]);
    }
}

#[tokio::test]
async fn a_turn_that_changes_waits_for_those_that_read_and_the_next_ones_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let first = world.ask("a", "meet", 0);
    let change = world.ask("a", "add", 1);
    let second = world.ask("a", "meet", 0);
    let mut together = Box::pin(async { tokio::join!(first, change, second) });
    // The two that would meet are not side by side, because the change came in between: this never ends by itself.
    for _ in 0..100 {
        assert!(futures::poll!(&mut together).is_pending());
        tokio::task::yield_now().await;
    }
    world.bodies.meeting.wait().await;
    let released = async {
        let met = world.bodies.meeting.wait();
        tokio::join!(together, met).0
    };
    let (first, change, second) = released.await;
    let seen = [first, change, second].map(|answer| number(Some(&answer.unwrap().payload.body)));
    assert_eq!(seen, [0, 1, 1]);
}

#[tokio::test]
async fn turns_add_up_and_failed_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    assert_eq!(world.ask("a", "add", 2).await.unwrap().turn, 1);
    assert_eq!(world.ask("a", "add_then_fail", 100).await.unwrap_err().code, Code::GuestError);
    assert_eq!(world.ask("a", "add", 3).await.unwrap().turn, 2);
    assert_eq!(world.value("a").await, 5);
    let stats = world.engine.stats();
    assert_eq!((stats.committed, stats.discarded, stats.read), (2, 1, 1));
}

#[tokio::test]
async fn what_is_unknown_is_refused_with_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let unknown = world.ask("a", "subtract", 1).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    assert!(unknown.message.contains("add, add_then_fail, get"), "{unknown}");
    let mut address = agent("a");
    address.kind = Name::new("conter").unwrap();
    let ask = Ask { address, method: "add".into(), input: Payload::json("1"), idempotency_key: None, trace: None };
    let unknown = world.engine.ask(ask).await.unwrap_err();
    assert!(unknown.message.contains("did you mean `counter`?"), "{unknown}");
}

#[tokio::test]
async fn state_survives_in_the_journal_alone_in_the_store_alone_and_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let first = world_on(journal.clone(), dir.path(), Settings::default()).await;
    first.ask("a", "add", 1).await.unwrap();
    drop(first);
    let second = world_on(journal.clone(), dir.path(), Settings::default()).await;
    assert_eq!(second.value("a").await, 1);
    second.engine.materialise().await.unwrap();
    second.engine.checkpoint().await.unwrap();
    second.ask("a", "add", 1).await.unwrap();
    second.ask("b", "add", 7).await.unwrap();
    drop(second);
    let third = world_on(journal, dir.path(), Settings::default()).await;
    assert_eq!((third.value("a").await, third.value("b").await), (2, 7));
    assert_eq!(third.ask("a", "add", 1).await.unwrap().turn, 3);
}

#[tokio::test]
async fn an_engine_that_never_lives_to_a_checkpoint_does_not_have_more_to_replay_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let settings = Settings { replayed_bytes_max: 8 << 10, ..Settings::default() };
    let tail = |world: &World| world.engine.cells().iter().map(stride_agents::CellStatus::tail).sum::<u64>();
    let mut longest = 0;
    for life in 0..20 {
        let world = world_on(journal.clone(), dir.path(), settings.clone()).await;
        longest = longest.max(tail(&world));
        for turn in 1..=25 {
            assert_eq!(world.ask("a", "add", 1).await.unwrap().turn, life * 25 + turn);
        }
    }
    assert!(longest > 0 && longest < 10 * 25, "{longest} records were left to replay");
}

#[tokio::test]
async fn a_store_that_lost_what_the_journal_gave_up_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let first = world_on(journal.clone(), dir.path(), Settings::default()).await;
    first.ask("a", "add", 1).await.unwrap();
    first.engine.materialise().await.unwrap();
    first.engine.checkpoint().await.unwrap();
    first.ask("a", "add", 1).await.unwrap();
    drop(first);
    let empty = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(empty.path(), 64, stride_store::Settings::default()).unwrap());
    let refused =
        Engine::open(surroundings(journal, store, Counters::new(), Clock::manual()), Settings::default()).await;
    assert!(matches!(refused, Err(stride_agents::OpenError::Journal(stride_journal::Error::Gap { .. }))));
}

#[tokio::test]
async fn a_journal_that_lost_what_the_store_has_seen_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = world(dir.path()).await;
    first.ask("a", "add", 1).await.unwrap();
    first.engine.materialise().await.unwrap();
    drop(first);
    let store = Arc::new(Store::open(dir.path(), 64, stride_store::Settings::default()).unwrap());
    let empty = Arc::new(MemoryJournal::new());
    let refused = Engine::open(surroundings(empty, store, Counters::new(), Clock::manual()), Settings::default()).await;
    assert!(matches!(refused, Err(stride_agents::OpenError::JournalBehind { .. })));
}

#[tokio::test]
async fn an_idempotency_key_is_forgotten_after_its_retention_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    world.keyed("a", "add", 1, Some("k")).await.unwrap();
    world.clock.advance(Settings::default().reply_retention);
    assert!(world.keyed("a", "add", 1, Some("k")).await.unwrap().replayed);
    world.clock.advance(Duration::from_millis(1));
    assert!(!world.keyed("a", "add", 1, Some("k")).await.unwrap().replayed);
    assert_eq!(world.value("a").await, 2);
    let error = world.keyed("a", "add", 1, Some("")).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidRequest);
}

#[tokio::test]
async fn of_too_many_remembered_replies_the_oldest_go_but_none_that_is_young() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { replies_max: 10, ..Settings::default() };
    let world = world_on(Arc::new(MemoryJournal::new()), dir.path(), settings.clone()).await;
    let minute = Duration::from_secs(60);
    let rounds = async |count: u16| {
        for _ in 0..count * settings.cells {
            world.engine.maintain().await.unwrap();
        }
    };
    let is_remembered = async |n: u64| world.keyed("a", "add", 1, Some(&n.to_string())).await.unwrap().replayed;
    for n in 0..30 {
        assert!(!is_remembered(n).await);
        world.clock.advance(minute / 6);
    }
    rounds(2).await;
    assert_eq!(world.engine.stats().replies, 30, "all are from the last five minutes");
    world.clock.advance(minute * 5);
    rounds(3).await;
    let left = world.engine.stats().replies;
    assert!((5..=10).contains(&left), "as many whole minutes as there is room for, not {left} replies");
    assert!(is_remembered(29).await);
    assert!(is_remembered(30 - left).await);
    assert!(!is_remembered(29 - left).await);
}

#[tokio::test]
async fn concurrent_requests_under_one_idempotency_key_are_applied_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let answers = join_all((0..20).map(|_| world.keyed("a", "add", 1, Some("same")))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().payload.body == "1"));
    assert_eq!(answers.iter().filter(|answer| !answer.as_ref().unwrap().replayed).count(), 1);
    assert_eq!(world.value("a").await, 1);
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { mailbox_max: 3, ..Settings::default() };
    let world = world_on(Arc::new(MemoryJournal::new()), dir.path(), settings).await;
    {
        let mut stuck: Vec<_> = (0..3).map(|_| Box::pin(world.ask("a", "wait", 1))).collect();
        for ask in &mut stuck {
            assert!(futures::poll!(ask).is_pending());
        }
        assert_eq!(world.ask("a", "add", 1).await.unwrap_err().code, Code::Overloaded);
        assert_eq!(world.ask("b", "add", 1).await.unwrap().turn, 1);
    }
    // The callers went away, so their turns did as well.
    assert_eq!(world.ask("a", "add", 1).await.unwrap().turn, 1);
}

#[tokio::test]
async fn live_bodies_stay_under_their_bound_and_the_oldest_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { live_max: 3, ..Settings::default() };
    let world = world_on(Arc::new(MemoryJournal::new()), dir.path(), settings).await;
    for key in ["a", "b", "c", "a", "d", "a"] {
        world.clock.advance(Duration::from_millis(1));
        world.ask(key, "add", 1).await.unwrap();
    }
    // `d` pushed out `b`, which was used least recently; `a` never had to come back.
    assert_eq!(world.engine.stats().live, 3);
    assert_eq!(world.bodies.started.load(Ordering::Relaxed), 4);
    assert!(!world.engine.inspect(&agent("b")).await.unwrap().live);
    assert!(world.engine.inspect(&agent("a")).await.unwrap().live);
    assert_eq!(world.value("b").await, 1);
}

#[tokio::test]
async fn bodies_leave_after_their_idle_time_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    world.ask("a", "add", 1).await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    world.engine.passivate_idle();
    assert_eq!(world.engine.stats().live, 1);
    world.clock.advance(Duration::from_secs(2));
    world.engine.passivate_idle();
    assert_eq!(world.engine.stats().live, 0);
    assert_eq!(world.value("a").await, 1);
}

#[tokio::test]
async fn a_new_version_takes_over_at_the_next_turn() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    world.ask("a", "add", 1).await.unwrap();
    world.ask("a", "add", 1).await.unwrap();
    assert_eq!(world.bodies.started.load(Ordering::Relaxed), 1);
    *world.bodies.version.lock() = "2".into();
    assert_eq!(world.ask("a", "add", 1).await.unwrap().turn, 3);
    assert_eq!(world.bodies.started.load(Ordering::Relaxed), 2);
    assert_eq!(world.engine.stats().live, 1);
}

#[tokio::test]
async fn a_removed_agent_begins_anew_also_after_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let first = world_on(journal.clone(), dir.path(), Settings::default()).await;
    first.keyed("a", "add", 5, Some("k")).await.unwrap();
    first.engine.edit(&agent("a"), Some("entry".into()), Some("1".into())).await.unwrap();
    first.engine.remove(&agent("a")).await.unwrap();
    assert_eq!(first.engine.inspect(&agent("a")).await.unwrap_err().code, Code::NotFound);
    drop(first);
    let second = world_on(journal, dir.path(), Settings::default()).await;
    assert_eq!(second.value("a").await, 0);
    assert_eq!(second.engine.list(&Name::default_tenant(), &agent("a").kind, None, 10).await.unwrap(), []);
    assert!(!second.keyed("a", "add", 5, Some("k")).await.unwrap().replayed);
}

#[tokio::test]
async fn an_agent_that_never_committed_a_turn_is_removed_with_its_parked_messages() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { attempts_max: 1, ..Settings::default() };
    let world = world_on(Arc::new(MemoryJournal::new()), dir.path(), settings).await;
    let input = Payload::json("1".to_owned());
    let tell = Tell { address: agent("a"), method: "add_then_fail".into(), input, idempotency_key: None, trace: None };
    world.engine.tell(tell).await.unwrap();
    while world.engine.stats().parked == 0 {
        tokio::task::yield_now().await;
    }
    world.engine.remove(&agent("a")).await.unwrap();
    assert_eq!(world.engine.stats().parked, 0);
    assert_eq!(world.engine.parked(&Name::default_tenant(), None, 10).unwrap(), []);
    assert_eq!(world.engine.remove(&agent("a")).await.unwrap_err().code, Code::NotFound);
}
