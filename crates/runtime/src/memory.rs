//! How much memory instances have, each for itself and all together.
//!
//! Counted is what they take beyond what they start with: that first memory is an image which all instances of a component
//! share until they write to it, so it says little. Memory of WebAssembly never shrinks, so it comes back when an instance ends.
//!
//! Always true: what an instance took is counted until it ends, and no longer.
//! Not here: which agents leave when it is too much (see `agents::maintain`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use wasmtime::ResourceLimiter;

/// The most entries of all tables of an instance; toolchains need some thousands.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// What all instances of a host have taken, and how much that may be.
pub(crate) struct Memory {
    taken: AtomicU64,
    max: u64,
}

impl Memory {
    pub(crate) fn new(max: u64) -> Self {
        Self { taken: AtomicU64::new(0), max }
    }

    /// How many bytes are taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether less than a quarter is left.
    fn is_scarce(&self) -> bool {
        self.taken() > self.max / 4 * 3
    }

    /// Whether more is taken than may be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.taken() > self.max
    }
}

/// How much memory an instance may have and has taken, and whether it wanted more.
pub(crate) struct MemoryLimit {
    max: usize,
    refused: Option<usize>,
    taken: u64,
    all: Arc<Memory>,
}

impl MemoryLimit {
    pub(crate) fn new(max: usize, all: Arc<Memory>) -> Self {
        Self { max, refused: None, taken: 0, all }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// How many bytes it was refused to have.
    pub(crate) fn refused(&self) -> Option<usize> {
        self.refused
    }

    /// How many bytes it has taken beyond what it started with.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn is_scarce(&self) -> bool {
        self.all.is_scarce()
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.max;
        if !fits {
            self.refused = Some(desired);
        } else if current > 0 {
            let more = (desired - current) as u64;
            self.taken += more;
            self.all.taken.fetch_add(more, Ordering::Relaxed);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        self.all.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_beyond_the_first_memory_is_counted_until_the_instance_ends() {
        let all = Arc::new(Memory::new(400));
        let mut one = MemoryLimit::new(1_000, all.clone());
        assert!(one.memory_growing(0, 900, None).unwrap());
        assert_eq!((one.taken(), all.taken()), (0, 0));
        assert!(one.memory_growing(900, 1_000, None).unwrap());
        assert!(!one.memory_growing(1_000, 1_001, None).unwrap());
        assert_eq!((one.taken(), all.taken(), one.refused()), (100, 100, Some(1_001)));

        let mut other = MemoryLimit::new(1_000, all.clone());
        assert!(other.memory_growing(100, 300, None).unwrap());
        assert!(!other.is_scarce() && !all.is_crowded(), "300 of 400");
        assert!(other.memory_growing(300, 401, None).unwrap());
        assert!(other.is_scarce() && all.is_crowded(), "401 of 400");
        drop(other);
        assert_eq!(all.taken(), 100);
        drop(one);
        assert_eq!(all.taken(), 0);
    }
}
