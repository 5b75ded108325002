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
    /// Messages that were handled.
    pub handled: u64,
    /// Attempts at messages that failed.
    pub failed: u64,
    /// Timers that fired.
    pub fired: u64,
    /// Bodies in memory now.
    pub live: u64,
    /// State in memory that the store does not hold yet, in bytes.
    pub staged_bytes: u64,
    /// Messages that wait for their agents.
    pub waiting: u64,
    /// Messages that wait to leave for another cell.
    pub leaving: u64,
    /// Messages that failed too often.
    pub parked: u64,
    /// Timers that are set.
    pub timers: u64,
    /// Replies that are remembered, as the last pass over all of them found.
    pub replies: u64,
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
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
    pub(crate) handled: Counter,
    pub(crate) failed: Counter,
    pub(crate) fired: Counter,
    /// Replies that were remembered under an idempotency key.
    pub(crate) remembered: Counter,
}

/// A number of things that there are.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn sub_one(&self) {
        self.sub(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many rows of a kind the store has.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) parked: Gauge,
    pub(crate) timers: Gauge,
    pub(crate) replies: Gauge,
}
