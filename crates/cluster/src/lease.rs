//! Until when this node may answer, by its own clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Says whether the others cannot have given this node's cells away. Cheap enough to be asked with every request.
///
/// It counts from before a beat was sent, and for a fifth less than the database does. So it is over before the database lets
/// anybody take over, as long as this node's clock runs at most a fifth slower than the database's.
#[derive(Debug)]
pub struct Lease(AtomicU64);

impl Lease {
    /// One that has not begun.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One that never ends: for a node that shares its cells with nobody.
    pub fn forever() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Whether it is valid `now`, by [`stride_sim::Clock::now`].
    pub fn is_valid(&self, now: Duration) -> bool {
        now.as_micros() < u128::from(self.0.load(Ordering::Acquire))
    }

    /// A beat that was sent at `sent` has been answered.
    pub(crate) fn extend(&self, sent: Duration, lease: Duration) {
        let until = sent + lease * 4 / 5;
        self.0.store(u64::try_from(until.as_micros()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Nothing may be answered any more.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_fifth_shorter_than_the_database_s_and_counts_from_before_the_beat() {
        let (lease, second) = (Lease::new(), Duration::from_secs(1));
        assert!(!lease.is_valid(Duration::ZERO));
        lease.extend(10 * second, 5 * second);
        assert!(lease.is_valid(14 * second - Duration::from_micros(1)) && !lease.is_valid(14 * second));
        lease.end();
        assert!(!lease.is_valid(10 * second));
        assert!(Lease::forever().is_valid(Duration::from_secs(u32::MAX.into())));
    }
}
