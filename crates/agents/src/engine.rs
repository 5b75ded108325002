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
    message::{Answer, Ask, Envelope, Message, Sender, Tell, Timing, Told, check_key, fingerprint},
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
    pub(crate) cells: Vec<Cell>,
    pub(crate) residency: Mutex<Residency<Address>>,
    pub(crate) live: Arc<AtomicUsize>,
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) waits: Waits,
    pub(crate) refusals: Refusals,
    /// One permit for each message that may be handled at the same time. Closed when the engine stops handling.
    pub(crate) handling: Semaphore,
    /// Where the next pass looks for replies that are over their time.
    pub(crate) walk: Mutex<Walk>,
}

impl Engine {
    /// Takes over every cell, brings the store up to the end of the journal, and goes on with what waits.
    ///
    /// # Errors
    /// If anything acknowledged would be missing.
    pub async fn open(surroundings: Surroundings, settings: Settings) -> Result<Arc<Self>, OpenError> {
        let Surroundings { journal, store, bodies, clock, chance, tasks } = surroundings;
        let mut cells = Vec::with_capacity(usize::from(settings.cells));
        let mut replayed = 0;
        for id in (0..settings.cells).map(CellId) {
            let began = clock.now();
            let (mut cell, bytes) = take_over(&*journal, &store, id, settings.cells).await?;
            replayed += bytes;
            cell.recovered_in = clock.now() - began;
            cells.push(cell);
        }
        let engine = Arc::new(Self {
            journal,
            store,
            bodies,
            clock,
            chance,
            tasks,
            handling: Semaphore::new(settings.handled_max),
            settings,
            cells,
            residency: Mutex::new(Residency::new()),
            live: Arc::default(),
            counters: Counters::default(),
            gauges: Gauges::default(),
            alarm: Arc::default(),
            waits: Waits::default(),
            refusals: Refusals::default(),
            walk: Mutex::default(),
        });
        engine.count_rows()?;
        if replayed > engine.settings.replayed_bytes_max {
            engine.shorten_tail().await;
        }
        engine.go_on();
        engine.tasks.spawn(watch(Arc::downgrade(&engine)));
        Ok(engine)
    }

    /// Brings what was replayed to the store before anything is added to it. Otherwise a node that is killed again and
    /// again before its first checkpoint would have more to replay each time.
    async fn shorten_tail(&self) {
        let stored = async {
            self.materialise().await?;
            self.checkpoint().await
        };
        if let Err(failure) = stored.await {
            tracing::warn!(%failure, "what was replayed cannot be brought to the store; the next start takes as long");
        }
    }

    /// Goes on where the last owner ended: what may not have reached other cells, what waits, what is due.
    fn go_on(self: &Arc<Self>) {
        for cell in &self.cells {
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
    }

    /// Has one agent handle one message. The answer is durable, and so is everything that it shows.
    ///
    /// # Errors
    /// The turn left no trace, except for `unavailable` from a journal that stopped: then the outcome is unknown until
    /// the node is back, and the same idempotency key finds it out.
    pub async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Answer, Failure> {
        check_key(ask.idempotency_key.as_ref())?;
        self.answer(ask).await
    }

    async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Answer, Failure> {
        ask.input.check_size("request")?;
        let kind = self.kind_of(&ask.address)?;
        let read_only = method_of(&kind, &ask.method)?;
        let cell = self.cell_of(&ask.address);
        let mut timing = Timing::default();
        let (held, pending) = self.take_turn(cell, &kind, read_only, &ask, &mut timing).await?;

        let computed = self.clock.now();
        let receipt = match pending {
            Some(pending) => pending.await,
            None => cell.settled(&*self.journal, held.needs()).await,
        };
        let receipt = receipt.map_err(|e| journal_failure(&e))?;
        self.settle(cell, &receipt);
        timing.commit = self.clock.now() - computed;

        let Emitted { payload, turn, replayed } = held.release(&receipt);
        let counter = match (replayed, read_only) {
            (true, _) => &self.counters.replayed,
            (false, true) => &self.counters.read,
            (false, false) => &self.counters.committed,
        };
        counter.add_one();
        Ok(Answer { payload, turn, replayed, timing })
    }

    /// Gives one agent a message that nobody waits for. It is durable when this returns, and handled exactly once.
    ///
    /// # Errors
    /// Nothing was told, except for `unavailable` from a journal that stopped: then the same idempotency key finds out.
    pub async fn tell(self: &Arc<Self>, tell: Tell) -> Result<Told, Failure> {
        check_key(tell.idempotency_key.as_ref())?;
        tell.input.check_size("request")?;
        let kind = self.kind_of(&tell.address)?;
        method_of(&kind, &tell.method)?;
        self.admit()?;
        let cell = self.cell_of(&tell.address);
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
        let count = |counted: fn(&Cell) -> usize| self.cells.iter().map(counted).sum::<usize>() as u64;
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
            leaving: count(|cell| cell.outbox.lock().len()),
            parked: self.gauges.parked.get(),
            timers: self.gauges.timers.get(),
            replies: self.gauges.replies.get(),
        }
    }

    /// Takes note of a receipt: what it allows to leave leaves.
    pub(crate) fn settle(self: &Arc<Self>, cell: &Cell, receipt: &stride_journal::Receipt) {
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
    async fn first_answer(&self, ask: &Ask) -> Result<Option<Answer>, Failure> {
        let Some(key) = &ask.idempotency_key else { return Ok(None) };
        let asked = fingerprint("ask", &ask.method, &ask.input);
        let Some(Reply { payload, turn, .. }) = self.remembered(&ask.address, key, asked)? else { return Ok(None) };
        let cell = self.cell_of(&ask.address);
        let last = cell.tail.lock().last;
        let held = Held::until(cell.id, last, Emitted { payload, turn, replayed: true });
        let receipt = cell.settled(&*self.journal, last).await.map_err(|e| journal_failure(&e))?;
        let Emitted { payload, turn, replayed } = held.release(&receipt);
        self.counters.replayed.add_one();
        Ok(Some(Answer { payload, turn, replayed, timing: Timing::default() }))
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

    pub(crate) fn cell_of(&self, address: &Address) -> &Cell {
        &self.cells[usize::from(address.cell(self.settings.cells).0)]
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

    fn ask(self: Arc<Self>, from: Address, ask: Ask) -> BoxFuture<'static, Result<Answer, Failure>> {
        Box::pin(async move {
            // First of all what was answered before: whether this ask would close a circle now does not matter then.
            if let Some(answer) = self.first_answer(&ask).await? {
                return Ok(answer);
            }
            let _waiting = self.waits.enter(&from, &ask.address)?;
            self.answer(ask).await
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
