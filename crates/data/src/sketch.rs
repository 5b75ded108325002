//! Which chunks a node has in its caches, in a form that is small enough to be told to others.
//!
//! Always true: a chunk that came into a cache and has not left it is found. One that is not there may be found as well, the more
//! often the more chunks there are: with 10,000 of them one of 2,000, with 65,000 one of six. So this is for guesses about where
//! to go, and not for finding bytes.
//! Not here: what is done with the guess (see `placement`).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::chunk::ChunkId;

/// How many places there are, and how many of them a chunk has.
const PLACES: u32 = 1 << 18;
const PLACES_PER_CHUNK: u32 = 4;

/// What tells chunks apart, nearly always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkPrint(u64);

impl ChunkPrint {
    pub(crate) fn of(ChunkId { tenant, hash }: &ChunkId) -> Self {
        // FNV-1a, so that equal chunks of two tenants differ.
        let of_tenant = tenant
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self(hash.head() ^ of_tenant)
    }

    /// A hash is random already, so its halves make as many places as are wanted.
    fn places(self) -> impl Iterator<Item = usize> {
        let [first, step] = [self.0 as u32, (self.0 >> 32) as u32 | 1];
        (0..PLACES_PER_CHUNK).map(move |nth| (first.wrapping_add(nth.wrapping_mul(step)) % PLACES) as usize)
    }
}

/// What a node has, as it was when it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch(Vec<u64>);

impl Default for Sketch {
    fn default() -> Self {
        Self(vec![0; (PLACES / u64::BITS) as usize])
    }
}

impl Sketch {
    /// Whether the chunk is there, most probably.
    pub fn has(&self, print: ChunkPrint) -> bool {
        // Whoever told it may be another release, with fewer places.
        print.places().all(|at| self.0.get(at / 64).is_some_and(|bits| bits & (1 << (at % 64)) != 0))
    }

    /// From now on it is.
    pub fn add(&mut self, print: ChunkPrint) {
        print.places().for_each(|at| self.set(at));
    }

    fn set(&mut self, at: usize) {
        if let Some(bits) = self.0.get_mut(at / 64) {
            *bits |= 1 << (at % 64);
        }
    }
}

/// The same while chunks come and go: how many of those that are there have each place.
pub(crate) struct Held {
    counts: Vec<AtomicU8>,
    changes: AtomicU64,
}

impl Held {
    pub(crate) fn new() -> Self {
        Self { counts: (0..PLACES).map(|_| AtomicU8::new(0)).collect(), changes: AtomicU64::new(0) }
    }

    pub(crate) fn came(&self, id: &ChunkId) {
        self.change(id, |count| count.checked_add(1));
    }

    pub(crate) fn left(&self, id: &ChunkId) {
        self.change(id, |count| count.checked_sub(1));
    }

    /// A count that has reached its end is not known any more, and stays there.
    fn change(&self, id: &ChunkId, to: impl Fn(u8) -> Option<u8>) {
        for at in ChunkPrint::of(id).places() {
            let next = |count| if count == u8::MAX { None } else { to(count) };
            // There is nothing to do where it does not change.
            let _ = self.counts[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something came or left.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Adds all that is there.
    pub(crate) fn onto(&self, sketch: &mut Sketch) {
        let there = self.counts.iter().enumerate().filter(|(_, count)| count.load(Ordering::Relaxed) > 0);
        there.for_each(|(at, _)| sketch.set(at));
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::Name;

    use super::*;
    use crate::chunk::ChunkHash;

    fn chunk(tenant: &str, n: u32) -> ChunkId {
        ChunkId { tenant: Name::new(tenant).unwrap(), hash: ChunkHash::of(&n.to_le_bytes()) }
    }

    fn sketch(held: &Held) -> Sketch {
        let mut sketch = Sketch::default();
        held.onto(&mut sketch);
        sketch
    }

    #[test]
    fn what_is_there_is_found_and_what_has_left_is_not() {
        let held = Held::new();
        (0..10_000).for_each(|n| held.came(&chunk("a", n)));
        let full = sketch(&held);
        assert!((0..10_000).all(|n| full.has(ChunkPrint::of(&chunk("a", n)))));
        let wrong = (10_000..30_000).filter(|n| full.has(ChunkPrint::of(&chunk("a", *n)))).count();
        assert!(wrong < 40, "{wrong} of 20,000 that are not there");
        assert!(
            (0..1_000).filter(|n| full.has(ChunkPrint::of(&chunk("b", *n)))).count() < 10,
            "each tenant has its own"
        );
        (1..10_000).for_each(|n| held.left(&chunk("a", n)));
        let one = sketch(&held);
        assert!(one.has(ChunkPrint::of(&chunk("a", 0))));
        assert!((1..10_000).all(|n| !one.has(ChunkPrint::of(&chunk("a", n)))));
        assert_eq!(held.changes(), 19_999);
    }

    #[test]
    fn a_place_that_too_many_have_stays_taken() {
        let held = Held::new();
        (0..300).for_each(|_| held.came(&chunk("a", 1)));
        (0..300).for_each(|_| held.left(&chunk("a", 1)));
        assert!(sketch(&held).has(ChunkPrint::of(&chunk("a", 1))));
    }

    #[test]
    fn a_sketch_grows_by_what_is_expected_and_one_of_another_length_is_no_harm() {
        let (mut sketch, one) = (Sketch::default(), ChunkPrint::of(&chunk("a", 1)));
        assert!(!sketch.has(one));
        sketch.add(one);
        assert!(sketch.has(one));
        let mut short = Sketch(Vec::new());
        short.add(one);
        assert!(!short.has(one));
    }
}
