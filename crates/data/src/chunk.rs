//! Chunks and what names them: a hash of their bytes. An object's tag follows from the hashes, so equal bytes have equal
//! tags, whoever stored them and when.

use std::fmt;

use serde::{Deserialize, Serialize};
use stride_ids::Name;

/// How many bytes a chunk has; the last one of an object may be shorter.
pub const CHUNK_LEN: usize = 8 << 20;

/// The BLAKE3 hash of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash([u8; Self::LEN]);

impl ChunkHash {
    pub(crate) const LEN: usize = 32;

    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash that is written so, if it is one.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let is_canonical = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        blake3::Hash::from_hex(text).ok().filter(|_| is_canonical).map(|hash| Self(*hash.as_bytes()))
    }

    /// Its first eight bytes: enough to tell chunks apart nearly always.
    pub(crate) fn head(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

/// A chunk of a tenant. Equal bytes of two tenants are two chunks, or one could find out what the other has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChunkId {
    pub(crate) tenant: Name,
    pub(crate) hash: ChunkHash,
}

/// What the bytes of an object are, as a tag: BLAKE3 over the hashes of its chunks and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ETag([u8; 32]);

impl ETag {
    pub(crate) fn of(hashes: &[u8], len: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(hashes);
        hasher.update(&len.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The tag that is written so, if it is one.
    pub fn from_hex(text: &str) -> Option<Self> {
        ChunkHash::from_hex(text).map(|ChunkHash(bytes)| Self(bytes))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_in_no_other_way() {
        let text = ChunkHash::of(b"abc").to_string();
        assert_eq!(ChunkHash::from_hex(&text), Some(ChunkHash::of(b"abc")));
        for bad in [&text[1..], &text.to_uppercase(), &format!("{text}#1"), "", &format!("{}g", &text[1..])] {
            assert_eq!(ChunkHash::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_tag_depends_on_every_hash_and_on_the_length() {
        let (a, b) = (ChunkHash::of(b"a"), ChunkHash::of(b"b"));
        let tag = |hashes: &[ChunkHash], len| ETag::of(&hashes.iter().flat_map(|h| h.0).collect::<Vec<u8>>(), len);
        let tags = [tag(&[a, b], 2), tag(&[b, a], 2), tag(&[a], 2), tag(&[a, b], 3), tag(&[], 0)];
        for (n, one) in tags.iter().enumerate() {
            assert!(tags[n + 1..].iter().all(|other| other != one));
            assert_eq!(ETag::from_hex(&one.to_string()), Some(*one));
        }
        // Stored versions depend on it.
        assert!(tag(&[], 0).to_string().starts_with("71e0a99173564931"), "{}", tag(&[], 0));
    }
}
