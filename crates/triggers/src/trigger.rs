//! What a trigger's agent does in a turn. An event is filtered and told to an agent or a flow at once; for a function, and while
//! the trigger is paused, it becomes a row. What cannot be told becomes a dead letter.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stride_agents::{
    Schedule, Turn,
    native::{Asked, BOUND, Bound, EVENT, NativeType, answer},
};
use stride_data::watch::{UNWATCH, WATCH, Watch};
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload};

use crate::{
    deliver,
    event::{Attributes, Event},
    letter::Letter,
    message::{
        DRAIN, DROP, DUE, Due, DueAsked, DueCall, LETTERS, Letters, LettersAsked, METHODS, Outcome, PAUSE, REPLAY,
        RESUME, SET, SETTLE, STATUS, SetAsked, Settled, TICK, UNSET, UnsetAsked, Which,
    },
    row::{DEAD, Dead, SCHEMA, Standing, WAITING, Waiting, number_of, numbered},
    spec::{Change, Source, Target, TriggerSpec},
    topic,
};

/// How many events may wait. What comes then waits where it came from.
const WAITING_MAX: u64 = 100_000;
/// So many dead letters pause the trigger.
const DEAD_MAX: u64 = 1_000;
/// How many rows one turn moves, and how many bytes of events: what a turn can write and send.
const MOVED_MAX: usize = 256;
const MOVED_BYTES: usize = 1 << 20;
/// After how many bytes an answer ends.
const ANSWER_BYTES: usize = 1 << 20;
const TIMER: &str = "cron";
const TICKED: &str = "stride.cron.tick";

/// The agents that are triggers.
pub const TRIGGERS: NativeType = NativeType { name: "stride-trigger", methods: &METHODS, handle };

/// The address of a trigger's agent.
pub(crate) fn address(tenant: &Name, component: &Name, trigger: &Name) -> Address {
    let key = AgentKey::new(&format!("{component}/{trigger}")).expect("two names are a key");
    Address { tenant: tenant.clone(), kind: TRIGGERS.name(), key }
}

/// The component and the name of the trigger that an agent is.
pub(crate) fn named(address: &Address) -> Option<(Name, Name)> {
    let (component, trigger) = address.key.as_str().split_once('/')?;
    Some((Name::new(component).ok()?, Name::new(trigger).ok()?))
}

fn handle(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    let standing = turn.load().map(|bytes| SCHEMA.decode("trigger", &bytes)).transpose()?.unwrap_or_default();
    let mut agent = Agent { turn, standing };
    Ok(match asked.method {
        SET => answer(&agent.set(asked.input()?)?),
        UNSET => answer(&agent.unset(&asked.input()?)?),
        BOUND => answer(&agent.bound(asked.input()?)?),
        EVENT => answer(&agent.event(Event::parse(&asked.payload().body)?)?),
        TICK => answer(&agent.tick()?),
        DRAIN => answer(&agent.drain()?),
        PAUSE => answer(&agent.pause("it was paused by hand".into())?),
        RESUME => answer(&agent.resume()?),
        SETTLE => answer(&agent.settle(asked.input()?)?),
        REPLAY => answer(&agent.replay(&asked.input()?)?),
        DROP => answer(&agent.drop_letters(&asked.input()?)?),
        STATUS => answer(&agent.standing),
        DUE => answer(&agent.due(&asked.input()?)?),
        LETTERS => answer(&agent.letters(&asked.input()?)?),
        _ => return Err(asked.unknown("trigger")),
    })
}

/// A trigger in a turn.
struct Agent<'a> {
    turn: &'a mut Turn,
    standing: Standing,
}

impl Agent<'_> {
    fn spec(&self) -> Result<Option<TriggerSpec>, Failure> {
        self.standing.spec.as_deref().map(TriggerSpec::read).transpose()
    }

    /// What a deployment says that it is. One that is older than what is known changes nothing.
    fn set(&mut self, SetAsked { spec, since }: SetAsked) -> Result<(), Failure> {
        if since < self.standing.since || self.standing.spec.as_ref() == Some(&spec) {
            return Ok(());
        }
        let (before, after) = (self.spec()?, TriggerSpec::read(&spec)?);
        if before.as_ref().map(|before| &before.source) != Some(&after.source) {
            before.map_or(Ok(()), |before| self.unbind(&before.source))?;
            self.bind(&after.source)?;
        }
        self.standing.spec = Some(spec);
        self.standing.since = since;
        // Letters may be from a target that is not meant any more; what waits is told to the new one.
        self.go_on()?;
        self.save()
    }

    /// No deployment has it any more: what waits becomes dead letters, so that nothing that was accepted is lost.
    fn unset(&mut self, UnsetAsked { since }: &UnsetAsked) -> Result<(), Failure> {
        let Some(spec) = self.spec()?.filter(|_| *since >= self.standing.since) else { return Ok(()) };
        self.unbind(&spec.source)?;
        self.standing = Standing { spec: None, since: *since, bound: None, paused: None, ..self.standing.clone() };
        self.go_on()?;
        self.save()
    }

    fn bind(&mut self, source: &Source) -> Result<(), Failure> {
        self.standing.bound = None;
        let binding = source.to_string();
        match source {
            // Nobody sets a route: it keeps nothing.
            Source::Http(_) => {}
            Source::Cron(cron) => {
                let (schedule, input) = (Schedule::Cron(cron.clone()), Payload::json("null"));
                self.turn.set_timer(TIMER.into(), schedule, TICK.into(), input)?;
                self.standing.bound = Some(Ok(()));
            }
            Source::Topic(name) => {
                let topic = topic::address(&self.turn.address().tenant, name);
                self.turn.tell(topic, topic::SUBSCRIBE.into(), answer(&binding))?;
            }
            Source::Objects { bucket, prefix, suffix, on } => {
                let watch = Watch {
                    prefix: prefix.clone(),
                    suffix: suffix.clone(),
                    written: *on != Some(Change::Removed),
                    removed: *on != Some(Change::Written),
                    binding,
                };
                let to = stride_data::bucket_address(&self.turn.address().tenant, bucket);
                self.turn.tell(to, WATCH.into(), answer(&watch))?;
            }
        }
        Ok(())
    }

    fn unbind(&mut self, source: &Source) -> Result<(), Failure> {
        match source {
            Source::Http(_) => {}
            Source::Cron(_) => drop(self.turn.cancel_timer(TIMER)?),
            Source::Topic(name) => {
                let topic = topic::address(&self.turn.address().tenant, name);
                self.turn.tell(topic, topic::UNSUBSCRIBE.into(), answer(&()))?;
            }
            Source::Objects { bucket, .. } => {
                let to = stride_data::bucket_address(&self.turn.address().tenant, bucket);
                self.turn.tell(to, UNWATCH.into(), answer(&()))?;
            }
        }
        Ok(())
    }

    /// The source has answered. An answer to an earlier question counts no more.
    fn bound(&mut self, Bound { binding, outcome }: Bound) -> Result<(), Failure> {
        if self.spec()?.is_none_or(|spec| spec.source.to_string() != binding) {
            return Ok(());
        }
        self.standing.bound = Some(outcome);
        self.save()
    }

    /// A time has come. Those that were missed are one event, which says how many.
    fn tick(&mut self) -> Result<(), Failure> {
        let Some(firing) = self.turn.firing().cloned() else { return Ok(()) };
        let source = format!("/triggers/{}", self.turn.address().key);
        let attributes = Attributes { id: firing.due.to_string(), source, kind: TICKED, at: firing.due };
        let data = Payload::json(format!("{{\"missed\":{}}}", firing.missed));
        self.event(Event::about(attributes, &data))
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        // It was on its way when the trigger went.
        let Some(spec) = self.spec()? else { return Ok(()) };
        if self.standing.waiting >= WAITING_MAX {
            let message = format!("{WAITING_MAX} events wait for trigger `{}` already", self.turn.address().key);
            return Err(Failure::new(Code::Overloaded, message));
        }
        self.standing.last_at = Some(self.turn.now());
        if !spec.takes(&event) {
            self.standing.filtered += 1;
        } else if self.standing.paused.is_some() || self.standing.waiting > 0 {
            self.enqueue(event.encode())?;
        } else {
            match deliver::tell(self.turn, &spec, &event) {
                Ok(true) => self.standing.delivered += 1,
                Ok(false) => self.enqueue(event.encode())?,
                Err(cause) => self.bury(event.encode(), 0, cause)?,
            }
        }
        self.save()
    }

    fn enqueue(&mut self, event: Bytes) -> Result<(), Failure> {
        let number = self.number();
        self.standing.waiting += 1;
        self.put(numbered(WAITING, number), &Waiting { event, attempts: 0, due: 0 })
    }

    fn bury(&mut self, event: Bytes, attempts: u32, cause: Failure) -> Result<(), Failure> {
        let number = self.number();
        self.standing.dead += 1;
        let at = self.turn.now();
        self.put(numbered(DEAD, number), &Dead { event, attempts, cause, at })?;
        if self.standing.dead >= DEAD_MAX && self.standing.spec.is_some() && self.standing.paused.is_none() {
            self.standing.paused = Some(format!(
                "{DEAD_MAX} dead letters; see `stride triggers dead`, then replay or drop them and resume"
            ));
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.standing.next += 1;
        self.standing.next
    }

    fn pause(&mut self, why: String) -> Result<(), Failure> {
        self.in_force()?;
        self.standing.paused = Some(why);
        self.save()
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.in_force()?;
        self.standing.paused = None;
        self.go_on()?;
        self.save()
    }

    fn in_force(&self) -> Result<(), Failure> {
        match &self.standing.spec {
            Some(_) => Ok(()),
            None => Err(Failure::not_found("trigger", self.turn.address().key.as_str(), None)),
        }
    }

    /// Has what waits told, in turns of their own, so that what comes is held up by no more than one of them.
    fn go_on(&mut self) -> Result<(), Failure> {
        if self.standing.waiting > 0 && self.standing.paused.is_none() {
            let this = self.turn.address().clone();
            self.turn.tell(this, DRAIN.into(), answer(&()))?;
        }
        Ok(())
    }

    /// Tells some of what waits; if it is a function that is meant, it goes on waiting to be called for.
    fn drain(&mut self) -> Result<(), Failure> {
        let spec = self.spec()?;
        let calls = spec.as_ref().is_some_and(|spec| matches!(spec.target, Target::Function { .. }));
        if calls || self.standing.paused.is_some() {
            return Ok(());
        }
        let mut bytes = 0;
        for (name, row) in self.turn.scan(WAITING, None, MOVED_MAX)? {
            let Waiting { event, attempts, .. } = SCHEMA.decode("event", &row)?;
            bytes += event.len();
            if bytes > MOVED_BYTES {
                break;
            }
            self.turn.delete(name)?;
            self.standing.waiting = self.standing.waiting.saturating_sub(1);
            let told = match &spec {
                Some(spec) => deliver::tell(self.turn, spec, &deliver::stored(&event)?).map(drop),
                None => Err(gone()),
            };
            match told {
                Ok(()) => self.standing.delivered += 1,
                Err(cause) => self.bury(event, attempts, cause)?,
            }
        }
        self.go_on()?;
        self.save()
    }

    /// What calls have come to. One for an event that does not wait any more is passed over.
    fn settle(&mut self, settled: Vec<Settled>) -> Result<(), Failure> {
        for Settled { number, outcome } in settled {
            let name = numbered(WAITING, number);
            let Some(row) = self.turn.get(&name)? else { continue };
            let waiting: Waiting = SCHEMA.decode("event", &row)?;
            match outcome {
                Outcome::Again { attempts, due } => self.put(name, &Waiting { attempts, due, ..waiting })?,
                Outcome::Done => {
                    self.forget_waiting(name)?;
                    self.standing.delivered += 1;
                }
                Outcome::Dead { attempts, cause } => {
                    self.forget_waiting(name)?;
                    self.bury(waiting.event, attempts, cause)?;
                }
            }
        }
        self.save()
    }

    fn forget_waiting(&mut self, name: String) -> Result<(), Failure> {
        self.standing.waiting = self.standing.waiting.saturating_sub(1);
        Ok(self.turn.delete(name)?)
    }

    /// Has dead letters wait again, behind what waits. How many.
    fn replay(&mut self, which: &Which) -> Result<u64, Failure> {
        self.in_force()?;
        let letters = self.some(which)?;
        let mut replayed = 0;
        for (name, Dead { event, .. }) in letters {
            self.turn.delete(name)?;
            self.standing.dead = self.standing.dead.saturating_sub(1);
            self.enqueue(event)?;
            replayed += 1;
        }
        self.go_on()?;
        self.save()?;
        Ok(replayed)
    }

    /// Forgets dead letters. How many.
    fn drop_letters(&mut self, which: &Which) -> Result<u64, Failure> {
        let letters = self.some(which)?;
        let dropped = letters.len() as u64;
        for (name, _) in letters {
            self.turn.delete(name)?;
        }
        self.standing.dead = self.standing.dead.saturating_sub(dropped);
        self.save()?;
        Ok(dropped)
    }

    /// One dead letter, or as many as a turn can move.
    fn some(&self, Which { number }: &Which) -> Result<Vec<(String, Dead)>, Failure> {
        if let Some(number) = number {
            let name = numbered(DEAD, *number);
            let row = self.turn.get(&name)?;
            let row = row.ok_or_else(|| Failure::not_found("dead letter", &number.to_string(), None))?;
            return Ok(vec![(name, SCHEMA.decode("dead letter", &row)?)]);
        }
        let mut bytes = 0;
        let rows = self.rows(DEAD, None, MOVED_MAX)?;
        let fits = |(_, letter): &(String, Dead)| {
            bytes += letter.event.len();
            bytes <= MOVED_BYTES
        };
        Ok(rows.into_iter().take_while(fits).collect())
    }

    /// None if there is nothing to call for.
    fn due(&self, DueAsked { limit }: &DueAsked) -> Result<Option<Due>, Failure> {
        let Some(spec) = self.spec()?.filter(|_| self.standing.paused.is_none()) else { return Ok(None) };
        let function = named(self.turn.address()).and_then(|(component, _)| spec.target.function(&component));
        let Some(function) = function else { return Ok(None) };
        let (mut calls, mut bytes) = (Vec::new(), 0);
        for (name, Waiting { event, attempts, due }) in self.rows(WAITING, None, *limit)? {
            if due > self.turn.now() {
                continue;
            }
            let input = deliver::stored(&event).and_then(|event| spec.input_of(&event));
            bytes += input.as_ref().map_or(0, |input| input.body.len());
            calls.push(DueCall { number: number_of(WAITING, &name)?, attempts, input });
            if bytes > ANSWER_BYTES {
                break;
            }
        }
        Ok((!calls.is_empty()).then_some(Due { function, calls }))
    }

    fn letters(&self, LettersAsked { after, limit }: &LettersAsked) -> Result<Letters, Failure> {
        let after = after.map(|after| numbered(DEAD, after));
        let rows = self.rows(DEAD, after.as_deref(), limit + 1)?;
        let mut more = rows.len() > *limit;
        let (mut letters, mut bytes) = (Vec::new(), 0);
        for (name, Dead { event, attempts, cause, at }) in rows.into_iter().take(*limit) {
            bytes += event.len();
            if bytes > ANSWER_BYTES && !letters.is_empty() {
                more = true;
                break;
            }
            let event = String::from_utf8_lossy(&event).into_owned();
            letters.push(Letter { number: number_of(DEAD, &name)?, event, attempts, cause, at });
        }
        Ok(Letters { letters, more })
    }

    fn rows<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, T)>, Failure> {
        let rows = self.turn.scan(prefix, after, limit)?;
        rows.into_iter().map(|(name, bytes)| Ok((name, SCHEMA.decode("event", &bytes)?))).collect()
    }

    fn put(&mut self, name: String, value: &impl Serialize) -> Result<(), Failure> {
        Ok(self.turn.set(name, SCHEMA.encode(value))?)
    }

    fn save(&mut self) -> Result<(), Failure> {
        Ok(self.turn.save(SCHEMA.encode(&self.standing))?)
    }
}

fn gone() -> Failure {
    let message = "no deployment has this trigger any more; deploy one that has it and replay, or drop the letter";
    Failure::new(Code::NotFound, message)
}
