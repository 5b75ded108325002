//! How long to wait before the next attempt: longer each time, and never the same for two who fail together.

use std::time::Duration;

use crate::Chance;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles with every attempt, from 20 ms up to a second.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// Between half and all of the current step.
    pub fn next(&mut self, chance: &Chance) -> Duration {
        let half = self.0 / 2;
        let jitter = chance.below(u64::try_from(half.as_micros()).unwrap_or(1).max(1));
        self.0 = LONGEST.min(self.0 * 2);
        half + Duration::from_micros(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let (mut one, mut other, chance) = (Backoff::default(), Backoff::default(), Chance::seeded(1));
        let waits: Vec<_> = (0..12).map(|_| (one.next(&chance), other.next(&chance))).collect();
        assert!(waits[0].0 < FIRST && waits.iter().all(|(a, _)| *a <= LONGEST));
        assert!(waits[11].0 >= LONGEST / 2);
        assert!(waits.iter().any(|(a, b)| a != b));
    }
}
