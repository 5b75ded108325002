//! Whether this node may judge the others: it was heard all the time, so if somebody was not, it is not the tables' fault.

use std::time::Duration;

use super::LEASE;

/// Since when every beat was answered in time, and the database's clock went on as ours did.
#[derive(Debug, Default)]
pub(super) struct Steady {
    since: Option<Duration>,
    /// When the last answer came, by our clock and by the database's.
    last: Option<(Duration, Duration)>,
}

impl Steady {
    /// A beat was answered.
    pub(super) fn heard(&mut self, now: Duration, database: Duration) {
        let goes_on = self.last.is_some_and(|(before, database_before)| {
            let (ours, theirs) = (now.saturating_sub(before), database.saturating_sub(database_before));
            ours <= LEASE / 2 && ours.abs_diff(theirs) <= LEASE / 3
        });
        if !goes_on {
            self.since = Some(now);
        }
        self.last = Some((now, database));
    }

    /// One was not.
    pub(super) fn interrupted(&mut self) {
        *self = Self::default();
    }

    /// Whether everybody who lives has had the time to be heard.
    pub(super) fn may_judge(&self, now: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_sub(since) >= LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(beats: &[(u64, u64)]) -> bool {
        let mut steady = Steady::default();
        for (ours, theirs) in beats {
            steady.heard(Duration::from_millis(*ours), Duration::from_millis(*theirs));
        }
        steady.may_judge(Duration::from_millis(beats.last().unwrap().0))
    }

    #[test]
    fn who_was_heard_for_a_whole_lease_judges_and_who_has_just_come_back_does_not() {
        let every_300 = |from: u64, to: u64| (from..to).step_by(300).map(|at| (at, at + 5)).collect::<Vec<_>>();
        assert!(!after(&every_300(0, 1_500)));
        assert!(after(&every_300(0, 1_801)));
        let gap = [every_300(0, 3_000), every_300(4_000, 5_000)].concat();
        assert!(!after(&gap));
    }

    #[test]
    fn a_clock_of_the_database_that_jumps_makes_nobody_dead() {
        let mut beats: Vec<_> = (0..10_000).step_by(300).map(|at| (at, at)).collect();
        assert!(after(&beats));
        beats.push((10_200, 70_200));
        assert!(!after(&beats));
        let slow: Vec<_> = (0..10_000).step_by(300).map(|at| (at * 5 / 4, at)).collect();
        assert!(after(&slow), "clocks that run a fifth apart are nothing of the kind");
    }
}
