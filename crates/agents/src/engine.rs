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
    elsewhere::{Asked, Cluster, NotDone},
    message::{Answer, Ask, Envelope, Message, Sender, Tell, Timing, Told, check_key, fingerprint},
    order::on_its_way,
    record::{Accept, Record, Reply},
    recover::{OpenError, take_over},
    residency::{Residency, Stamp},
    retention::Walk,
    stats::{Counters, Gauges, Stats},
    timer::Timer,
    turn::{Emitted, Held, World},
    upgrade::Refusals,
    waits::Waits,
};

/// How many parcels of messages are on their way to other nodes at the same time.
const PARCELS_MAX: usize = 128;

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
    /// One permit for each parcel of messages that may be on its way to another node at the same time: what is asked
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
            let (mut cell, bytes) = take_over(&*self.journal, &self.store, id, self.settings.cells).await?;
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

    /// Has one agent handle one message. The answer is durable, and so is everything that it shows.
    ///
    /// # Errors
    /// The turn left no trace, except for `unavailable` from a journal that stopped: then the outcome is unknown until
    /// the node is back, and the same idempotency key finds it out.
    pub async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Answer, Failure> {
        check_key(ask.idempotency_key.as_ref())?;
        ask.input.check_size("request")?;
        self.ask_anywhere(&Asked { ask, waiting: Vec::new() }).await
    }

    /// Has an agent of this node answer for another node, to which its own client or agent came.
    ///
    /// # Errors
    /// [`NotDone::NotHere`] if the cell is not here; else as [`Engine::ask`].
    pub async fn ask_here(self: &Arc<Self>, asked: Asked) -> Result<Answer, NotDone> {
        let inside = self.inside(&asked.ask.address, !asked.waiting.is_empty()).ok_or(NotDone::NotHere)?;
        check_key(asked.ask.idempotency_key.as_ref())?;
        if let Some(answer) = self.first_answer(&inside, &asked.ask).await? {
            return Ok(answer);
        }
        let _waiting = self.waits.enter_chain(&asked.waiting, &asked.ask.address)?;
        Ok(self.answer(&inside, &asked.ask, &asked.waiting).await?)
    }

    /// Has whoever owns the agent's cell answer, and follows the cell if it moves.
    async fn ask_anywhere(self: &Arc<Self>, asked: &Asked) -> Result<Answer, Failure> {
        let ask = &asked.ask;
        let mut patience = self.patience();
        loop {
            if let Some(inside) = self.inside(&ask.address, !asked.waiting.is_empty()) {
                return self.answer(&inside, ask, &asked.waiting).await;
            }
            let cluster = self.cluster.as_ref().ok_or_else(|| on_its_way(self.cell_id(&ask.address)))?;
            match self.ask_elsewhere(cluster, asked).await {
                Ok(answer) => return Ok(answer),
                Err(NotDone::Failed(failure)) => return Err(failure),
                Err(NotDone::Unknown(failure)) if !self.may_be_repeated(ask) => return Err(failure),
                Err(NotDone::Unknown(_) | NotDone::NotHere) => patience.wait(self.cell_id(&ask.address)).await?,
            }
        }
    }

    async fn ask_elsewhere(&self, cluster: &Cluster, asked: &Asked) -> Result<Answer, NotDone> {
        let answer = cluster.elsewhere.ask(asked.clone());
        if asked.waiting.is_empty() {
            return answer.await;
        }
        let late = |_| {
            let message = format!(
                "{} did not answer within {:?}; it may wait for one of those that wait for it",
                asked.ask.address, self.settings.asking_max
            );
            Err(NotDone::Failed(Failure::new(Code::DeadlineExceeded, message)))
        };
        self.clock.timeout(self.settings.asking_max, answer).await.unwrap_or_else(late)
    }

    /// Whether an ask that may have been answered already can be asked again without harm.
    fn may_be_repeated(&self, ask: &Ask) -> bool {
        let reads = || self.kind_of(&ask.address).is_ok_and(|kind| method_of(&kind, &ask.method) == Ok(true));
        ask.idempotency_key.is_some() || reads()
    }

    async fn answer(self: &Arc<Self>, cell: &Arc<Cell>, ask: &Ask, waiting: &[Address]) -> Result<Answer, Failure> {
        let kind = self.kind_of(&ask.address)?;
        let read_only = method_of(&kind, &ask.method)?;
        let mut timing = Timing::default();
        let (held, pending) = self.take_turn(cell, &kind, read_only, ask, waiting, &mut timing).await?;
        let commits = pending.is_some();

        let computed = self.clock.now();
        let receipt = match pending {
            Some(pending) => pending.await,
            None => cell.settled(&*self.journal, held.needs()).await,
        };
        let receipt = receipt.map_err(|e| journal_failure(&e))?;
        self.settle(cell, &receipt);
        if !commits {
            self.confirm_owner(cell).await?;
        }
        timing.commit = self.clock.now() - computed;

        let Emitted { payload, turn, replayed } = held.release(&receipt);
        let counter = match (replayed, read_only) {
            (true, _) => &self.counters.replayed,
            (false, true) => &self.counters.read,
            (false, false) => &self.counters.committed,
        };
        counter.add_one();
        Ok(Answer { payload, turn, replayed, timing, node: None })
    }

    /// Gives one agent a message that nobody waits for. It is durable when this returns, and handled exactly once.
    ///
    /// # Errors
    /// Nothing was told, except for `unavailable` from a journal that stopped: then the same idempotency key finds out.
    pub async fn tell(self: &Arc<Self>, tell: Tell) -> Result<Told, Failure> {
        check_key(tell.idempotency_key.as_ref())?;
        tell.input.check_size("request")?;
        let mut patience = self.patience();
        loop {
            if let Some(inside) = self.inside(&tell.address, false) {
                return self.take_message(&inside, tell).await;
            }
            let cluster = self.cluster.as_ref().ok_or_else(|| on_its_way(self.cell_id(&tell.address)))?;
            match cluster.elsewhere.tell(tell.clone()).await {
                Ok(told) => return Ok(told),
                Err(NotDone::Failed(failure)) => return Err(failure),
                Err(NotDone::Unknown(failure)) if tell.idempotency_key.is_none() => return Err(failure),
                Err(NotDone::Unknown(_) | NotDone::NotHere) => patience.wait(self.cell_id(&tell.address)).await?,
            }
        }
    }

    /// Gives an agent of this node a message for another node.
    ///
    /// # Errors
    /// [`NotDone::NotHere`] if the cell is not here; else as [`Engine::tell`].
    pub async fn tell_here(self: &Arc<Self>, tell: Tell) -> Result<Told, NotDone> {
        let inside = self.inside(&tell.address, false).ok_or(NotDone::NotHere)?;
        check_key(tell.idempotency_key.as_ref())?;
        Ok(self.take_message(&inside, tell).await?)
    }

    async fn take_message(self: &Arc<Self>, cell: &Arc<Cell>, tell: Tell) -> Result<Told, Failure> {
        let kind = self.kind_of(&tell.address)?;
        method_of(&kind, &tell.method)?;
        self.admit()?;
        let waiting = cell.inboxes.lock().get(&tell.address).map_or(0, crate::inbox::Inbox::len);
        if waiting >= self.settings.mailbox_max {
            return Err(mailbox_full(&tell.address, self.settings.mailbox_max));
        }
        let Tell { address, method, input, idempotency_key, trace } = tell;
        let asked = fingerprint("tell", &method, &input);
        let (pending, told) = {
            let mut tail = cell.tail.lock();
            // Under the lock, so that of two requests with one key the second one sees the first.
            if let Some(key) = &idempotency_key
                && let Some(reply) = self.remembered(&address, key, asked)?
            {
                let told = Told { message: text_of(&reply.payload), replayed: true };
                (None, (tail.last, told))
            } else {
                let id = stride_ids::MessageId { record: tail.last.next(), index: 0 };
                let told = Told { message: id.to_string(), replayed: false };
                let at = self.clock.timestamp();
                let payload =
                    stride_ids::Payload { content_type: "text/plain".into(), body: Bytes::from(id.to_string()) };
                let reply = idempotency_key.map(|key| (key, Reply { fingerprint: asked, payload, turn: 0, at }));
                let message = Message { sender: Sender::Outside, method, input, trace };
                let messages = vec![Envelope { to: address, message }];
                let record = Record::Accept(Accept { from: None, messages, reply });
                let pending = self.order(cell, &mut tail, &record)?;
                (Some(pending), (tail.last, told))
            }
        };
        let (last, told) = told;
        let receipt = match pending {
            Some(ordered) => {
                self.wake_all(cell, ordered.woken);
                ordered.pending.await
            }
            None => cell.settled(&*self.journal, last).await,
        };
        self.settle(cell, &receipt.map_err(|e| journal_failure(&e))?);
        Ok(told)
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

    /// The durable answer to an ask that was made before under its key.
    async fn first_answer(&self, cell: &Arc<Cell>, ask: &Ask) -> Result<Option<Answer>, Failure> {
        let Some(key) = &ask.idempotency_key else { return Ok(None) };
        let asked = fingerprint("ask", &ask.method, &ask.input);
        let Some(Reply { payload, turn, .. }) = self.remembered(&ask.address, key, asked)? else { return Ok(None) };
        let last = cell.tail.lock().last;
        let held = Held::until(cell.id, last, Emitted { payload, turn, replayed: true });
        let receipt = cell.settled(&*self.journal, last).await.map_err(|e| journal_failure(&e))?;
        self.confirm_owner(cell).await?;
        let Emitted { payload, turn, replayed } = held.release(&receipt);
        self.counters.replayed.add_one();
        Ok(Some(Answer { payload, turn, replayed, timing: Timing::default(), node: None }))
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
    pub(crate) fn cell_id(&self, address: &Address) -> CellId {
        address.cell(self.settings.cells)
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

    fn patience(&self) -> Patience<'_> {
        Patience { engine: self, until: self.clock.now() + self.settings.moving_max }
    }
}

/// How long somebody still waits for a cell that is on its way.
struct Patience<'a> {
    engine: &'a Engine,
    until: Duration,
}

impl Patience<'_> {
    async fn wait(&mut self, cell: CellId) -> Result<(), Failure> {
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

fn text_of(payload: &stride_ids::Payload) -> String {
    String::from_utf8_lossy(&payload.body).into_owned()
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
