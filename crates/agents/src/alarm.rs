//! What is to be looked at later: timers that are due, messages that are tried again. One task waits for all of it.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;
use stride_ids::{Address, CellId};
use stride_sim::{Clock, Timestamp};
use tokio::sync::Notify;

/// However far away the next thing is, the clock is looked at again after this long: the time of day may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A cell has timers that may be due.
    Timers(CellId),
    /// An agent has messages that may be tried again.
    Messages(Address),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Alarm {
    set: Mutex<BTreeSet<(Timestamp, What)>>,
    sooner: Notify,
}

impl Alarm {
    /// Sees to it that `what` is looked at, at `at`.
    pub(crate) fn set(&self, at: Timestamp, what: What) {
        let mut set = self.set.lock();
        let first = set.first().is_none_or(|(first, _)| at < *first);
        set.insert((at, what));
        if first {
            self.sooner.notify_one();
        }
    }

    /// What is to be looked at now.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<What> {
        let mut set = self.set.lock();
        let mut due = Vec::new();
        while let Some((at, _)) = set.first()
            && *at <= now
        {
            due.extend(set.pop_first().map(|(_, what)| what));
        }
        due
    }

    /// Waits until something may be due.
    pub(crate) async fn wait(&self, clock: &Clock) {
        let next = self.set.lock().first().map(|(at, _)| *at);
        let left = next.map(|at| Duration::from_millis(at.saturating_sub(clock.timestamp())));
        let left = left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
        // Which of the two it was does not matter: the caller looks at what is due.
        let _ = clock.timeout(left, self.sooner.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_when_it_is_set_for_and_when_something_sooner_is_set() {
        let (clock, alarm) = (Clock::simulated(), Alarm::default());
        let start = clock.timestamp();
        alarm.set(start + 500, What::Timers(CellId(1)));
        alarm.wait(&clock).await;
        alarm.wait(&clock).await;
        assert_eq!(clock.timestamp(), start + 500);
        assert_eq!(alarm.due(clock.timestamp()), [What::Timers(CellId(1))]);
        assert!(alarm.due(u64::MAX).is_empty());
        alarm.set(start + 5_000, What::Timers(CellId(1)));
        alarm.set(start + 600, What::Timers(CellId(2)));
        alarm.wait(&clock).await;
        alarm.wait(&clock).await;
        assert_eq!(clock.timestamp(), start + 600);
        assert_eq!(alarm.due(clock.timestamp()), [What::Timers(CellId(2))]);
    }
}
