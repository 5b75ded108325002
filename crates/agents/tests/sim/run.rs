//! One run: the lives of a node, one after another, and the clients that outlive them.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use stride_agents::{Ask, Engine, OpenError, Settings, Surroundings, Tell};
use stride_ids::{CellId, Code, Epoch, Failure, Payload, Seq};
use stride_journal::{
    Error, Fenced, Journal, Opened, Pending, Record,
    embedded::{self, EmbeddedJournal, Threads},
};
use stride_sim::{
    Chance, Clock, Tasks,
    disk::{Faults, SimDisk},
};
use stride_store::{RowKey, Rows, Store, Write};

use crate::{
    check,
    plan::{Operation, plan},
    town::{Town, account},
};

pub(crate) const CELLS: u16 = 4;

/// A bug that is put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// After a restart nobody remembers what was taken from other cells.
    SkippedDedup,
    /// The disk confirms what it has not written, so replies leave too early.
    EarlyReply,
    /// After a restart nobody knows when timers are due.
    LostTimer,
}

/// What a run is made of. The same setup gives the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) clients: u64,
    pub(crate) operations: u64,
    /// How many lives end in a crash.
    pub(crate) crashes: u64,
    /// After how many polls a life that crashes does so; none for a number drawn from the seed.
    pub(crate) polls: Option<u64>,
    pub(crate) planted: Option<Planted>,
}

impl Setup {
    pub(crate) fn random(seed: u64) -> Self {
        Self { seed, clients: 4, operations: 12, crashes: seed % 5, polls: None, planted: None }
    }

    /// Few operations and one crash, after so many polls.
    pub(crate) fn small(seed: u64, polls: u64) -> Self {
        Self { seed, clients: 2, operations: 4, crashes: 1, polls: Some(polls), planted: None }
    }
}

/// What a run showed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) broken: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) crashes: u64,
    /// Of the first life.
    pub(crate) polls: u64,
}

/// What outlives the node.
pub(crate) struct Clients {
    operations: Mutex<Vec<Vec<Operation>>>,
    order: AtomicU64,
    pub(crate) trace: Mutex<Vec<String>>,
    pub(crate) busy: AtomicU64,
}

impl Clients {
    pub(crate) fn with(operations: Vec<Vec<Operation>>) -> Arc<Self> {
        Arc::new(Self {
            operations: Mutex::new(operations),
            order: AtomicU64::new(0),
            trace: Mutex::default(),
            busy: AtomicU64::new(0),
        })
    }

    /// Sets all of them to work; each takes the engine that `pick` names for every attempt.
    pub(crate) fn begin(
        self: &Arc<Self>,
        tasks: &Tasks,
        clock: &Clock,
        pick: impl Fn() -> Arc<Engine> + Clone + Send + Sync + 'static,
    ) {
        for client in 0..self.operations.lock().len() {
            self.busy.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(work(self.clone(), client, pick.clone(), clock.clone()));
        }
    }

    fn tick(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn note(&self, clock: &Clock, what: impl std::fmt::Display) {
        self.trace.lock().push(format!("{:?} {what}", clock.now()));
    }

    pub(crate) fn all(&self) -> Vec<Operation> {
        self.operations.lock().iter().flatten().cloned().collect()
    }
}

/// Everything that one life needs.
struct Life<'a> {
    chance: &'a Chance,
    disk: &'a SimDisk,
    store: &'a Arc<Store>,
    clients: &'a Arc<Clients>,
    failures: &'a Arc<Mutex<HashMap<String, u32>>>,
    version: u64,
    tasks: Tasks,
    last: bool,
}

/// Runs everything, and checks it.
pub(crate) fn run(setup: Setup) -> Outcome {
    let chance = Chance::seeded(setup.seed);
    let disk = SimDisk::new(Chance::seeded(chance.next_u64()));
    let dir = tempfile::tempdir().unwrap();
    let clients = Clients::with(plan(&chance, setup.clients, setup.operations));
    let failures = Arc::default();
    let (mut broken, mut polls, mut version) = (Vec::new(), None, 0);
    for life in 0..=setup.crashes {
        let last = life == setup.crashes;
        let polls_max = match setup.polls {
            _ if last => u64::MAX,
            Some(polls) => polls,
            None => chance.below(500),
        };
        let lying = setup.planted == Some(Planted::EarlyReply) && !last;
        let failing_sync_per_mille = if !last && setup.polls.is_none() { chance.below(10) } else { 0 };
        let lost_per_mille = if lying { 200 } else { 0 };
        disk.set_faults(Faults { failing_sync_per_mille, lost_per_mille, ..Faults::default() });
        let tasks = Tasks::simulated(Chance::seeded(chance.next_u64()), polls_max);
        let store = Arc::new(Store::open(dir.path(), CELLS, stride_store::Settings::default()).unwrap());
        let ended = Life {
            chance: &chance,
            disk: &disk,
            store: &store,
            clients: &clients,
            failures: &failures,
            version,
            tasks: tasks.clone(),
            last,
        }
        .live(setup.planted.filter(|_| life > 0), &mut broken);
        polls = polls.or(Some(tasks.polls()));
        if let Err(refused) = ended {
            // A journal that notices what a lying disk did is as good as a checker.
            broken.push(format!("the node cannot start: {refused}"));
            break;
        }
        clients.trace.lock().push(format!("life {life} ended after {} polls", tasks.polls()));
        version += u64::from(chance.hits(400));
        if let Ok(store) = Arc::try_unwrap(store) {
            store.abandon();
        } else {
            panic!("something outlived the node");
        }
        disk.crash();
    }
    let trace = std::mem::take(&mut *clients.trace.lock());
    Outcome { broken, trace, crashes: setup.crashes, polls: polls.unwrap_or(0) }
}

impl Life<'_> {
    /// Lives until the crash, or until everything is done and quiet; then what is there is checked.
    fn live(self, planted: Option<Planted>, broken: &mut Vec<String>) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let clock = Clock::simulated();
            let journal = match SlowJournal::open(self.disk, self.chance, &clock) {
                Ok(journal) => Arc::new(journal),
                // A disk whose syncs fail may fail while the node starts: that ends this life, too.
                Err(Error::Io { .. }) if !self.last => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let town = Town::new(self.chance.clone(), clock.clone(), self.version, self.failures.clone());
            let surroundings = |tasks: Tasks| Surroundings {
                journal: journal.clone(),
                store: self.store.clone(),
                bodies: town.clone(),
                clock: clock.clone(),
                chance: self.chance.clone(),
                tasks,
                cluster: None,
            };
            let settings = Settings { cells: CELLS, backoff: Duration::from_millis(20), ..Settings::default() };
            if let Some(planted) = planted {
                let idle = Tasks::simulated(Chance::seeded(0), 0);
                plant(planted, surroundings(idle), settings.clone()).await;
            }
            let engine = match Engine::open(surroundings(self.tasks.clone()), settings).await {
                Ok(engine) => engine,
                Err(OpenError::Journal(Error::Io { .. } | Error::Stopped(_))) if !self.last => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            self.tasks.spawn(maintain(engine.clone(), clock.clone()));
            let only = engine.clone();
            self.clients.begin(&self.tasks, &clock, move || only.clone());
            let crash = async {
                tokio::select! {
                    biased;
                    () = self.tasks.ended() => {}
                    _ = journal.stopped() => {}
                }
            };
            let quiet = quiet(self.clients, &engine, &clock);
            tokio::select! {
                biased;
                () = crash => self.clients.note(&clock, "crash"),
                settled = quiet => {
                    if self.last {
                        if settled {
                            check::all(&engine, &self.clients.all(), &clock, broken).await;
                        } else {
                            broken.push(format!("something waits for ever: {:?}", engine.stats()));
                        }
                    }
                }
            }
            Ok(())
        })?;
        // The clients of a node that is gone are no longer at work.
        self.clients.busy.store(0, Ordering::Relaxed);
        drop(runtime);
        Ok(())
    }
}

/// How long a client waits before it asks again.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Within how many seconds everything has to be done.
const QUIET_WITHIN: u64 = 300;

/// Waits until all clients are done and nothing waits; false if that takes too long.
pub(crate) async fn quiet(clients: &Clients, engine: &Arc<Engine>, clock: &Clock) -> bool {
    let mut resumed = false;
    for _ in 0..QUIET_WITHIN {
        clock.sleep(Duration::from_secs(1)).await;
        let stats = engine.stats();
        if clients.busy.load(Ordering::Relaxed) > 0 || stats.waiting > 0 || stats.leaving > 0 {
            continue;
        }
        // Timers that ring once are all due within seconds; what was parked is taken up again once.
        let ringing = crate::plan::ACCOUNTS.iter().any(|key| {
            let timers = engine.timers_of(&account(key)).unwrap();
            timers.iter().any(|timer| timer.name.starts_with("remind"))
        });
        if ringing {
            continue;
        }
        if stats.parked > 0 && !resumed {
            resumed = true;
            for key in crate::plan::ACCOUNTS {
                // Only some accounts have parked messages.
                let _ = engine.resume(&account(key)).await;
            }
            continue;
        }
        return true;
    }
    false
}

pub(crate) async fn maintain(engine: Arc<Engine>, clock: Clock) {
    let mut passes = 0u64;
    loop {
        clock.sleep(Duration::from_millis(50)).await;
        passes += 1;
        // A pass that fails is tried again; a journal that stopped ends the life elsewhere.
        let _ = engine.maintain().await;
        if passes.is_multiple_of(10) {
            let _ = engine.checkpoint().await;
        }
    }
}

/// One client does what it has left to do.
async fn work(clients: Arc<Clients>, client: usize, pick: impl Fn() -> Arc<Engine>, clock: Clock) {
    loop {
        let next = {
            let mut operations = clients.operations.lock();
            let next = operations[client].iter_mut().find(|operation| operation.answered.is_none());
            let Some(operation) = next else { break };
            operation.called.get_or_insert_with(|| clients.tick());
            operation.clone()
        };
        // A node that stands still answers nobody.
        let outcome = clock.timeout(ANSWER_MAX, perform(&pick(), &next)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::new(Code::DeadlineExceeded, "no answer")));
        clients.note(&clock, format_args!("{} {}/{} {outcome:?}", next.id, next.agent, next.method));
        let (answer, failed) = match outcome {
            Ok(answer) => (answer, false),
            // The turn failed and left no trace: that is an answer. Anything else is asked again.
            Err(failure) if failure.code == Code::GuestTrap => (Value::Null, true),
            Err(_) => {
                clock.sleep(Duration::from_millis(30)).await;
                continue;
            }
        };
        let mut operations = clients.operations.lock();
        let operation = operations[client].iter_mut().find(|operation| operation.id == next.id).unwrap();
        (operation.answered, operation.answer, operation.failed) = (Some(clients.tick()), answer, failed);
    }
    clients.busy.fetch_sub(1, Ordering::Relaxed);
}

async fn perform(engine: &Arc<Engine>, operation: &Operation) -> Result<Value, Failure> {
    let (address, method) = (account(operation.agent), operation.method.to_owned());
    let input = Payload::json(operation.input.to_string());
    let idempotency_key = Some(operation.id.clone());
    if operation.told {
        engine.tell(Tell { address, method, input, idempotency_key, trace: None }).await?;
        return Ok(Value::Null);
    }
    let answer = engine.ask(Ask { address, method, input, idempotency_key, trace: None }).await?;
    Ok(serde_json::from_slice(&answer.payload.body).unwrap())
}

/// Puts a bug in, by taking from the store what the engine relies on when it starts.
async fn plant(planted: Planted, surroundings: Surroundings, settings: Settings) {
    let (journal, store) = (surroundings.journal.clone(), surroundings.store.clone());
    // An engine that does nothing but bring the store up to the end of the journal.
    let Ok(engine) = Engine::open(surroundings, settings).await else { return };
    if engine.materialise().await.is_err() {
        return;
    }
    drop(engine);
    for cell in (0..CELLS).map(CellId) {
        let rows = match planted {
            Planted::SkippedDedup => Rows::Received(cell),
            Planted::LostTimer => Rows::Due(cell),
            Planted::EarlyReply => return,
        };
        let Ok(opened) = journal.open_one(cell) else { return };
        let found: Vec<(RowKey, Bytes)> = store.rows(rows, None, usize::MAX).unwrap();
        let gone = found.into_iter().map(|(row, _)| Write { row, value: None }).collect();
        store.stage(cell, opened.last, gone);
    }
}

/// The real log on the simulated disk, whose receipts take their time.
pub(crate) struct SlowJournal {
    log: EmbeddedJournal,
    chance: Chance,
    clock: Clock,
}

impl SlowJournal {
    pub(crate) fn open(disk: &SimDisk, chance: &Chance, clock: &Clock) -> Result<Self, Error> {
        let settings = embedded::Settings { cells: CELLS, segment_bytes: 256 << 10, threads: Threads::None };
        let chance = Chance::seeded(chance.next_u64());
        let log = EmbeddedJournal::open(Arc::new(disk.clone()), Path::new("/log"), settings, chance.clone())?;
        Ok(Self { log, chance, clock: clock.clone() })
    }

    fn slow(&self, pending: Pending) -> Pending {
        let micros = if self.chance.hits(20) { 200_000 } else { 2_000 };
        let wait = Duration::from_micros(self.chance.below(micros));
        let clock = self.clock.clone();
        pending.after(async move { clock.sleep(wait).await })
    }
}

impl Journal for SlowJournal {
    fn open(&self, cells: &[CellId]) -> Result<Vec<Opened>, Error> {
        self.log.open(cells)
    }

    fn open_at(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        self.log.open_at(cells)
    }

    fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        self.log.release(cell, epoch)
    }

    fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        Ok(self.slow(self.log.append(cell, epoch, record)?))
    }

    fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending {
        self.slow(self.log.settled(cell, epoch, seq))
    }

    fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        self.log.replay(cell, after)
    }

    fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error> {
        self.log.truncate(cell, through)
    }

    fn stopped(&self) -> std::pin::Pin<Box<dyn Future<Output = Error> + Send + '_>> {
        self.log.stopped()
    }

    fn lost(&self) -> std::pin::Pin<Box<dyn Future<Output = Fenced> + Send + '_>> {
        self.log.lost()
    }
}
