//! Running turns: for an ask, with somebody waiting; for the messages of an agent, one after another until none waits.

use std::{sync::Arc, time::Duration};

use stride_ids::{Address, Code, Failure, MessageId, Payload};
use stride_journal::Pending;
use stride_sim::Timestamp;
use stride_store::RowKey;

use crate::{
    alarm::What,
    body::Kind,
    cell::Cell,
    cells::Inside,
    engine::{Engine, mailbox_full, method_of, stamp, store_failure, unreadable},
    held::{Emitted, Held},
    inbox::Next,
    message::{Ask, Message, Sender, Timing, fingerprint},
    record::{Commit, Defer, Header, Park, Parked, Record, Reply, Waiting},
    slot::{LiveBody, Place, Resident, Slot},
    turn::{Cause, Turn, Writes},
    upgrade::Chosen,
};

/// The longest wait before a message is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What a turn emits, and the record that has to be durable first. No record: what it emits depends on older ones.
pub(crate) type Emission = (Held<Emitted>, Option<Pending>);

/// One message to be handled in a turn.
pub(crate) struct Job<'a> {
    pub(crate) agent: &'a Address,
    pub(crate) method: &'a str,
    pub(crate) input: &'a Payload,
    pub(crate) cause: Cause,
    /// Under which key the reply is to be remembered.
    pub(crate) reply_key: Option<&'a str>,
    /// Which waiting message this is; none for an ask.
    pub(crate) handles: Option<MessageId>,
}

impl Engine {
    /// Waits for the agent, and handles the ask once it is its turn.
    pub(crate) async fn take_turn(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        kind: &Arc<Kind>,
        read_only: bool,
        ask: &Ask,
        waiting: &[Address],
        timing: &mut Timing,
    ) -> Result<Emission, Failure> {
        let began = self.clock.now();
        let slot = cell.wake(&ask.address);
        let _waiting = Queued::enter(&slot, self.settings.mailbox_max, &ask.address)?;
        let resident = slot.enter(read_only).await;
        let acquired = self.clock.now();
        timing.queue = acquired - began;
        slot.touch(stamp(acquired));
        let key = ask.idempotency_key.as_deref().filter(|_| !read_only);
        if let Some(key) = key {
            let asked = fingerprint("ask", &ask.method, &ask.input);
            if let Some(Reply { payload, turn, .. }) = self.remembered(&ask.address, key, asked)? {
                return Ok((Held::until(cell.id, resident.last(), Emitted { payload, turn, replayed: true }), None));
            }
        }
        let attempts_key = key.map(|key| format!("{}/{}/{key}", ask.address.kind, ask.address.key));
        let job = Job {
            agent: &ask.address,
            method: &ask.method,
            input: &ask.input,
            cause: Cause { attempts_key, trace: ask.trace.clone(), waiting: waiting.to_vec(), ..Cause::default() },
            reply_key: key,
            handles: None,
        };
        let outcome = self.run(cell, &resident, kind, read_only, &job, timing).await;
        if outcome.is_err() {
            self.counters.discarded.add_one();
        }
        outcome
    }

    /// Runs the body and orders the record of what it wrote. On a version of the code that is new to the agent and fails,
    /// the version before it takes the turn.
    async fn run(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        resident: &Resident,
        kind: &Arc<Kind>,
        read_only: bool,
        job: &Job<'_>,
        timing: &mut Timing,
    ) -> Result<Emission, Failure> {
        self.admit()?;
        let header = self.header(resident, job.agent)?;
        let before = header.as_ref().and_then(|header| header.refused.clone());
        let Chosen { kind: chosen, refused, fallback } = self.choose(kind, header.as_ref(), job.agent);
        let refuses = refused.is_some();
        match self.attempt(cell, resident, &chosen, read_only, job, timing, refused).await {
            Ok(emission) => {
                if !refuses && emission.1.is_some() {
                    self.note_refusal(cell, job.agent, &kind.component, before, None);
                }
                Ok(emission)
            }
            Err(failure) if is_the_codes_fault(&failure) => {
                let Some(older) = fallback else { return Err(failure) };
                let refused = Some(kind.version.to_string());
                let emission = self.attempt(cell, resident, &older, read_only, job, timing, refused).await?;
                // A turn that only reads leaves nothing behind: the next one tries the new version again.
                if emission.1.is_some() {
                    self.note_refusal(cell, job.agent, &kind.component, before, Some((kind, &failure)));
                }
                Ok(emission)
            }
            outcome => outcome,
        }
    }

    /// Runs one attempt with one version of the code.
    #[expect(clippy::too_many_arguments, reason = "they are what a turn is made of")]
    async fn attempt(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        resident: &Resident,
        kind: &Arc<Kind>,
        read_only: bool,
        job: &Job<'_>,
        timing: &mut Timing,
        refused: Option<String>,
    ) -> Result<Emission, Failure> {
        let began = self.clock.now();
        let header = self.header(resident, job.agent)?;
        // Out of the resident while it runs: if this future is dropped or the turn fails, so is the body.
        let mut live = match resident.take_body(&kind.version) {
            Some(live) => live,
            None => self.start(kind, job.agent).await?,
        };
        let started = self.clock.now();
        timing.start = started - began;

        let typed = header.as_ref().and_then(|header| header.state.clone());
        let mut turn = Turn::new(job.agent.clone(), read_only, typed, job.cause.clone(), self.clone());
        let from = header.as_ref().and_then(|header| header.version.as_deref()).filter(|from| **from != *kind.version);
        if let Some(from) = from {
            turn = live.body.migrate(turn.allow_writes(), from).await?.forbid_writes_if(read_only);
        }
        let from_other_version = from.is_some();
        let outcome = live.body.turn(turn, job.method, job.input.clone()).await;
        let ended = self.clock.now();
        timing.run = ended - started;
        let waited = outcome.as_ref().map_or(Duration::ZERO, |(turn, _)| turn.waited());
        cell.pace.lock().note(ended, timing.run.saturating_sub(waited));
        let (turn, payload) = outcome?;
        payload.check_size("reply")?;

        let mut turns = header.as_ref().map_or(0, |header| header.turns);
        let mut pending = None;
        if !read_only || job.handles.is_some() {
            turns += 1;
            let created_at = header.as_ref().map_or_else(|| self.clock.timestamp(), |header| header.created_at);
            let Writes { typed, map, sent, timers } = turn.into_writes();
            let reply = job.reply_key.map(|key| {
                let fingerprint = fingerprint("ask", job.method, job.input);
                let at = self.clock.timestamp();
                (key.to_owned(), Reply { fingerprint, payload: payload.clone(), turn: turns, at })
            });
            let version = Some(kind.version.clone());
            let header = Header { turns, created_at, state: typed, version, refused };
            let agent = job.agent.clone();
            let commit = Commit { agent, header, map, reply, handled: job.handles, sent, timers };
            pending = Some(self.commit(cell, resident, commit)?);
        }
        match &pending {
            Some(_) => resident.keep_writer(live),
            // A migration that is not committed is done again by the next turn, with a body that knows nothing of it.
            None if from_other_version => drop(live),
            None => resident.keep_reader(live),
        }
        let held = Held::until(cell.id, resident.last(), Emitted { payload, turn: turns, replayed: false });
        Ok((held, pending))
    }

    /// Orders the record of a commit; the turns that follow see its writes.
    pub(crate) fn commit(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        resident: &Resident,
        commit: Commit,
    ) -> Result<Pending, Failure> {
        let header = commit.header.clone();
        let pending = self.append(cell, &Record::Commit(commit))?;
        resident.committed(Some(header), pending.seq());
        Ok(pending)
    }

    /// What the agent's last turn left.
    pub(crate) fn header(&self, resident: &Resident, address: &Address) -> Result<Option<Header>, Failure> {
        if let Some(known) = resident.header() {
            return Ok(known);
        }
        let bytes = self.store.get(&RowKey::Header(address.clone())).map_err(|e| store_failure(&e))?;
        let header = bytes.map(|bytes| Header::decode(&bytes)).transpose().map_err(|e| unreadable(&e))?;
        resident.remember(header.clone());
        Ok(header)
    }

    /// Brings a body into memory; the least recently used one leaves if there are too many.
    async fn start(&self, kind: &Arc<Kind>, address: &Address) -> Result<LiveBody, Failure> {
        let is_full = || self.live.load(std::sync::atomic::Ordering::Relaxed) >= self.settings.live_max;
        while is_full() {
            // Nobody may be left to make room because a sweep has just made it.
            if !self.passivate_one() && is_full() {
                let message = format!("all {} agents in memory are busy; try again", self.settings.live_max);
                return Err(Failure::new(Code::Overloaded, message));
            }
        }
        let place = Place::take(&self.live);
        let body = self.bodies.start(kind, address).await?;
        self.residency.lock().arrived(address.clone(), stamp(self.clock.now()));
        Ok(LiveBody { version: kind.version.clone(), body, _place: place })
    }

    /// Sees to it that the messages of an agent are worked through, if any wait.
    pub(crate) fn wake(self: &Arc<Self>, cell: &Arc<Cell>, agent: &Address) {
        let woken = match cell.inboxes.lock().get_mut(agent) {
            Some(inbox) => !std::mem::replace(&mut inbox.drained, true),
            None => false,
        };
        if woken {
            self.wake_all(cell, vec![agent.clone()]);
        }
    }

    /// Handles the messages of an agent until none waits that could be handled now.
    pub(crate) async fn drain(self: Arc<Self>, cell: Arc<Cell>, agent: Address) {
        while let Some(id) = self.next_message(&cell, &agent) {
            // Both are shut when the engine stops, or gives the cell up: what waits is handled by whoever owns it next.
            let Ok(_permit) = self.handling.acquire().await else { return };
            let Some(inside) = Inside::enter(cell.clone(), false) else { return };
            self.handle(&inside, &agent, id).await;
            self.flush_soon(&inside);
        }
    }

    /// The message to handle now. If there is none, this drain ends, and somebody else starts the next one.
    fn next_message(&self, cell: &Arc<Cell>, agent: &Address) -> Option<MessageId> {
        let now = self.clock.timestamp();
        let mut inboxes = cell.inboxes.lock();
        let inbox = inboxes.get_mut(agent)?;
        match inbox.next(now) {
            Next::Run(id) => return Some(id),
            Next::At(at) => {
                inbox.drained = false;
                self.alarm.set(at, What::Messages(agent.clone()));
            }
            Next::Nothing => drop(inboxes.remove(agent)),
        }
        None
    }

    /// Handles one message, or notes that it failed.
    async fn handle(self: &Arc<Self>, cell: &Arc<Cell>, agent: &Address, id: MessageId) {
        let slot = cell.wake(agent);
        let resident = slot.change().await;
        slot.touch(stamp(self.clock.now()));
        let waiting = match self.waiting(agent, id) {
            Ok(Some(waiting)) => waiting,
            // Its agent was removed meanwhile.
            Ok(None) => {
                if let Some(inbox) = cell.inboxes.lock().get_mut(agent) {
                    inbox.remove(id);
                }
                return;
            }
            Err(failure) => {
                tracing::error!(%agent, message = %id, %failure, "a message cannot be read; it is looked at again later");
                self.put_off(cell, agent, id);
                return;
            }
        };
        match self.try_message(cell, &resident, agent, id, &waiting.message).await {
            Ok(()) => self.counters.handled.add_one(),
            Err(failure) => {
                self.counters.failed.add_one();
                self.note_failure(cell, agent, id, waiting, failure);
            }
        }
    }

    async fn try_message(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        resident: &Resident,
        agent: &Address,
        id: MessageId,
        message: &Message,
    ) -> Result<(), Failure> {
        let kind = self.kind_of(agent)?;
        let read_only = method_of(&kind, &message.method)?;
        let (firing, sender) = match &message.sender {
            Sender::Timer(firing) => (Some(firing.clone()), None),
            Sender::Agent(sender) => (None, Some(sender.clone())),
            Sender::Outside => (None, None),
        };
        let attempts_key = Some(format!("{}/{id}", cell.id.0));
        let job = Job {
            agent,
            method: &message.method,
            input: &message.input,
            cause: Cause { attempts_key, firing, sender, trace: message.trace.clone(), waiting: Vec::new() },
            reply_key: None,
            handles: Some(id),
        };
        let (_, pending) = self.run(cell, resident, &kind, read_only, &job, &mut Timing::default()).await?;
        // Not waited for: the next message is handled meanwhile, and what this one sends leaves with the flush that follows.
        pending.into_iter().for_each(Pending::unhurried);
        Ok(())
    }

    fn waiting(&self, agent: &Address, id: MessageId) -> Result<Option<Waiting>, Failure> {
        let bytes = self.store.get(&RowKey::Inbox(agent.clone(), id)).map_err(|e| store_failure(&e))?;
        bytes.map(|bytes| Waiting::decode(&bytes)).transpose().map_err(|e| unreadable(&e))
    }

    /// A message failed: it is tried again later, or parked.
    fn note_failure(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        agent: &Address,
        id: MessageId,
        waiting: Waiting,
        failure: Failure,
    ) {
        // What passes by itself is no attempt.
        let passes = matches!(failure.code, Code::Overloaded | Code::Unavailable);
        let attempts = waiting.attempts + u32::from(!passes);
        let now = self.clock.timestamp();
        let record = if attempts >= self.settings.attempts_max {
            tracing::warn!(%agent, message = %id, attempts, %failure, "message parked");
            let version = self.bodies.kind(&agent.tenant, &agent.kind).map(|kind| kind.version.to_string());
            let parked = Parked { message: waiting.message, attempts, cause: failure, version, at: now };
            Record::Park(Park { agent: agent.clone(), id, parked })
        } else {
            let not_before = now.saturating_add(self.backoff(attempts));
            let waiting = Waiting { attempts, not_before, cause: Some(failure), ..waiting };
            Record::Defer(Defer { agent: agent.clone(), id, waiting })
        };
        if let Err(failure) = self.append(cell, &record) {
            tracing::warn!(%agent, message = %id, %failure, "a failed attempt could not be noted; the message is tried again");
            self.put_off(cell, agent, id);
        }
    }

    /// Has a message looked at again later, in memory only.
    fn put_off(&self, cell: &Arc<Cell>, agent: &Address, id: MessageId) {
        let at = self.clock.timestamp().saturating_add(self.backoff(1));
        if let Some(inbox) = cell.inboxes.lock().get_mut(agent) {
            inbox.defer(id, at);
        }
    }

    /// How long to wait after so many attempts, in milliseconds: twice as long each time, and from half to one and a half
    /// of that, so that what failed together does not come back together.
    fn backoff(&self, attempts: u32) -> Timestamp {
        let factor = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.settings.backoff.saturating_mul(factor).min(BACKOFF_MAX);
        let full = u64::try_from(full.as_millis()).unwrap_or(u64::MAX).max(1);
        full / 2 + self.chance.below(full)
    }
}

/// Whether another version of the code might do better.
fn is_the_codes_fault(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::GuestTrap | Code::LimitMemory | Code::LimitTime | Code::CapabilityDenied | Code::Internal
    )
}

/// An ask that waits for an agent or is being handled by it, counted against the mailbox's bound.
struct Queued<'a>(&'a Slot);

impl<'a> Queued<'a> {
    fn enter(slot: &'a Slot, max: usize, address: &Address) -> Result<Self, Failure> {
        let queued = Self(slot);
        if slot.waiting.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= max {
            return Err(mailbox_full(address, max));
        }
        Ok(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
