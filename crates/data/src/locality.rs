//! How near an object is: what placement wants to know of it.

use stride_ids::{ObjectName, VersionId};

use crate::{chunk::ChunkId, error::Error, index::status_of, message::ObjectStatus, objects::Objects};

/// An object, and how much of it is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// What is known of it.
    pub status: ObjectStatus,
    /// How many of its bytes are in this node's memory.
    pub cached_bytes: u64,
    /// Whether all of its bytes are on this node's disk.
    pub stored_here: bool,
}

impl Objects {
    /// Looks how near an object is. Nothing of it is read.
    ///
    /// # Errors
    /// As [`Objects::status`].
    pub async fn locality(&self, name: &ObjectName, version: Option<VersionId>) -> Result<Locality, Error> {
        let (id, at, content) = self.found(name, version).await?;
        let chunk_len = u64::from(content.chunk_len).max(1);
        let (mut cached_bytes, mut rest) = (0, content.len);
        for hash in content.hashes.iter() {
            let len = rest.min(chunk_len);
            if self.chunks.is_cached(&ChunkId { tenant: name.tenant.clone(), hash }) {
                cached_bytes += len;
            }
            rest -= len;
        }
        let stored_here = self.chunks.storage().is_local();
        Ok(Locality { status: status_of(id, at, content), cached_bytes, stored_here })
    }
}
