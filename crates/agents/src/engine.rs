//! The door of the crate: owns the cells of a node, takes asks and tells, and counts what is done.

use std::{
    sync::{Arc, Weak, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_ids::{Address, CellId, Code, Failure};
use stride_journal::Journal;
use stride_sim::{Chance, Clock, Tasks, Timestamp};
use stride_store::{RowKey, Rows, Store};
use tokio::sync::Semaphore;

use crate::{
    alarm::Alarm,
    body::{Bodies, Kind},
    cell::Cell,
    cells::{Cells, Inside},
    elsewhere::{Asked, Cluster},
    lane::Departures,
    message::Answer,
    order::on_its_way,
    record::Reply,
    recover::{OpenError, take_over},
    residency::{Residency, Stamp},
    retention::Walk,
    stats::{Counters, Gauges, Stats},
    timer::Timer,
    turn::World,
    upgrade::Refusals,
    waits::Waits,
};

/// How many calls with messages are on their way to other nodes at the same time. What waits for one is sent with the next.
const PARCELS_MAX: usize = 16;

/// The bounds of an engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many cells there are; fixed for a data directory.
    pub cells: u16,
    /// How many bodies may be in memory. Each costs a few memory mappings, of which the kernel allows 65,530.
    pub live_max: usize,
    /// How many asks may wait for one agent.
    pub mailbox_max: usize,
    /// How much may be staged in memory before new turns are refused, in bytes.
    pub staged_bytes_max: usize,
    /// How much may be replayed when an engine opens before it is brought to the store at once, in bytes of records.
    pub replayed_bytes_max: usize,
    /// How long the answer to an idempotency key is remembered.
    pub reply_retention: Duration,
    /// How many such answers are remembered before the oldest go early; none goes within five minutes.
    pub replies_max: u64,
    /// How many messages are handled at the same time; asks do not count.
    pub handled_max: usize,
    /// How often a message is tried before it is parked.
    pub attempts_max: u32,
    /// How long to wait before the second attempt at a message; each further wait is twice as long.
    pub backoff: Duration,
    /// How long a request waits for a cell that is on its way from one node to another.
    pub moving_max: Duration,
    /// How long a turn waits for an agent of another node: agents of several nodes may wait for each other, which none of
    /// those nodes sees.
    pub asking_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cells: stride_ids::CELLS_EMBEDDED,
            live_max: 4_000,
            mailbox_max: 1_024,
            staged_bytes_max: 64 << 20,
            replayed_bytes_max: 8 << 20,
            reply_retention: Duration::from_secs(24 * 3600),
            replies_max: 1_000_000,
            handled_max: 256,
            attempts_max: 5,
            backoff: Duration::from_millis(200),
            moving_max: Duration::from_secs(10),
            asking_max: Duration::from_secs(30),
        }
    }
}

/// What an engine takes from its surroundings.
pub struct Surroundings {
    /// Where records become durable.
    pub journal: Arc<dyn Journal>,
    /// Where state is materialised.
    pub store: Arc<Store>,
    /// Where user code comes from.
    pub bodies: Arc<dyn Bodies>,
    /// Time.
    pub clock: Clock,
    /// Chance: the jitter of what is tried again.
    pub chance: Chance,
    /// What runs beside the callers.
    pub tasks: Tasks,
    /// The other nodes; none if this engine owns all cells.
    pub cluster: Option<Cluster>,
}

/// Owns the cells of a node and runs their agents.
pub struct Engine {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) store: Arc<Store>,
    pub(crate) bodies: Arc<dyn Bodies>,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) tasks: Tasks,
    pub(crate) settings: Settings,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) cells: Cells,
    pub(crate) residency: Mutex<Residency<Address>>,
    pub(crate) live: Arc<AtomicUsize>,
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) waits: Waits,
    pub(crate) refusals: Refusals,
    /// One permit for each message that may be handled at the same time. Closed when the engine stops handling.
    pub(crate) handling: Semaphore,
    /// The messages that are about to leave their cells.
    pub(crate) departures: Mutex<Departures>,
    /// One permit for each call with messages that may be on its way to another node at the same time: what is asked
    /// over the same connections is not to wait behind them.
    pub(crate) parcels: Semaphore,
    /// Where the next pass looks for replies that are over their time.
    pub(crate) walk: Mutex<Walk>,
}

impl Engine {
    /// Takes over every cell, brings the store up to the end of the journal, and goes on with what waits. In a cluster it
    /// begins with no cell.
    ///
    /// # Errors
    /// If anything acknowledged would be missing.
    pub async fn open(surroundings: Surroundings, settings: Settings) -> Result<Arc<Self>, OpenError> {
        let Surroundings { journal, store, bodies, clock, chance, tasks, cluster } = surroundings;
        let engine = Arc::new(Self {
            journal,
            store,
            bodies,
            clock,
            chance,
            tasks,
            handling: Semaphore::new(settings.handled_max),
            departures: Mutex::default(),
            parcels: Semaphore::new(PARCELS_MAX),
            cells: Cells::none_of(settings.cells),
            settings,
            cluster,
            residency: Mutex::new(Residency::new()),
            live: Arc::default(),
            counters: Counters::default(),
            gauges: Gauges::default(),
            alarm: Arc::default(),
            waits: Waits::default(),
            refusals: Refusals::default(),
            walk: Mutex::default(),
        });
        if engine.cluster.is_none() {
            engine.take_all().await?;
        }
        engine.tasks.spawn(watch(Arc::downgrade(&engine)));
        Ok(engine)
    }

    async fn take_all(self: &Arc<Self>) -> Result<(), OpenError> {
        let mut replayed = 0;
        for id in (0..self.settings.cells).map(CellId) {
            let began = self.clock.now();
            let (mut cell, bytes) = take_over(&*self.journal, &self.store, id).await?;
            replayed += bytes;
            cell.recovered_in = self.clock.now() - began;
            self.count_rows(id)?;
            self.cells.put(Arc::new(cell));
        }
        if replayed > self.settings.replayed_bytes_max {
            self.shorten_tail().await;
        }
        for cell in self.cells.owned() {
            self.go_on(&cell);
        }
        Ok(())
    }

    /// Brings what was replayed to the store before anything is added to it. Otherwise a node that is killed again and
    /// again before its first checkpoint would have more to replay each time.
    async fn shorten_tail(self: &Arc<Self>) {
        let stored = async {
            self.materialise().await?;
            self.checkpoint().await
        };
        if let Err(failure) = stored.await {
            tracing::warn!(%failure, "what was replayed cannot be brought to the store; the next start takes as long");
        }
    }

    /// Goes on where the last owner of a cell ended: what may not have reached other cells, what waits, what is due.
    pub(crate) fn go_on(self: &Arc<Self>, cell: &Arc<Cell>) {
        self.deliver(cell, &cell.receipt());
        self.look_at_timers(cell, self.clock.timestamp());
        let waiting: Vec<Address> = {
            let mut waiting: Vec<_> = cell.inboxes.lock().keys().cloned().collect();
            // The order of a hash map is not the same from run to run, and a simulation has to be.
            waiting.sort();
            waiting
        };
        for agent in waiting {
            self.wake(cell, &agent);
        }
    }

    /// Counts what has been done and what is held.
    pub fn stats(&self) -> Stats {
        let cells = self.cells.owned();
        let count = |counted: fn(&Cell) -> usize| cells.iter().map(|cell| counted(cell)).sum::<usize>() as u64;
        Stats {
            committed: self.counters.committed.get(),
            read: self.counters.read.get(),
            discarded: self.counters.discarded.get(),
            replayed: self.counters.replayed.get(),
            passivated: self.counters.passivated.get(),
            handled: self.counters.handled.get(),
            failed: self.counters.failed.get(),
            fired: self.counters.fired.get(),
            live: self.live.load(Ordering::Relaxed) as u64,
            staged_bytes: self.store.staged_bytes() as u64,
            waiting: count(|cell| cell.inboxes.lock().values().map(crate::inbox::Inbox::len).sum()),
            leaving: count(|cell| {
                cell.outbox.lock().len() + cell.lanes.lock().values().map(crate::lane::Lane::len).sum::<usize>()
            }),
            parked: self.gauges.parked.get(),
            timers: self.gauges.timers.get(),
            replies: self.gauges.replies.get(),
        }
    }

    /// Takes note of a receipt: what it allows to leave leaves.
    pub(crate) fn settle(self: &Arc<Self>, cell: &Arc<Cell>, receipt: &stride_journal::Receipt) {
        cell.note(*receipt);
        self.deliver(cell, receipt);
    }

    /// The first reply to an idempotency key of an agent, if there was one and it is not over its time.
    pub(crate) fn remembered(&self, agent: &Address, key: &str, asked: [u8; 16]) -> Result<Option<Reply>, Failure> {
        let row = RowKey::Reply(agent.clone(), key.to_owned());
        let Some(bytes) = self.store.get(&row).map_err(|e| store_failure(&e))? else { return Ok(None) };
        let reply = Reply::decode(&bytes).map_err(|e| unreadable(&e))?;
        if self.is_over(&reply) {
            return Ok(None);
        }
        if reply.fingerprint != asked {
            let message = "this idempotency key was used for another request; use a new key for a new request";
            return Err(Failure::new(Code::Conflict, message));
        }
        Ok(Some(reply))
    }

    /// Whether a remembered reply is over its time.
    pub(crate) fn is_over(&self, reply: &Reply) -> bool {
        let age = self.clock.timestamp().saturating_sub(reply.at);
        u128::from(age) > self.settings.reply_retention.as_millis()
    }

    /// Refuses new turns while the store cannot keep up or has no space.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        if self.store.staged_bytes() <= self.settings.staged_bytes_max {
            return Ok(());
        }
        let message = "more state waits to be stored than fits in memory; try again, and check the disk if it lasts";
        Err(Failure::new(Code::Overloaded, message))
    }

    pub(crate) fn kind_of(&self, address: &Address) -> Result<Arc<Kind>, Failure> {
        self.bodies.kind(&address.tenant, &address.kind).ok_or_else(|| {
            let nearest = self.bodies.nearest_kind(&address.tenant, &address.kind);
            Failure::not_found("agent type", address.kind.as_str(), nearest.as_deref())
        })
    }

    /// Which cell an agent belongs to.
    pub fn cell_id(&self, address: &Address) -> CellId {
        self.store.layout().cell(address)
    }

    /// The cell of an agent, if it is owned.
    pub(crate) fn cell_of(&self, address: &Address) -> Option<Arc<Cell>> {
        self.cells.get(self.cell_id(address))
    }

    /// Begins something in an agent's cell; none if it is not here, or on its way.
    pub(crate) fn inside(&self, address: &Address, awaited: bool) -> Option<Inside> {
        Inside::enter(self.cell_of(address)?, awaited)
    }

    /// The same for what is not handed to other nodes from here.
    pub(crate) fn here(&self, address: &Address) -> Result<Inside, Failure> {
        self.inside(address, false).ok_or_else(|| on_its_way(self.cell_id(address)))
    }

    /// Makes sure that nobody else may have changed what was read.
    pub(crate) async fn confirm_owner(&self, cell: &Cell) -> Result<(), Failure> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        cluster.elsewhere.confirm(cell.id, cell.epoch).await?;
        if cell.is_closed() { Err(on_its_way(cell.id)) } else { Ok(()) }
    }

    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience { engine: self, until: self.clock.now() + self.settings.moving_max }
    }
}

/// How long somebody still waits for a cell that is on its way.
pub(crate) struct Patience<'a> {
    engine: &'a Engine,
    until: Duration,
}

impl Patience<'_> {
    pub(crate) async fn wait(&mut self, cell: CellId) -> Result<(), Failure> {
        let engine = self.engine;
        match &engine.cluster {
            Some(cluster) if engine.clock.now() < self.until => {
                cluster.elsewhere.moved(cell).await;
                Ok(())
            }
            _ => Err(on_its_way(cell)),
        }
    }
}

/// Looks after timers and messages that are tried again, for as long as the engine lives.
async fn watch(engine: Weak<Engine>) {
    while let Some(engine) = engine.upgrade() {
        engine.look_at_alarms();
        // Only what is needed to wait: an engine that nobody has any more can end meanwhile.
        let (alarm, clock) = (engine.alarm.clone(), engine.clock.clone());
        drop(engine);
        alarm.wait(&clock).await;
    }
}

impl World for Engine {
    fn get(&self, row: &RowKey) -> Result<Option<Bytes>, stride_store::Error> {
        self.store.get(row)
    }

    fn scan_map(
        &self,
        agent: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, stride_store::Error> {
        self.store.scan_map(agent, prefix, after, limit)
    }

    fn timers(&self, agent: &Address) -> Result<Vec<(String, Timer)>, Failure> {
        let rows = self.store.rows(Rows::TimersOf(agent), None, usize::MAX).map_err(|e| store_failure(&e))?;
        let named = |(row, bytes): (RowKey, Bytes)| {
            let RowKey::Timer(_, name) = row else { return Err(Failure::new(Code::Internal, "not a timer")) };
            Ok((name, Timer::decode(&bytes).map_err(|e| unreadable(&e))?))
        };
        rows.into_iter().map(named).collect()
    }

    fn now(&self) -> Timestamp {
        self.clock.timestamp()
    }

    fn cell_of(&self, agent: &Address) -> CellId {
        self.cell_id(agent)
    }

    fn check_known(&self, agent: &Address) -> Result<(), Failure> {
        if self.store.layout().knows(&agent.tenant, &agent.kind) { Ok(()) } else { self.kind_of(agent).map(drop) }
    }

    fn ask(self: Arc<Self>, asked: Asked) -> BoxFuture<'static, Result<Answer, Failure>> {
        Box::pin(async move {
            let ask = &asked.ask;
            ask.input.check_size("request")?;
            let Some(from) = asked.waiting.last() else { return self.ask_anywhere(&asked).await };
            let _waiting = match self.inside(&ask.address, true) {
                Some(inside) => {
                    // First of all what was answered before: whether this ask would close a circle now does not matter then.
                    if let Some(answer) = self.first_answer(&inside, ask).await? {
                        return Ok(answer);
                    }
                    self.waits.enter(from, &ask.address)?
                }
                // Whoever has the agent does the same.
                None => self.waits.note(from, &ask.address),
            };
            self.ask_anywhere(&asked).await
        })
    }
}

/// Whether the method only reads, if the agent type has it.
pub(crate) fn method_of(kind: &Kind, method: &str) -> Result<bool, Failure> {
    kind.methods.get(method).map(|m| m.read_only).ok_or_else(|| {
        let known: Vec<&str> = kind.methods.keys().map(String::as_str).collect();
        let message = format!("agent type `{}` has no method `{method}`; it has: {}", kind.name, known.join(", "));
        Failure::new(Code::NotFound, message)
    })
}

pub(crate) fn mailbox_full(agent: &Address, max: usize) -> Failure {
    let message = format!("{max} messages wait for {}/{} already; try again", agent.kind, agent.key);
    Failure::new(Code::Overloaded, message)
}

/// What a caller sees of stored bytes that cannot be read.
pub(crate) fn unreadable(error: &crate::record::Unreadable) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}

pub(crate) fn stamp(now: Duration) -> Stamp {
    u64::try_from(now.as_micros()).unwrap_or(Stamp::MAX)
}

/// What a caller sees of a journal that refused or stopped.
pub(crate) fn journal_failure(error: &stride_journal::Error) -> Failure {
    use stride_journal::Error;
    let code = match error {
        Error::TooLarge { .. } => Code::PayloadTooLarge,
        Error::Busy(_) => Code::Overloaded,
        Error::Full(_) | Error::Unavailable(_) | Error::Stopped(_) | Error::Fenced { .. } => Code::Unavailable,
        _ => Code::Internal,
    };
    Failure::new(code, error.to_string())
}

/// What a caller sees of a store that could not answer.
pub(crate) fn store_failure(error: &stride_store::Error) -> Failure {
    Failure::new(Code::Internal, format!("the state cannot be read: {error}"))
}
