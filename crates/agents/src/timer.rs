//! When a timer is due, and when it is due next. Pure: time comes in as a number.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use croner::Cron;
use serde::{Deserialize, Serialize};
use stride_ids::{Code, Failure, Payload};
use stride_sim::Timestamp;

/// The longest name of a timer, in bytes.
const NAME_LEN_MAX: usize = 256;
/// However long a node was away, no more missed times of a cron expression than these are counted.
const MISSED_MAX: u64 = 10_000;

/// When a timer fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Once, at this time.
    At(Timestamp),
    /// Again and again, so many milliseconds apart; first after that time.
    Every(u64),
    /// Again and again, at the times in UTC that a cron expression with five or six fields names.
    Cron(String),
}

impl Schedule {
    /// The first time it is due.
    ///
    /// # Errors
    /// `invalid_request` if it never is.
    pub fn first(&self, now: Timestamp) -> Result<Timestamp, Failure> {
        let never = |why: String| Failure::new(Code::InvalidRequest, why);
        match self {
            Self::At(at) => Ok(*at),
            Self::Every(0) => Err(never("a timer cannot fire every 0 milliseconds".into())),
            Self::Every(period) => Ok(now.saturating_add(*period)),
            Self::Cron(expression) => {
                let cron = Cron::from_str(expression)
                    .map_err(|e| never(format!("`{expression}` is not a cron expression: {e}")))?;
                next_match(&cron, now).ok_or_else(|| never(format!("`{expression}` names no time to come")))
            }
        }
    }

    /// The next time after `now`, given that it was due at `due`, and how many times in between are missed. No next time
    /// for a timer that fires once.
    pub(crate) fn next(&self, due: Timestamp, now: Timestamp) -> (Option<Timestamp>, u64) {
        match self {
            Self::At(_) | Self::Every(0) => (None, 0),
            Self::Every(period) => {
                let missed = now.saturating_sub(due) / period;
                (Some(due.saturating_add(period.saturating_mul(missed + 1))), missed)
            }
            Self::Cron(expression) => {
                // It was read when it was set; if a later release cannot read it, it does not fire again.
                let Ok(cron) = Cron::from_str(expression) else { return (None, 0) };
                let mut missed = 0;
                let mut at = due;
                while let Some(next) = next_match(&cron, at) {
                    if next > now {
                        return (Some(next), missed);
                    }
                    if missed == MISSED_MAX {
                        return (next_match(&cron, now), missed);
                    }
                    (at, missed) = (next, missed + 1);
                }
                (None, missed)
            }
        }
    }
}

fn next_match(cron: &Cron, after: Timestamp) -> Option<Timestamp> {
    let after = DateTime::<Utc>::from_timestamp_millis(i64::try_from(after).ok()?)?;
    let next = cron.find_next_occurrence(&after, false).ok()?;
    u64::try_from(next.timestamp_millis()).ok()
}

/// A timer of an agent as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timer {
    pub(crate) schedule: Schedule,
    pub(crate) due: Timestamp,
    pub(crate) method: String,
    pub(crate) input: Payload,
    /// Times that passed while the message of an earlier one was still waiting.
    pub(crate) missed: u64,
}

/// A change of one timer in a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimerChange {
    /// When it was due before, if it was set.
    pub(crate) was_due: Option<Timestamp>,
    /// What it is now; none if it was cancelled.
    pub(crate) timer: Option<Timer>,
}

/// A timer that was due, as its message says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The timer's name.
    pub name: String,
    /// When it was due, in milliseconds since 1970.
    pub due: Timestamp,
    /// How many times before this one passed without a message, because the node was down or the agent was busy.
    pub missed: u64,
}

/// A timer that is set, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerStatus {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub schedule: Schedule,
    /// When it is due next, in milliseconds since 1970.
    pub due: Timestamp,
    /// The method that is told.
    pub method: String,
}

pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    if (1..=NAME_LEN_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidRequest, format!("the name of a timer has 1 to {NAME_LEN_MAX} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_timer_that_fires_once_has_no_next_time() {
        assert_eq!(Schedule::At(5).first(100).unwrap(), 5);
        assert_eq!(Schedule::At(5).next(5, 100), (None, 0));
    }

    #[test]
    fn an_every_keeps_its_beat_and_counts_what_it_missed() {
        let every = Schedule::Every(10);
        assert_eq!(every.first(100).unwrap(), 110);
        assert_eq!(every.next(110, 110), (Some(120), 0));
        assert_eq!(every.next(110, 119), (Some(120), 0));
        assert_eq!(every.next(110, 120), (Some(130), 1));
        assert_eq!(every.next(110, 165), (Some(170), 5));
        assert_eq!(every.next(u64::MAX - 1, u64::MAX), (Some(u64::MAX), 0));
    }

    #[test]
    fn a_cron_expression_fires_at_its_times_and_counts_what_it_missed() {
        let hourly = Schedule::Cron("0 * * * *".into());
        let noon = 1_700_000_000_000 / HOUR * HOUR;
        assert_eq!(hourly.first(noon).unwrap(), noon + HOUR);
        assert_eq!(hourly.next(noon, noon + 1), (Some(noon + HOUR), 0));
        assert_eq!(hourly.next(noon, noon + 3 * HOUR + 1), (Some(noon + 4 * HOUR), 3));
    }

    #[test]
    fn a_schedule_that_can_never_fire_is_refused() {
        assert!(Schedule::Every(0).first(0).is_err());
        assert!(Schedule::Cron("every monday".into()).first(0).unwrap_err().message.contains("every monday"));
        assert!(Schedule::Cron("0 0 30 2 *".into()).first(0).is_err());
    }
}
