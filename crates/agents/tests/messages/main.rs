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

mod cells;
mod timers;
mod told;
mod upgrade;

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
