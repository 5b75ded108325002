//! What an engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an engine has done since it started, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Turns that became durable.
    pub committed: u64,
    /// Turns that changed nothing by declaration.
    pub read: u64,
    /// Turns that failed and left no trace.
    pub discarded: u64,
    /// Requests answered from a remembered reply.
    pub replayed: u64,
    /// Bodies that left memory to make room or because they were idle.
    pub passivated: u64,
    /// Bodies in memory now.
    pub live: u64,
    /// State in memory that the store does not hold yet, in bytes.
    pub staged_bytes: u64,
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) committed: Counter,
    pub(crate) read: Counter,
    pub(crate) discarded: Counter,
    pub(crate) replayed: Counter,
    pub(crate) passivated: Counter,
}
