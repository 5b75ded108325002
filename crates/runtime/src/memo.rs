//! Answers of pure functions that are kept, so that what was computed once need not be computed again.
//!
//! Always true: an answer is found by all that it follows from, which is the function, its component's version and the whole input with
//! its content type; failures are not kept, because a limit or a full node may be why; memory is bounded, in bytes and, as
//! every answer counts for [`ANSWER_MIN`] at least, in number.
//! Not here: answers that outlive the node. They would have to be checked when they are read and swept from the disk, and
//! all that is lost without them is time.

use std::sync::atomic::{AtomicU64, Ordering};

use foyer_memory::{Cache, CacheBuilder, LruConfig};
use stride_ids::Payload;

use crate::functions::Function;

/// How much is kept, in bytes.
const BYTES_MAX: usize = 64 << 20;
/// An answer that is larger is not kept, in bytes: few of them would drive out all others.
const ANSWER_MAX: usize = 1 << 20;
/// What every answer counts for at least, in bytes: it is found by something and lies somewhere.
const ANSWER_MIN: usize = 256;
/// The cache is cut into so many parts, each with a lock and an equal part of the bytes.
const SHARDS: usize = 4;

/// What an answer is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemoKey([u8; 32]);

impl MemoKey {
    pub(crate) fn of(function: &Function, input: &Payload) -> Self {
        let (component, name) = function.names();
        let parts = [component.tenant.as_str(), component.name.as_str(), function.version(), name, &input.content_type];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // With its length, so that no two lists of parts look the same.
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Self(*hasher.update(&input.body).finalize().as_bytes())
    }
}

/// The answers that are kept; those that nobody asked for the longest go first.
pub(crate) struct Memo {
    answers: Cache<MemoKey, Payload>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Memo {
    pub(crate) fn new() -> Self {
        Self::of(BYTES_MAX, SHARDS)
    }

    fn of(bytes_max: usize, shards: usize) -> Self {
        let answers = CacheBuilder::new(bytes_max)
            .with_shards(shards)
            .with_eviction_config(LruConfig::default())
            .with_weighter(|_: &MemoKey, answer: &Payload| ANSWER_MIN + answer.content_type.len() + answer.body.len())
            .build();
        Self { answers, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub(crate) fn get(&self, key: &MemoKey) -> Option<Payload> {
        let found = self.answers.get(key).map(|entry| entry.value().clone());
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(crate) fn keep(&self, key: MemoKey, answer: &Payload) {
        if answer.body.len() + answer.content_type.len() <= ANSWER_MAX {
            self.answers.insert(key, answer.clone());
        }
    }

    /// How often an answer was there, how often it was not, and how many bytes all of them have.
    pub(crate) fn stats(&self) -> (u64, u64, u64) {
        let [hits, misses] = [&self.hits, &self.misses].map(|counter| counter.load(Ordering::Relaxed));
        (hits, misses, self.answers.usage() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> MemoKey {
        MemoKey([number; 32])
    }

    #[test]
    fn what_is_kept_is_there_and_what_is_too_large_is_not_kept() {
        let memo = Memo::new();
        assert_eq!(memo.get(&key(1)), None);
        memo.keep(key(1), &Payload::json("1"));
        memo.keep(key(2), &Payload::json(vec![b'2'; ANSWER_MAX + 1]));
        assert_eq!((memo.get(&key(1)), memo.get(&key(2))), (Some(Payload::json("1")), None));
        let (hits, misses, bytes) = memo.stats();
        assert_eq!((hits, misses), (1, 2));
        assert!((1..1_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn there_are_never_more_bytes_than_may_be_and_empty_answers_count() {
        let memo = Memo::of(10 * ANSWER_MIN, 1);
        for number in 0..100 {
            memo.keep(key(number), &Payload::json(""));
            assert!(memo.stats().2 <= 10 * ANSWER_MIN as u64);
        }
        assert_eq!(memo.get(&key(0)), None, "the oldest go");
        assert!(memo.get(&key(99)).is_some());
    }
}
