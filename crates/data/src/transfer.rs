//! Bringing the chunks of one storage into another one, where whoever owns the index next finds them.
//!
//! Always true: a chunk that was brought has been read back, and has the hash that it is named by; one that was there before
//! with its length was brought so, or put by a node. Nothing is removed on either side.
//! Not here: the index, which names chunks and is rows of agents.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use stride_agents::{Offline, OpenError};
use stride_ids::Address;

use crate::{
    agent::BUCKETS,
    buffers::Buffers,
    check::object,
    chunk::{CHUNK_LEN, ChunkHash, ChunkId},
    error::Error,
    row::{self, Version},
    storage::Storage,
};

/// How many chunks are brought at the same time.
const AT_ONCE: usize = 8;
/// How many rows of the index are read at a time.
const ROWS: usize = 256;

/// What bringing chunks came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transferred {
    /// How many chunks there are on the other side.
    pub chunks: u64,
    /// How many bytes those have.
    pub bytes: u64,
    /// How many of them were brought now; the others were there.
    pub copied: u64,
}

/// Chunks on their way.
pub struct Transfer<'a> {
    from: &'a Storage,
    to: &'a Storage,
    buffers: Arc<Buffers>,
    /// The lengths of all chunks on both sides.
    here: HashMap<ChunkId, u64>,
    there: HashMap<ChunkId, u64>,
}

impl<'a> Transfer<'a> {
    /// Looks what there is on both sides.
    ///
    /// # Errors
    /// If one of them cannot be listed.
    pub async fn between(from: &'a Storage, to: &'a Storage) -> Result<Self, Error> {
        let (here, there) = (listed(from).await?, listed(to).await?);
        Ok(Self { from, to, buffers: Buffers::new(CHUNK_LEN), here, there })
    }

    /// Brings what there is, while a node may still use it. What vanishes meanwhile or is damaged is passed over: whether
    /// anything needs it is found out by [`Transfer::named`].
    ///
    /// # Errors
    /// If one side fails.
    pub async fn all(&self, mut tell: impl FnMut(&Transferred)) -> Result<Transferred, Error> {
        let mut done = Transferred::default();
        let copies = stream::iter(self.here.keys()).map(|id| self.bring(id)).buffer_unordered(AT_ONCE);
        let mut copies = std::pin::pin!(copies);
        while let Some(brought) = copies.try_next().await? {
            done.count(brought, &mut tell);
        }
        Ok(done)
    }

    /// Brings every chunk that the objects in an index need.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Vanished`] with the object; and if one side fails, or the index.
    pub async fn named(&self, index: &Offline, mut tell: impl FnMut(&Transferred)) -> Result<Transferred, Error> {
        let (mut done, mut seen) = (Transferred::default(), HashSet::new());
        let unreadable = |e: &OpenError| Error::Storage { doing: "read the index of objects", why: e.to_string() };
        for (bucket, _) in index.agents(&BUCKETS).map_err(|e| unreadable(&e))? {
            let mut after = None;
            loop {
                let rows = index.scan(&bucket, after.as_deref(), ROWS).map_err(|e| unreadable(&e))?;
                let needed = needed_by(&bucket, &rows, &mut seen)?;
                let copies = stream::iter(needed).map(|(id, object)| async move {
                    match self.bring(&id).await? {
                        Brought::Nothing if self.here.contains_key(&id) => {
                            Err(Error::Corrupt { object, chunk: id.hash })
                        }
                        Brought::Nothing => Err(Error::Vanished { object, chunk: id.hash }),
                        brought => Ok(brought),
                    }
                });
                let mut copies = std::pin::pin!(copies.buffer_unordered(AT_ONCE));
                while let Some(brought) = copies.try_next().await? {
                    done.count(brought, &mut tell);
                }
                match rows.into_iter().last() {
                    Some((name, _)) => after = Some(name),
                    None => break,
                }
            }
        }
        Ok(done)
    }
}

impl Transfer<'_> {
    async fn bring(&self, id: &ChunkId) -> Result<Brought, Error> {
        match (self.here.get(id), self.there.get(id)) {
            (Some(here), Some(there)) if here == there => return Ok(Brought::Found(*here)),
            (None, _) => return Ok(Brought::Nothing),
            _ => {}
        }
        let is_it = |bytes: &Bytes| ChunkHash::of(bytes) == id.hash;
        let Some(bytes) = self.from.get(id, &self.buffers).await?.filter(is_it) else { return Ok(Brought::Nothing) };
        let len = bytes.len() as u64;
        let writing = self.to.write(id, bytes, true).await?;
        self.to.finish(id, writing).await?;
        match self.to.get(id, &self.buffers).await?.filter(is_it) {
            Some(_) => Ok(Brought::Copied(len)),
            None => {
                Err(Error::Storage { doing: "keep a chunk", why: format!("{} came back as something else", id.hash) })
            }
        }
    }
}

/// What became of a chunk.
enum Brought {
    /// It is not on this side, or is not what it should be.
    Nothing,
    Found(u64),
    Copied(u64),
}

impl Transferred {
    fn count(&mut self, brought: Brought, tell: &mut impl FnMut(&Self)) {
        let (len, copied) = match brought {
            Brought::Nothing => return,
            Brought::Found(len) => (len, 0),
            Brought::Copied(len) => (len, 1),
        };
        self.chunks += 1;
        self.bytes += len;
        self.copied += copied;
        tell(self);
    }
}

async fn listed(storage: &Storage) -> Result<HashMap<ChunkId, u64>, Error> {
    let mut found = HashMap::new();
    for tenant in storage.tenants().await? {
        let mut chunks = storage.list(&tenant);
        while let Some((hash, len)) = chunks.try_next().await? {
            found.insert(ChunkId { tenant: tenant.clone(), hash }, len);
        }
    }
    Ok(found)
}

/// The chunks that some rows of a bucket need and that were not seen before, each with an object that needs it.
fn needed_by(
    bucket: &Address,
    rows: &[(String, Bytes)],
    seen: &mut HashSet<ChunkId>,
) -> Result<Vec<(ChunkId, String)>, Error> {
    let mut needed = Vec::new();
    for (name, bytes) in rows.iter().filter(|(name, _)| row::has_chunks(name)) {
        let version = row::SCHEMA.decode::<Version>("version", bytes);
        let version = version.map_err(|failure| Error::Storage {
            doing: "read the index of objects",
            why: format!("{}: {}", object(bucket, name), failure.message),
        })?;
        for hash in version.content.iter().flat_map(|content| content.hashes.iter()) {
            let id = ChunkId { tenant: bucket.tenant.clone(), hash };
            if seen.insert(id.clone()) {
                needed.push((id, object(bucket, name)));
            }
        }
    }
    Ok(needed)
}
