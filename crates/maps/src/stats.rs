//! What the maps of a node have done since it started.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::message::Course;

/// How long items take, from the first byte that is read until the result is where it belongs; resolved once.
static SECONDS: LazyLock<metrics::Histogram> = LazyLock::new(|| metrics::histogram!("stride_map_item_seconds"));

/// What the maps of a node have done since it started, and what they do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapStats {
    /// Items that came to a result.
    pub done: u64,
    /// Items that failed.
    pub failed: u64,
    /// Items for which a second call was begun.
    pub hedged: u64,
    /// Items whose result was known from an earlier call.
    pub memoised: u64,
    /// Maps that somebody works on.
    pub running: u64,
}

/// What only grows.
#[derive(Default)]
pub(crate) struct Counters {
    done: AtomicU64,
    failed: AtomicU64,
    hedged: AtomicU64,
    memoised: AtomicU64,
}

impl Counters {
    /// An item has ended.
    pub(crate) fn count(&self, is_done: bool, Course { is_hedged, is_memoised }: Course, took: Duration) {
        let outcome = if is_done { &self.done } else { &self.failed };
        outcome.fetch_add(1, Ordering::Relaxed);
        self.hedged.fetch_add(u64::from(is_hedged), Ordering::Relaxed);
        self.memoised.fetch_add(u64::from(is_memoised), Ordering::Relaxed);
        SECONDS.record(took);
    }

    pub(crate) fn stats(&self, running: usize) -> MapStats {
        let [done, failed, hedged, memoised] =
            [&self.done, &self.failed, &self.hedged, &self.memoised].map(|counter| counter.load(Ordering::Relaxed));
        MapStats { done, failed, hedged, memoised, running: running as u64 }
    }
}
