//! Chance: ids, jitter, and every choice a simulation makes.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

/// A source of random numbers. Cheap to clone; clones draw from the same sequence.
#[derive(Clone, Debug)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// The same seed draws the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Any number.
    pub fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.lock().random_range(0..bound)
    }

    /// True `per_mille` times in a thousand.
    pub fn hits(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let draw = |seed| {
            let c = Chance::seeded(seed);
            (0..8).map(|_| c.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
