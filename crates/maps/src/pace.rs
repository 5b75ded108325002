//! How long the items of a map take, and which of them takes far longer. Pure.

use std::time::Duration;

/// How many siblings have to have finished before an item can be called late.
const SIBLINGS_MIN: u64 = 16;
/// An item is late after so many times what all but one of so many siblings took.
const TIMES: u32 = 3;
const ONE_OF: u64 = 20;
/// Nothing is late before this: shorter calls differ by who had the processor.
pub(crate) const LATE_MIN: Duration = Duration::from_millis(50);
/// Each power of two of microseconds is cut into so many parts.
const PARTS: usize = 4;
const BUCKETS: usize = 40 * PARTS;

/// How long items took that have finished.
pub(crate) struct Pace {
    counts: [u64; BUCKETS],
    total: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Pace {
    /// One more item has finished.
    pub(crate) fn note(&mut self, took: Duration) {
        self.counts[bucket(took)] += 1;
        self.total += 1;
    }

    /// After how long an item takes far longer than the others; none while too few have finished.
    pub(crate) fn late_after(&self) -> Option<Duration> {
        if self.total < SIBLINGS_MIN {
            return None;
        }
        let slower = self.total / ONE_OF;
        let mut seen = 0;
        let most = self.counts.iter().rposition(|count| {
            seen += count;
            seen > slower
        });
        most.map(|bucket| (upper(bucket) * TIMES).max(LATE_MIN))
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(PARTS as u64);
    let power = micros.ilog2() as usize;
    let part = (micros >> (power - PARTS.ilog2() as usize)) as usize % PARTS;
    (power * PARTS + part).min(BUCKETS - 1)
}

/// What no item of the bucket takes.
fn upper(bucket: usize) -> Duration {
    let (power, part) = (bucket / PARTS, bucket % PARTS);
    let micros = ((PARTS + part + 1) as u64) << power >> PARTS.ilog2();
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(items: impl IntoIterator<Item = Duration>) -> Pace {
        let mut pace = Pace::default();
        items.into_iter().for_each(|took| pace.note(took));
        pace
    }

    #[test]
    fn nothing_is_late_until_enough_others_have_finished() {
        let items = |count| pace((0..count).map(|_| Duration::from_secs(1)));
        assert_eq!(items(SIBLINGS_MIN - 1).late_after(), None);
        let late = items(SIBLINGS_MIN).late_after().unwrap();
        assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&late), "{late:?}");
    }

    #[test]
    fn what_one_of_twenty_takes_is_not_what_the_others_take() {
        let with_slow = |slow: usize| {
            let quick = (0..100 - slow).map(|_| Duration::from_millis(100));
            pace(quick.chain((0..slow).map(|_| Duration::from_secs(60)))).late_after().unwrap()
        };
        assert!(with_slow(5) < Duration::from_millis(500));
        assert!(with_slow(6) > Duration::from_secs(60));
    }

    #[test]
    fn short_items_are_not_late_because_they_had_to_wait() {
        assert_eq!(pace((0..100).map(|_| Duration::ZERO)).late_after(), Some(LATE_MIN));
    }

    proptest! {
        #[test]
        fn a_bucket_ends_behind_its_items_and_not_far(micros in 1u64..1 << 38) {
            let upper = upper(bucket(Duration::from_micros(micros)));
            prop_assert!(upper > Duration::from_micros(micros));
            prop_assert!(upper <= Duration::from_micros(micros + micros / 2 + 5));
        }
    }
}
