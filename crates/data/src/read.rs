//! Bytes on their way out.
//!
//! Always true: what a reader may still give out is pinned, so a version that is replaced meanwhile is read to its end;
//! a stream holds the chunk that it gives out and the next one.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use stride_ids::{Name, ObjectName, VersionId};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    chunk::ChunkId,
    chunks::Chunks,
    error::Error,
    index::status_of,
    message::ObjectStatus,
    pins::Pin,
    range::RangeSpec,
    row::{Content, Hashes},
};

/// How many chunks are read at the same time: the one that is given out, and the next.
const AHEAD: usize = 2;

/// One version of an object, open for reading.
pub struct Reader {
    open: Arc<Open>,
    status: ObjectStatus,
}

struct Open {
    object: String,
    tenant: Name,
    hashes: Hashes,
    chunk_len: u64,
    chunks: Arc<Chunks>,
    /// Keeps the chunks until the last stream ends.
    _pins: Vec<Pin>,
    _place: Arc<OwnedSemaphorePermit>,
}

impl Reader {
    pub(crate) fn new(
        name: &ObjectName,
        version: VersionId,
        created_at: stride_sim::Timestamp,
        content: Content,
        chunks: Arc<Chunks>,
        pins: Vec<Pin>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        let open = Open {
            object: name.to_string(),
            tenant: name.tenant.clone(),
            hashes: content.hashes.clone(),
            chunk_len: u64::from(content.chunk_len).max(1),
            chunks,
            _pins: pins,
            _place: place,
        };
        Self { open: Arc::new(open), status: status_of(version, created_at, content) }
    }

    /// What is being read.
    pub fn status(&self) -> &ObjectStatus {
        &self.status
    }

    /// The bytes that `spec` means; all if it is none.
    ///
    /// # Errors
    /// [`Error::Range`] if there are none there.
    pub fn range(&self, spec: Option<RangeSpec>) -> Result<Range<u64>, Error> {
        let len = self.status.len;
        match spec {
            None => Ok(0..len),
            Some(spec) => spec.within(len).ok_or_else(|| Error::Range { object: self.open.object.clone(), len }),
        }
    }

    /// The chunks in which a range of bytes lies.
    pub fn chunks(&self, range: Range<u64>) -> Range<u64> {
        let range = range.start.min(self.status.len)..range.end.min(self.status.len);
        if range.is_empty() { 0..0 } else { range.start / self.open.chunk_len..range.end.div_ceil(self.open.chunk_len) }
    }

    /// Brings a chunk into the caches, if there is such a chunk. How many bytes had to be fetched for that.
    ///
    /// # Errors
    /// As the stream that would give it out.
    pub async fn fetch(&self, chunk: u64) -> Result<u64, Error> {
        let Some(hash) = usize::try_from(chunk).ok().and_then(|chunk| self.open.hashes.get(chunk)) else {
            return Ok(0);
        };
        let id = ChunkId { tenant: self.open.tenant.clone(), hash };
        if self.open.chunks.is_cached(&id) {
            return Ok(0);
        }
        let fetched = self.open.chunks.get(&id).await.map_err(|e| e.of(self.open.object.clone(), hash))?;
        Ok(fetched.len() as u64)
    }

    /// The bytes in `range`, piece by piece. A chunk that cannot be given out ends the stream with an error.
    pub fn stream(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        // An empty range may lie within a chunk; there is nothing to read for it all the same.
        let indices = self.chunks(range.clone());
        let range = range.start.min(self.status.len)..range.end.min(self.status.len);
        let open = self.open.clone();
        stream::iter(indices).map(move |index| open.clone().piece(index, range.clone())).buffered(AHEAD)
    }
}

impl Open {
    /// The part of `range` that lies in the chunk at `index`.
    async fn piece(self: Arc<Self>, index: u64, range: Range<u64>) -> Result<Bytes, Error> {
        let hash = usize::try_from(index).ok().and_then(|index| self.hashes.get(index));
        let damaged = |why: &str| Error::Storage { doing: "read a chunk", why: format!("{}: {why}", self.object) };
        let hash = hash.ok_or_else(|| damaged("it has fewer chunks than its length says"))?;
        let id = ChunkId { tenant: self.tenant.clone(), hash };
        let bytes = self.chunks.get(&id).await.map_err(|e| e.of(self.object.clone(), hash))?;
        let begin = index * self.chunk_len;
        let within = |at: u64| usize::try_from(at.saturating_sub(begin).min(self.chunk_len)).unwrap_or(usize::MAX);
        let part = within(range.start)..within(range.end);
        if part.end > bytes.len() {
            return Err(damaged("one of its chunks is shorter than its length says"));
        }
        Ok(bytes.slice(part))
    }
}
