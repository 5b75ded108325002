//! A turn in progress: what it reads, and what it would write and send.
//!
//! Always true: nothing a turn writes is seen by anybody before the turn is committed, and what a turn emits stays
//! in a [`Held`](crate::held::Held) until the journal's receipt opens it. The one thing that leaves earlier is an ask: it is a transaction of
//! the agent that is asked, under a key that follows from this turn, so that a turn that is tried again asks nothing twice.

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use stride_ids::{Address, CellId, Code, Failure, Payload};
use stride_sim::Timestamp;
use stride_store::RowKey;

use crate::{
    elsewhere::Asked,
    message::{Answer, Ask, Envelope, Message, Sender},
    timer::{Firing, Schedule, Timer, TimerChange, TimerStatus, check_name},
};

/// How much a turn may write and send, in bytes of keys, values and messages: what fits into one journal record with
/// room for the rest.
pub(crate) const TURN_BYTES_MAX: usize = 3 << 20;

/// What surrounds a turn: the state that it starts from, the other agents, the time.
pub(crate) trait World: Send + Sync {
    fn get(&self, row: &RowKey) -> Result<Option<Bytes>, stride_store::Error>;
    fn scan_map(
        &self,
        agent: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, stride_store::Error>;
    fn timers(&self, agent: &Address) -> Result<Vec<(String, Timer)>, Failure>;
    fn now(&self) -> Timestamp;
    /// The cell of an agent.
    fn cell_of(&self, agent: &Address) -> CellId;
    /// Refuses an agent of a type that was never deployed, as far as is known: in which cell it will be, nobody can say.
    fn check_known(&self, agent: &Address) -> Result<(), Failure>;
    /// Asks an agent from within a turn of the agent that waits last.
    fn ask(self: Arc<Self>, asked: Asked) -> BoxFuture<'static, Result<Answer, Failure>>;
}

/// Why a turn's access to its state was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// The method takes `&self`, so it must not write.
    #[error("a method that takes &self cannot write state or objects, tell or set timers; let it take &mut self")]
    ReadOnly,
    /// The turn writes more than fits into one record.
    #[error("one turn can write and send {max} bytes at most; spread the work over several turns")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The store could not answer.
    #[error("the state could not be read")]
    Store(#[from] stride_store::Error),
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(#[from] Failure),
}

impl From<TurnError> for Failure {
    fn from(error: TurnError) -> Self {
        let code = match error {
            TurnError::Refused(failure) => return failure,
            TurnError::ReadOnly => Code::CapabilityDenied,
            TurnError::TooLarge { .. } => Code::PayloadTooLarge,
            TurnError::Store(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// One message being handled by one agent.
pub struct Turn {
    address: Address,
    read_only: bool,
    world: Arc<dyn World>,
    cause: Cause,
    typed: Option<Bytes>,
    map: BTreeMap<String, Option<Bytes>>,
    sent: Vec<Envelope>,
    timers: BTreeMap<String, TimerChange>,
    bytes: usize,
    asked: u32,
    waited: Duration,
}

/// What brought a turn about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    /// The same for every attempt at this turn; none if there is only this one.
    pub(crate) attempts_key: Option<String>,
    /// The timer that was due, if that is what it was.
    pub(crate) firing: Option<Firing>,
    /// The agent that told, if one did.
    pub(crate) sender: Option<Address>,
    pub(crate) trace: Option<String>,
    /// The agents that wait for this turn, the outermost first.
    pub(crate) waiting: Vec<Address>,
}

/// What a turn leaves behind if it is committed.
pub(crate) struct Writes {
    pub(crate) typed: Option<Bytes>,
    pub(crate) map: BTreeMap<String, Option<Bytes>>,
    pub(crate) sent: Vec<Envelope>,
    pub(crate) timers: BTreeMap<String, TimerChange>,
}

impl Turn {
    pub(crate) fn new(
        address: Address,
        read_only: bool,
        typed: Option<Bytes>,
        cause: Cause,
        world: Arc<dyn World>,
    ) -> Self {
        Self {
            address,
            read_only,
            world,
            cause,
            typed,
            map: BTreeMap::new(),
            sent: Vec::new(),
            timers: BTreeMap::new(),
            bytes: 0,
            asked: 0,
            waited: Duration::ZERO,
        }
    }

    /// The same turn while it migrates the state: that writes, also if the method that follows only reads.
    pub(crate) fn allow_writes(self) -> Self {
        Self { read_only: false, ..self }
    }

    /// The same turn after the migration.
    pub(crate) fn forbid_writes_if(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Whether the method must not change anything.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whose turn it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The typed state, as this turn sees it.
    pub fn load(&self) -> Option<Bytes> {
        self.typed.clone()
    }

    /// Replaces the typed state.
    pub fn save(&mut self, bytes: Bytes) -> Result<(), TurnError> {
        self.charge(bytes.len())?;
        self.typed = Some(bytes);
        Ok(())
    }

    /// One entry of the keyed map, as this turn sees it.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, TurnError> {
        match self.map.get(key) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.world.get(&RowKey::Map(self.address.clone(), key.to_owned()))?),
        }
    }

    /// Sets one entry of the keyed map.
    pub fn set(&mut self, key: String, value: Bytes) -> Result<(), TurnError> {
        self.charge(key.len() + value.len())?;
        self.map.insert(key, Some(value));
        Ok(())
    }

    /// Deletes one entry of the keyed map; there may be none.
    pub fn delete(&mut self, key: String) -> Result<(), TurnError> {
        self.charge(key.len())?;
        self.map.insert(key, None);
        Ok(())
    }

    /// Entries whose key starts with `prefix` and comes after `after`, in order, `limit` at most.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, TurnError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut own = self
            .map
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .peekable();
        // What this turn deleted or replaced takes no place in the answer, so ask for that many more.
        let replaced = self.map.len();
        let stored = self.world.scan_map(&self.address, prefix, after, limit.saturating_add(replaced))?;
        let mut merged = Vec::new();
        for (key, value) in stored {
            while let Some((own_key, written)) = own.next_if(|(own_key, _)| **own_key < key) {
                merged.extend(written.clone().map(|value| (own_key.clone(), value)));
            }
            match own.next_if(|(own_key, _)| **own_key == key) {
                Some((_, written)) => merged.extend(written.clone().map(|value| (key, value))),
                None => merged.push((key, value)),
            }
            if merged.len() >= limit {
                break;
            }
        }
        merged.extend(own.filter_map(|(key, written)| written.clone().map(|value| (key.clone(), value))));
        merged.truncate(limit);
        Ok(merged)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), TurnError> {
        if self.read_only {
            return Err(TurnError::ReadOnly);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > TURN_BYTES_MAX {
            return Err(TurnError::TooLarge { max: TURN_BYTES_MAX });
        }
        Ok(())
    }

    /// The cell of the agent whose turn it is.
    pub fn cell(&self) -> CellId {
        self.world.cell_of(&self.address)
    }

    /// Tells an agent. The message leaves with this turn's commit or not at all, arrives exactly once, and after those
    /// that this agent told the same one before.
    ///
    /// # Errors
    /// [`TurnError::ReadOnly`], [`TurnError::TooLarge`], and [`TurnError::Refused`] for an agent of a type that was never deployed.
    pub fn tell(&mut self, to: Address, method: String, input: Payload) -> Result<(), TurnError> {
        self.world.check_known(&to)?;
        self.charge(method.len() + input.content_type.len() + input.body.len())?;
        let sender = Sender::Agent(self.address.clone());
        let message = Message { sender, method, input, trace: self.cause.trace.clone() };
        self.sent.push(Envelope { to, message });
        Ok(())
    }

    /// Asks an agent and waits for its durable answer. What it does stands, whatever becomes of this turn; if this turn
    /// is tried again, the same ask gets the same answer.
    ///
    /// # Errors
    /// Whatever the agent answered; `reentrant_call` if it waits for this one.
    pub async fn ask(&mut self, to: Address, method: String, input: Payload) -> Result<Payload, Failure> {
        // A key of a client is a header, so it holds no control characters: none can be equal to one of these.
        let idempotency_key = self.cause.attempts_key.as_ref().map(|key| format!("\u{0}{key}/{}", self.asked));
        self.asked += 1;
        let ask = Ask { address: to, method, input, idempotency_key, trace: self.cause.trace.clone() };
        let waiting = self.cause.waiting.iter().chain([&self.address]).cloned().collect();
        let began = self.world.now();
        let answer = self.world.clone().ask(Asked { ask, waiting }).await;
        self.waited += Duration::from_millis(self.world.now().saturating_sub(began));
        Ok(answer?.payload)
    }

    /// Sets a timer, in place of the one of the same name if there is one. When it is due the agent is told `method`.
    ///
    /// # Errors
    /// [`TurnError::ReadOnly`], [`TurnError::TooLarge`], and [`TurnError::Refused`] for a schedule that is never due.
    pub fn set_timer(
        &mut self,
        name: String,
        schedule: Schedule,
        method: String,
        input: Payload,
    ) -> Result<(), TurnError> {
        check_name(&name)?;
        let due = schedule.first(self.world.now())?;
        self.charge(name.len() + method.len() + input.content_type.len() + input.body.len())?;
        let was_due = self.stored_due(&name)?;
        let timer = Timer { schedule, due, method, input, missed: 0 };
        self.timers.insert(name, TimerChange { was_due, timer: Some(timer) });
        Ok(())
    }

    /// Cancels a timer; false if there was none of that name. A message of it that waits already is handled all the same.
    ///
    /// # Errors
    /// [`TurnError::ReadOnly`].
    pub fn cancel_timer(&mut self, name: &str) -> Result<bool, TurnError> {
        self.charge(name.len())?;
        let was_due = self.stored_due(name)?;
        let change = TimerChange { was_due, timer: None };
        let was_set = match self.timers.insert(name.to_owned(), change) {
            Some(change) => change.timer.is_some(),
            None => was_due.is_some(),
        };
        if was_due.is_none() {
            self.timers.remove(name);
        }
        Ok(was_set)
    }

    /// The timers that are set, by name, as this turn sees them.
    ///
    /// # Errors
    /// [`TurnError::Store`].
    pub fn timers(&self) -> Result<Vec<TimerStatus>, TurnError> {
        let mut timers: BTreeMap<String, Timer> = self.world.timers(&self.address)?.into_iter().collect();
        for (name, change) in &self.timers {
            match &change.timer {
                Some(timer) => drop(timers.insert(name.clone(), timer.clone())),
                None => drop(timers.remove(name)),
            }
        }
        let status = |(name, Timer { schedule, due, method, .. })| TimerStatus { name, schedule, due, method };
        Ok(timers.into_iter().map(status).collect())
    }

    /// The timer whose message this turn handles, if that is what it handles.
    pub fn firing(&self) -> Option<&Firing> {
        self.cause.firing.as_ref()
    }

    /// The agent whose message this turn handles, if an agent told it. Nobody else can say that it was.
    pub fn sender(&self) -> Option<&Address> {
        self.cause.sender.as_ref()
    }

    /// The time, in milliseconds since 1970.
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// The trace that this turn is part of, as a `traceparent`.
    pub fn trace(&self) -> Option<&str> {
        self.cause.trace.as_deref()
    }

    /// A key that is the same for every attempt at this turn, for calls to the outside; none if it is tried only once.
    pub fn attempts_key(&self) -> Option<&str> {
        self.cause.attempts_key.as_deref()
    }

    /// When the timer of that name was due before this turn.
    fn stored_due(&self, name: &str) -> Result<Option<Timestamp>, TurnError> {
        if let Some(change) = self.timers.get(name) {
            return Ok(change.was_due);
        }
        let row = RowKey::Timer(self.address.clone(), name.to_owned());
        let Some(bytes) = self.world.get(&row)? else { return Ok(None) };
        let timer = Timer::decode(&bytes).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
        Ok(Some(timer.due))
    }

    /// How long it waited for other agents.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// What the turn leaves behind if it is committed.
    pub(crate) fn into_writes(self) -> Writes {
        Writes { typed: self.typed, map: self.map, sent: self.sent, timers: self.timers }
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::{AgentKey, Name};

    use super::*;

    struct Fixed(BTreeMap<String, Bytes>);

    impl World for Fixed {
        fn get(&self, row: &RowKey) -> Result<Option<Bytes>, stride_store::Error> {
            let RowKey::Map(_, key) = row else { return Ok(None) };
            Ok(self.0.get(key).cloned())
        }

        fn scan_map(
            &self,
            _: &Address,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<(String, Bytes)>, stride_store::Error> {
            let hit = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
            Ok(self.0.iter().filter(|(k, _)| hit(k)).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
        }

        fn timers(&self, _: &Address) -> Result<Vec<(String, Timer)>, Failure> {
            Ok(Vec::new())
        }

        fn now(&self) -> Timestamp {
            1_000
        }

        fn cell_of(&self, agent: &Address) -> CellId {
            agent.cell(64)
        }

        fn check_known(&self, agent: &Address) -> Result<(), Failure> {
            match agent.kind.as_str() {
                "ledger" => Ok(()),
                other => Err(Failure::not_found("agent type", other, None)),
            }
        }

        fn ask(self: Arc<Self>, asked: Asked) -> BoxFuture<'static, Result<Answer, Failure>> {
            let payload = Payload::json(asked.ask.idempotency_key.unwrap_or_default());
            let answer = Answer { payload, turn: 1, replayed: false, timing: crate::Timing::default(), node: None };
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    fn address() -> Address {
        Address { tenant: Name::default_tenant(), kind: Name::new("ledger").unwrap(), key: AgentKey::new("l").unwrap() }
    }

    fn turn_of(cause: Cause, read_only: bool) -> Turn {
        let stored = ["a1", "a2", "a3", "b1"].map(|k| (k.to_owned(), Bytes::from(k.to_uppercase())));
        Turn::new(address(), read_only, Some("typed".into()), cause, Arc::new(Fixed(stored.into())))
    }

    fn turn(read_only: bool) -> Turn {
        turn_of(Cause::default(), read_only)
    }

    fn keys(page: Vec<(String, Bytes)>) -> Vec<String> {
        page.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_turn_sees_its_own_writes_over_the_stored_state() {
        let mut turn = turn(false);
        turn.set("a2".into(), "new".into()).unwrap();
        turn.delete("a1".into()).unwrap();
        turn.save("changed".into()).unwrap();
        assert_eq!(turn.get("a2").unwrap(), Some("new".into()));
        assert_eq!(turn.get("a1").unwrap(), None);
        assert_eq!(turn.get("a3").unwrap(), Some("A3".into()));
        assert_eq!(turn.load(), Some("changed".into()));
    }

    #[test]
    fn a_scan_merges_what_was_written_and_deleted_in_order() {
        let mut turn = turn(false);
        turn.set("a0".into(), "0".into()).unwrap();
        turn.set("a9".into(), "9".into()).unwrap();
        turn.set("c".into(), "c".into()).unwrap();
        turn.delete("a2".into()).unwrap();
        assert_eq!(keys(turn.scan("a", None, 10).unwrap()), ["a0", "a1", "a3", "a9"]);
        assert_eq!(keys(turn.scan("a", None, 2).unwrap()), ["a0", "a1"]);
        assert_eq!(keys(turn.scan("a", Some("a1"), 1).unwrap()), ["a3"]);
        assert_eq!(keys(turn.scan("", Some("a9"), 10).unwrap()), ["b1", "c"]);
        assert_eq!(keys(turn.scan("x", None, 10).unwrap()), [""; 0]);
    }

    #[test]
    fn a_read_only_turn_cannot_write() {
        let mut turn = turn(true);
        assert!(matches!(turn.set("k".into(), "v".into()), Err(TurnError::ReadOnly)));
        assert!(matches!(turn.delete("k".into()), Err(TurnError::ReadOnly)));
        assert!(matches!(turn.save("s".into()), Err(TurnError::ReadOnly)));
        assert!(matches!(turn.tell(address(), "m".into(), Payload::json("1")), Err(TurnError::ReadOnly)));
        let tick = turn.set_timer("t".into(), Schedule::Every(5), "m".into(), Payload::json("1"));
        assert!(matches!(tick, Err(TurnError::ReadOnly)));
        assert!(matches!(turn.cancel_timer("t"), Err(TurnError::ReadOnly)));
    }

    #[test]
    fn a_timer_is_set_replaced_listed_and_cancelled_within_a_turn() {
        let mut turn = turn(false);
        let set = |turn: &mut Turn, schedule| turn.set_timer("t".into(), schedule, "m".into(), Payload::json("1"));
        set(&mut turn, Schedule::Every(5)).unwrap();
        set(&mut turn, Schedule::At(7)).unwrap();
        let listed = turn.timers().unwrap();
        assert_eq!(listed.iter().map(|t| (t.name.as_str(), t.due)).collect::<Vec<_>>(), [("t", 7)]);
        assert!(turn.cancel_timer("t").unwrap());
        assert!(!turn.cancel_timer("t").unwrap());
        assert!(turn.timers().unwrap().is_empty());
        assert!(turn.into_writes().timers.is_empty());
    }

    #[test]
    fn a_schedule_that_is_never_due_is_refused_and_changes_nothing() {
        let mut turn = turn(false);
        let refused = turn.set_timer("t".into(), Schedule::Every(0), "m".into(), Payload::json("1"));
        assert!(matches!(refused, Err(TurnError::Refused(_))));
        let refused = turn.set_timer(String::new(), Schedule::At(0), "m".into(), Payload::json("1"));
        assert!(matches!(refused, Err(TurnError::Refused(_))));
        assert!(turn.timers().unwrap().is_empty());
    }

    #[tokio::test]
    async fn every_ask_of_a_turn_that_may_be_tried_again_has_a_key_of_its_own() {
        let cause = Cause { attempts_key: Some("0/7-0".into()), ..Cause::default() };
        for mut turn in [turn_of(cause.clone(), false), turn_of(cause, false)] {
            for expected in ["\u{0}0/7-0/0", "\u{0}0/7-0/1"] {
                let answer = turn.ask(address(), "m".into(), Payload::json("1")).await.unwrap();
                assert_eq!(answer.body, expected);
            }
        }
        let answer = turn(false).ask(address(), "m".into(), Payload::json("1")).await.unwrap();
        assert_eq!(answer.body, "");
    }

    #[test]
    fn a_turn_cannot_write_more_than_one_record_holds() {
        let mut turn = turn(false);
        assert!(turn.set("k".into(), vec![0; TURN_BYTES_MAX - 1].into()).is_ok());
        assert!(matches!(turn.set("l".into(), "v".into()), Err(TurnError::TooLarge { .. })));
    }
}
