//! How near an object is: what placement wants to know of it.

use stride_ids::{ObjectName, VersionId};

use crate::{
    chunk::ChunkId,
    demands::Demands,
    error::Error,
    index::status_of,
    message::ObjectStatus,
    objects::Objects,
    sketch::{ChunkPrint, Sketch},
    warmth::Warmth,
};

/// An object, and how much of it is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// What is known of it.
    pub status: ObjectStatus,
    /// How many of its bytes are in this node's memory.
    pub cached_bytes: u64,
    /// How many of its bytes are in this node's memory or on its disk.
    pub near_bytes: u64,
    /// Its chunks in their order.
    pub chunks: Vec<ChunkStatus>,
}

/// A chunk of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkStatus {
    /// What tells it from others.
    pub print: ChunkPrint,
    /// How many bytes it has.
    pub len: u64,
    /// Whether it is in this node's memory or on its disk.
    pub is_near: bool,
}

impl Locality {
    /// How many of its bytes a node has that told this of its caches.
    pub fn bytes_in(&self, sketch: &Sketch) -> u64 {
        self.chunks.iter().filter(|chunk| sketch.has(chunk.print)).map(|chunk| chunk.len).sum()
    }
}

impl Objects {
    /// Looks how near an object is. Nothing of it is read.
    ///
    /// # Errors
    /// As [`Objects::status`].
    pub async fn locality(&self, name: &ObjectName, version: Option<VersionId>) -> Result<Locality, Error> {
        let (id, at, content) = self.found(name, version).await?;
        let chunk_len = u64::from(content.chunk_len).max(1);
        let (mut cached_bytes, mut near_bytes, mut rest) = (0, 0, content.len);
        let mut chunks = Vec::new();
        // A directory that several nodes share is not more near to one of them.
        let stored_here = self.chunks.storage().is_local() && !self.settings.shared;
        for hash in content.hashes.iter() {
            let (id, len) = (ChunkId { tenant: name.tenant.clone(), hash }, rest.min(chunk_len));
            let is_cached = self.chunks.is_cached(&id);
            cached_bytes += if is_cached { len } else { 0 };
            let is_near = is_cached || stored_here || self.chunks.is_on_disk(&id);
            near_bytes += if is_near { len } else { 0 };
            chunks.push(ChunkStatus { print: ChunkPrint::of(&id), len, is_near });
            rest -= len;
        }
        Ok(Locality { status: status_of(id, at, content), cached_bytes, near_bytes, chunks })
    }

    /// What is in this node's caches, and how often that has changed.
    pub fn sketch(&self) -> (Sketch, u64) {
        (self.chunks.sketch(), self.sketched())
    }

    /// What agents read most, by cell.
    pub fn warmth(&self) -> &Warmth {
        &self.warmth
    }

    /// What the data demands that agents use, by cell.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// Whether the cache in memory has room for what nobody has asked for yet.
    pub fn has_room(&self) -> bool {
        let (kept, most) = (self.chunks.stats().bytes, self.settings.cache_bytes as u64);
        kept < most / 10 * 9
    }

    /// How often what is in this node's caches has changed.
    pub fn sketched(&self) -> u64 {
        self.chunks.held_changes()
    }
}
