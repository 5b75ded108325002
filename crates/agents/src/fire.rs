//! Timers that are due become messages of their agents.

use std::sync::{Arc, atomic::Ordering};

use stride_ids::{Address, CellId, Failure, Name};
use stride_sim::Timestamp;
use stride_store::{RowKey, Rows};

use crate::{
    alarm::What,
    cell::Cell,
    engine::{Engine, store_failure, unreadable},
    message::{Message, Sender},
    order::Ordered,
    record::{Fired, Record},
    timer::{Firing, Timer},
};

/// How many timers fire in one record.
const BATCH: usize = 100;
/// After a failure, timers are looked at again after this long, in milliseconds.
const AGAIN_AFTER: Timestamp = 1_000;

impl Engine {
    /// Looks at everything whose time has come.
    pub(crate) fn look_at_alarms(self: &Arc<Self>) {
        let now = self.clock.timestamp();
        for what in self.alarm.due(now) {
            match what {
                // What is due in a cell that was given up is looked at by its next owner.
                What::Timers(cell) => {
                    if let Some(cell) = self.cells.get(cell) {
                        self.look_at_timers(&cell, now);
                    }
                }
                What::Messages(agent) => {
                    if let Some(cell) = self.cell_of(&agent) {
                        self.wake(&cell, &agent);
                    }
                }
            }
        }
    }

    /// Fires the timers of a cell that are due, and sees to it that the next one is not missed.
    pub(crate) fn look_at_timers(self: &Arc<Self>, cell: &Arc<Cell>, now: Timestamp) {
        // Whatever is set from now on sets the alarm again.
        cell.timers_at.store(u64::MAX, Ordering::Relaxed);
        loop {
            match self.fire(cell, now) {
                Ok(Some(ordered)) => {
                    // The turns that follow bring it along; and until it is durable, the timers are as they were.
                    ordered.pending.unhurried();
                    self.wake_all(cell, ordered.woken);
                }
                Ok(None) => break,
                Err(_) if cell.is_closed() => return,
                Err(failure) => {
                    tracing::warn!(cell = %cell.id, %failure, "timers that are due cannot fire; trying again");
                    self.set_alarm(cell, now + AGAIN_AFTER);
                    return;
                }
            }
        }
        match self.store.rows(Rows::Due(cell.id), None, 1) {
            Ok(rows) => {
                if let Some((RowKey::Due(at, ..), _)) = rows.into_iter().next() {
                    self.set_alarm(cell, at);
                }
            }
            Err(error) => {
                tracing::error!(cell = %cell.id, %error, "timers cannot be read; trying again");
                self.set_alarm(cell, now + AGAIN_AFTER);
            }
        }
    }

    /// The agents of this type in a cell whose timer of that name is due before then: whoever serves the type may look after them at once.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn with_timer_before(
        &self,
        cell: CellId,
        kind: &Name,
        timer: &str,
        before: Timestamp,
    ) -> Result<Vec<Address>, Failure> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rows = self.store.rows(Rows::Due(cell), after.as_ref(), BATCH).map_err(|e| store_failure(&e))?;
            let is_last = rows.len() < BATCH;
            for (row, _) in rows {
                if let RowKey::Due(due, agent, name) = &row {
                    if *due >= before {
                        return Ok(found);
                    }
                    if agent.kind == *kind && name == timer {
                        found.push(agent.clone());
                    }
                }
                after = Some(row);
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Fires some timers that are due; none if no more are.
    fn fire(self: &Arc<Self>, cell: &Arc<Cell>, now: Timestamp) -> Result<Option<Ordered>, Failure> {
        // Nothing may change a timer between looking at it and ordering what follows.
        let mut tail = cell.tail.lock();
        let rows = self.store.rows(Rows::Due(cell.id), None, BATCH).map_err(|e| store_failure(&e))?;
        let mut fired = Vec::new();
        for (row, _) in rows {
            let RowKey::Due(due, agent, name) = row else { continue };
            if due > now {
                break;
            }
            let bytes = self.store.get(&RowKey::Timer(agent.clone(), name.clone())).map_err(|e| store_failure(&e))?;
            let Some(bytes) = bytes else {
                return Err(Failure::new(stride_ids::Code::Internal, format!("timer `{name}` of {agent} is missing")));
            };
            let timer = Timer::decode(&bytes).map_err(|e| unreadable(&e))?;
            let waits = cell.inboxes.lock().get(&agent).is_some_and(|inbox| inbox.has_timer(&name));
            fired.push(firing(agent, name, timer, waits, now));
        }
        if fired.is_empty() {
            return Ok(None);
        }
        let count = fired.len() as u64;
        let ordered = self.order(cell, &mut tail, &Record::Fire(fired))?;
        self.counters.fired.add(count);
        Ok(Some(ordered))
    }
}

/// What becomes of a timer that is due. While the message of an earlier time waits, this one only counts.
fn firing(agent: Address, name: String, timer: Timer, waits: bool, now: Timestamp) -> Fired {
    let was_due = timer.due;
    let (next, skipped) = timer.schedule.next(was_due, now);
    let missed = timer.missed + skipped;
    let counts_only = waits && next.is_some();
    let message = (!counts_only).then(|| Message {
        sender: Sender::Timer(Firing { name: name.clone(), due: was_due, missed }),
        method: timer.method.clone(),
        input: timer.input.clone(),
        trace: None,
    });
    let timer = next.map(|due| Timer { due, missed: if counts_only { missed + 1 } else { 0 }, ..timer });
    Fired { agent, name, was_due, message, timer }
}

#[cfg(test)]
mod tests {
    use stride_ids::{AgentKey, Payload};

    use super::*;
    use crate::timer::Schedule;

    fn fired(schedule: Schedule, missed: u64, waits: bool, now: Timestamp) -> Fired {
        let kind = Name::new("a").unwrap();
        let agent = Address { tenant: Name::default_tenant(), kind, key: AgentKey::new("k").unwrap() };
        let timer = Timer { schedule, due: 100, method: "m".into(), input: Payload::json("1"), missed };
        firing(agent, "t".into(), timer, waits, now)
    }

    fn counted(fired: &Fired) -> Option<u64> {
        match &fired.message.as_ref()?.sender {
            Sender::Timer(firing) => Some(firing.missed),
            _ => None,
        }
    }

    #[test]
    fn every_time_is_either_a_message_or_counted_in_the_next_one() {
        let once = fired(Schedule::At(100), 0, false, 100);
        assert_eq!((counted(&once), once.timer), (Some(0), None));
        let late = fired(Schedule::Every(10), 0, false, 125);
        assert_eq!(counted(&late), Some(2));
        assert_eq!(late.timer.as_ref().map(|t| (t.due, t.missed)), Some((130, 0)));
        let busy = fired(Schedule::Every(10), 3, true, 125);
        assert_eq!(counted(&busy), None);
        assert_eq!(busy.timer.as_ref().map(|t| (t.due, t.missed)), Some((130, 6)));
    }

    #[test]
    fn a_timer_that_fires_once_is_a_message_also_if_an_earlier_one_of_its_name_waits() {
        let once = fired(Schedule::At(100), 0, true, 100);
        assert_eq!((counted(&once), once.timer), (Some(0), None));
    }
}
