//! Drives turns: finds the agent, runs its body, commits, and releases the reply.

use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use stride_ids::{Address, CellId, Code, Failure};
use stride_journal::{Journal, Pending};
use stride_sim::Clock;
use stride_store::{RowKey, Store};

use crate::{
    body::{Bodies, Kind},
    cell::{Cell, LiveBody, Place, Resident, Slot},
    message::{Answer, Ask, Timing},
    record::{Commit, Header, Record, Reply},
    recover::{OpenError, take_over, writes_of},
    residency::{Residency, Stamp},
    stats::{Counters, Stats},
    turn::{Emitted, Held, Turn},
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
    /// How long the answer to an idempotency key is remembered.
    pub reply_retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cells: stride_ids::CELLS_EMBEDDED,
            live_max: 4_000,
            mailbox_max: 1_024,
            staged_bytes_max: 64 << 20,
            reply_retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// Owns the cells of a node and runs their agents.
pub struct Engine {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) store: Arc<Store>,
    pub(crate) bodies: Arc<dyn Bodies>,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    pub(crate) cells: Vec<Cell>,
    pub(crate) residency: Mutex<Residency<Address>>,
    pub(crate) live: Arc<AtomicUsize>,
    pub(crate) counters: Counters,
}

/// What a turn emits, and the record that has to be durable first. No record: what it emits depends on older ones.
type Emission = (Held<Emitted>, Option<Pending>);

impl Engine {
    /// Takes over every cell and brings the store up to the end of the journal.
    ///
    /// # Errors
    /// If anything acknowledged would be missing.
    pub async fn open(
        journal: Arc<dyn Journal>,
        store: Arc<Store>,
        bodies: Arc<dyn Bodies>,
        clock: Clock,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let mut cells = Vec::with_capacity(usize::from(settings.cells));
        for id in (0..settings.cells).map(CellId) {
            cells.push(take_over(&*journal, &store, id).await?);
        }
        Ok(Self {
            journal,
            store,
            bodies,
            clock,
            settings,
            cells,
            residency: Mutex::new(Residency::new()),
            live: Arc::default(),
            counters: Counters::default(),
        })
    }

    /// Has one agent handle one message. The answer is durable, and so is everything that it shows.
    ///
    /// # Errors
    /// The turn left no trace, except for `unavailable` from a journal that stopped: then the outcome is unknown until
    /// the node is back, and the same idempotency key finds it out.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        ask.check()?;
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
        cell.note(receipt);
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

    /// Counts what has been done and what is held.
    pub fn stats(&self) -> Stats {
        Stats {
            committed: self.counters.committed.get(),
            read: self.counters.read.get(),
            discarded: self.counters.discarded.get(),
            replayed: self.counters.replayed.get(),
            passivated: self.counters.passivated.get(),
            live: self.live.load(Ordering::Relaxed) as u64,
            staged_bytes: self.store.staged_bytes() as u64,
        }
    }

    /// Waits for the agent, and handles the message once it is its turn.
    async fn take_turn(
        &self,
        cell: &Cell,
        kind: &Arc<Kind>,
        read_only: bool,
        ask: &Ask,
        timing: &mut Timing,
    ) -> Result<Emission, Failure> {
        let began = self.clock.now();
        let slot = cell.wake(&ask.address);
        let _waiting = Waiting::enter(&slot, self.settings.mailbox_max, &ask.address)?;
        let mut resident = slot.resident.lock().await;
        let acquired = self.clock.now();
        timing.queue = acquired - began;
        slot.touch(stamp(acquired));
        if let Some(reply) = self.remembered(ask, read_only)? {
            return Ok((Held::until(cell.id, resident.last, reply), None));
        }
        let outcome = self.run(cell, &mut resident, kind, read_only, ask, timing).await;
        if outcome.is_err() {
            self.counters.discarded.add_one();
        }
        outcome
    }

    /// The first answer to this idempotency key, if there was one.
    fn remembered(&self, ask: &Ask, read_only: bool) -> Result<Option<Emitted>, Failure> {
        let Some(key) = ask.idempotency_key.as_ref().filter(|_| !read_only) else { return Ok(None) };
        let row = RowKey::Reply(ask.address.clone(), key.clone());
        let Some(bytes) = self.store.get(&row).map_err(|e| store_failure(&e))? else { return Ok(None) };
        let reply = Reply::decode(&bytes).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
        let age = self.clock.timestamp().saturating_sub(reply.at);
        if u128::from(age) > self.settings.reply_retention.as_millis() {
            return Ok(None);
        }
        if reply.fingerprint != ask.fingerprint() {
            let message = "this idempotency key was used for another request; use a new key for a new request";
            return Err(Failure::new(Code::Conflict, message));
        }
        Ok(Some(Emitted { payload: reply.payload, turn: reply.turn, replayed: true }))
    }

    /// Runs the body and orders the record of what it wrote.
    async fn run(
        &self,
        cell: &Cell,
        resident: &mut Resident,
        kind: &Arc<Kind>,
        read_only: bool,
        ask: &Ask,
        timing: &mut Timing,
    ) -> Result<Emission, Failure> {
        self.admit()?;
        let began = self.clock.now();
        let header = self.header(resident, &ask.address)?;
        // Out of the resident while it runs: if this future is dropped or the turn fails, so is the body.
        let mut live = match resident.body.take().filter(|live| live.version == kind.version) {
            Some(live) => live,
            None => self.start(kind, &ask.address).await?,
        };
        let started = self.clock.now();
        timing.start = started - began;

        let typed = header.as_ref().and_then(|header| header.state.clone());
        let turn = Turn::new(ask.address.clone(), read_only, typed, self.store.clone());
        let (turn, payload) = live.body.turn(turn, &ask.method, ask.input.clone()).await?;
        timing.run = self.clock.now() - started;
        payload.check_size("reply")?;

        let mut turns = header.as_ref().map_or(0, |header| header.turns);
        let mut pending = None;
        if !read_only {
            turns += 1;
            let created_at = header.map_or_else(|| self.clock.timestamp(), |header| header.created_at);
            let (state, map) = turn.into_writes();
            let reply = ask.idempotency_key.clone().map(|key| {
                let at = self.clock.timestamp();
                (key, Reply { fingerprint: ask.fingerprint(), payload: payload.clone(), turn: turns, at })
            });
            let agent = ask.address.clone();
            let commit = Commit { agent, header: Header { turns, created_at, state }, map, reply };
            pending = Some(self.append(cell, resident, commit)?);
        }
        resident.body = Some(live);
        let held = Held::until(cell.id, resident.last, Emitted { payload, turn: turns, replayed: false });
        Ok((held, pending))
    }

    /// Orders the record of a commit; the turns that follow see its writes.
    pub(crate) fn append(&self, cell: &Cell, resident: &mut Resident, commit: Commit) -> Result<Pending, Failure> {
        let header = commit.header.clone();
        let pending = self.append_record(cell, &Record::Commit(commit))?;
        resident.last = pending.seq();
        resident.header = Some(Some(header));
        Ok(pending)
    }

    pub(crate) fn append_record(&self, cell: &Cell, record: &Record) -> Result<Pending, Failure> {
        let writes = writes_of(record, &self.store).map_err(|e| store_failure(&e))?;
        cell.append(&*self.journal, &self.store, record.encode(), writes).map_err(|e| journal_failure(&e))
    }

    /// What the agent's last turn left.
    pub(crate) fn header(&self, resident: &mut Resident, address: &Address) -> Result<Option<Header>, Failure> {
        if let Some(known) = &resident.header {
            return Ok(known.clone());
        }
        let bytes = self.store.get(&RowKey::Header(address.clone())).map_err(|e| store_failure(&e))?;
        let header = bytes.map(|bytes| Header::decode(&bytes)).transpose();
        let header = header.map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
        resident.header = Some(header.clone());
        Ok(header)
    }

    /// Brings a body into memory; the least recently used one leaves if there are too many.
    async fn start(&self, kind: &Arc<Kind>, address: &Address) -> Result<LiveBody, Failure> {
        while self.live.load(Ordering::Relaxed) >= self.settings.live_max {
            if !self.passivate_one() {
                let message = format!("all {} agents in memory are busy; try again", self.settings.live_max);
                return Err(Failure::new(Code::Overloaded, message));
            }
        }
        let place = Place::take(&self.live);
        let body = self.bodies.start(kind, address).await?;
        self.residency.lock().arrived(address.clone(), stamp(self.clock.now()));
        Ok(LiveBody { version: kind.version.clone(), body, _place: place })
    }

    /// Refuses new turns while the store cannot keep up or has no space.
    fn admit(&self) -> Result<(), Failure> {
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

/// Whether the method only reads, if the agent type has it.
fn method_of(kind: &Kind, method: &str) -> Result<bool, Failure> {
    kind.methods.get(method).map(|m| m.read_only).ok_or_else(|| {
        let known: Vec<&str> = kind.methods.keys().map(String::as_str).collect();
        let message = format!("agent type `{}` has no method `{method}`; it has: {}", kind.name, known.join(", "));
        Failure::new(Code::NotFound, message)
    })
}

/// An ask that waits for an agent or is being handled by it, counted against the mailbox's bound.
struct Waiting<'a>(&'a Slot);

impl<'a> Waiting<'a> {
    fn enter(slot: &'a Slot, max: usize, address: &Address) -> Result<Self, Failure> {
        let waiting = Self(slot);
        if slot.waiting.fetch_add(1, Ordering::Relaxed) >= max {
            let message = format!("{max} messages wait for {}/{} already; try again", address.kind, address.key);
            return Err(Failure::new(Code::Overloaded, message));
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn stamp(now: Duration) -> Stamp {
    u64::try_from(now.as_micros()).unwrap_or(Stamp::MAX)
}

/// What a caller sees of a journal that refused or stopped.
pub(crate) fn journal_failure(error: &stride_journal::Error) -> Failure {
    use stride_journal::Error;
    let code = match error {
        Error::TooLarge { .. } => Code::PayloadTooLarge,
        Error::Full(_) | Error::Stopped(_) | Error::Fenced { .. } => Code::Unavailable,
        _ => Code::Internal,
    };
    Failure::new(code, error.to_string())
}

/// What a caller sees of a store that could not answer.
pub(crate) fn store_failure(error: &stride_store::Error) -> Failure {
    Failure::new(Code::Internal, format!("the state cannot be read: {error}"))
}
