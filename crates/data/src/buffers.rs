//! Memory for chunks: taken from the system in one piece, used again, and given back to it.
//!
//! Always true: what is held beside the buffers in use is [`SPARE_MAX`] buffers of one chunk's length.
//! Why not simply allocated: the system's allocator has an area for each of many threads, and each of them keeps what the most
//! chunks took that were ever allocated there. A cache of 256 MiB came to four times as much.

use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;

/// How many buffers are kept for the next chunks.
const SPARE_MAX: usize = 8;
/// From how many bytes on a buffer is a mapping of its own. Below that the allocator has nothing to keep.
const MAPPED_MIN: usize = 1 << 20;

/// Gives out buffers for chunks.
pub struct Buffers {
    /// How long the buffers are that are used again.
    chunk_len: usize,
    spare: Mutex<Vec<MmapMut>>,
}

/// A buffer that is filled from its beginning.
pub(crate) struct Buffer {
    memory: Memory,
    filled: usize,
    home: Arc<Buffers>,
}

enum Memory {
    Allocated(Vec<u8>),
    Mapped(MmapMut),
}

impl Buffers {
    /// Buffers of which those of `chunk_len` are used again.
    pub fn new(chunk_len: usize) -> Arc<Self> {
        Arc::new(Self { chunk_len, spare: Mutex::default() })
    }

    /// An empty buffer for so many bytes.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let spare = if len == self.chunk_len { self.spare.lock().pop() } else { None };
        let mapped = spare.or_else(|| if len >= MAPPED_MIN { map(len) } else { None });
        // The kernel may refuse another mapping while there is memory; then it is allocated after all.
        let memory = mapped.map_or_else(|| Memory::Allocated(vec![0; len]), Memory::Mapped);
        Buffer { memory, filled: 0, home: self.clone() }
    }
}

/// Memory from the system, in large pages where it has some: it is then given out in a hundredth as many faults.
fn map(len: usize) -> Option<MmapMut> {
    let memory = MmapMut::map_anon(len).ok()?;
    // A kernel without large pages refuses, and small ones do as well.
    let _ = memory.advise(Advice::HugePage);
    Some(memory)
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Allocated(bytes) => bytes,
            Memory::Mapped(bytes) => bytes,
        }
    }

    /// The bytes that are not filled yet.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.memory {
            Memory::Allocated(bytes) => bytes,
            Memory::Mapped(bytes) => bytes,
        };
        &mut bytes[self.filled..]
    }

    /// So many bytes more are filled.
    pub(crate) fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes().len());
    }

    /// Fills in as many of these bytes as there is room for. How many.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.advance(count);
        count
    }

    /// How many bytes are filled.
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.bytes().len()
    }

    /// What is filled. The memory comes back when the last of these bytes is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes()[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Memory::Mapped(memory) = std::mem::replace(&mut self.memory, Memory::Allocated(Vec::new())) else { return };
        let mut spare = self.home.spare.lock();
        if memory.len() == self.home.chunk_len && spare.len() < SPARE_MAX {
            spare.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_gives_out_what_was_filled_in_whatever_was_in_it_before() {
        for len in [3, MAPPED_MIN] {
            let buffers = Buffers::new(len);
            for text in ["abc", "d", ""] {
                let mut buffer = buffers.take(len);
                assert_eq!((buffer.fill(text.as_bytes()), buffer.len()), (text.len(), text.len()));
                assert_eq!(buffer.is_full(), text.len() == len);
                assert_eq!(buffer.freeze(), text);
            }
        }
        let mut short = Buffers::new(3).take(3);
        assert_eq!((short.fill(b"abcd"), short.is_full(), short.fill(b"d")), (3, true, 0));
    }

    #[test]
    fn buffers_are_used_again_and_not_more_than_some_are_kept() {
        let buffers = Buffers::new(MAPPED_MIN);
        let many: Vec<_> = (0..2 * SPARE_MAX).map(|_| buffers.take(MAPPED_MIN).freeze()).collect();
        drop(many);
        assert_eq!(buffers.spare.lock().len(), SPARE_MAX);
        let used = buffers.take(MAPPED_MIN);
        assert_eq!(buffers.spare.lock().len(), SPARE_MAX - 1);
        drop(used);
        drop(buffers.take(2 * MAPPED_MIN));
        assert_eq!(buffers.spare.lock().len(), SPARE_MAX);
    }
}
