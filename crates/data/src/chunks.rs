//! Chunks as transfers see them: from the cache in memory, or from the one on disk or from storage, and checked.
//!
//! Always true: what is in memory has the hash that it is found by. What the cache on disk has wrong is fetched again. A
//! chunk in storage that is wrong is read once more, and remembered as damaged: whoever puts the same bytes again writes
//! them anew.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use foyer_common::event::{Event, EventListener};
use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};
use parking_lot::Mutex;
use stride_sim::Tasks;
use tokio::sync::oneshot;

use crate::{
    buffers::Buffers,
    chunk::{ChunkHash, ChunkId},
    error::Error,
    sketch::{Held, Sketch},
    storage::{DiskCacheStats, Storage},
};

/// The cache is cut into so many parts, each with a lock and an equal part of the bytes.
const SHARDS: usize = 4;

/// What the caches have done, in numbers that only grow; `bytes` is what the one in memory holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// How often a chunk was there.
    pub hits: u64,
    /// How often it was not.
    pub misses: u64,
    /// How many bytes the chunks have that were there.
    pub hit_bytes: u64,
    /// How many bytes were read from storage.
    pub read_bytes: u64,
    /// How many bytes were written.
    pub written_bytes: u64,
    /// How many bytes did not have to be written because they were there.
    pub shared_bytes: u64,
    /// How many chunks were found damaged in storage.
    pub corrupt: u64,
    /// How many bytes are in memory.
    pub bytes: u64,
    /// The cache on disk; nothing where there is none.
    pub disk: DiskCacheStats,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    hit_bytes: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    shared_bytes: AtomicU64,
    corrupt: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Why a chunk cannot be given out. Cheap to clone, because all who wait for it get it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("the chunk is damaged")]
    Corrupt,
    #[error("the chunk is gone")]
    Vanished,
    #[error(transparent)]
    Storage(Arc<Error>),
}

impl ChunkError {
    /// The same for the object that needed the chunk.
    pub(crate) fn of(self, object: String, chunk: ChunkHash) -> Error {
        match self {
            Self::Corrupt => Error::Corrupt { object, chunk },
            Self::Vanished => Error::Vanished { object, chunk },
            Self::Storage(error) => match &*error {
                Error::Full => Error::Full,
                error => Error::Storage { doing: "read a chunk", why: error.to_string() },
            },
        }
    }
}

pub(crate) struct Chunks {
    cache: Cache<ChunkId, Bytes>,
    source: Arc<Source>,
}

/// Where chunks come from if they are not in memory.
struct Source {
    storage: Storage,
    buffers: Arc<Buffers>,
    counters: Counters,
    damaged: Mutex<HashSet<ChunkId>>,
    /// What is in memory.
    held: Arc<InMemory>,
    tasks: Tasks,
}

/// Counts the chunks in memory as they leave.
struct InMemory(Held);

impl EventListener for InMemory {
    type Key = ChunkId;
    type Value = Bytes;

    fn on_leave(&self, _: Event, id: &ChunkId, _: &Bytes) {
        self.0.left(id);
    }
}

impl Chunks {
    pub(crate) fn new(storage: Storage, buffers: Arc<Buffers>, cache_bytes: usize, tasks: Tasks) -> Self {
        let held = Arc::new(InMemory(Held::new()));
        // A large object that is read once must not drive out what is read again and again.
        let cache = CacheBuilder::new(cache_bytes)
            .with_shards(SHARDS)
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(|_: &ChunkId, bytes: &Bytes| bytes.len())
            .with_event_listener(held.clone())
            .build();
        let (counters, damaged) = Default::default();
        let source = Source { storage, buffers, counters, damaged, held, tasks };
        Self { cache, source: Arc::new(source) }
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.source.storage
    }

    /// The bytes of a chunk. Of those who ask for it at the same time one reads it.
    pub(crate) async fn get(&self, id: &ChunkId) -> Result<Bytes, ChunkError> {
        let counters = &self.source.counters;
        if let Some(entry) = self.cache.get(id) {
            add(&counters.hits, 1);
            add(&counters.hit_bytes, entry.value().len());
            return Ok(entry.value().clone());
        }
        add(&counters.misses, 1);
        let fetched = self.cache.get_or_fetch(id, || {
            let (source, id) = (self.source.clone(), id.clone());
            async move {
                let fetched = source.fetch(&id).await;
                fetched.inspect(|_| source.held.0.came(&id))
            }
        });
        match fetched.await {
            Ok(entry) => Ok(entry.value().clone()),
            Err(e) => {
                let error = e.downcast_ref::<ChunkError>().cloned().unwrap_or_else(|| {
                    ChunkError::Storage(Arc::new(Error::Storage { doing: "read a chunk", why: e.to_string() }))
                });
                add(&counters.corrupt, usize::from(matches!(error, ChunkError::Corrupt)));
                Err(error)
            }
        }
    }

    /// Whether a chunk is in memory.
    pub(crate) fn is_cached(&self, id: &ChunkId) -> bool {
        self.cache.contains(id)
    }

    /// Whether a chunk is in the cache on disk.
    pub(crate) fn is_on_disk(&self, id: &ChunkId) -> bool {
        self.source.storage.disk_cache().is_some_and(|cache| cache.has(id))
    }

    /// What is in the caches.
    pub(crate) fn sketch(&self) -> Sketch {
        let mut sketch = Sketch::default();
        self.source.held.0.onto(&mut sketch);
        self.source.storage.disk_cache().inspect(|cache| cache.held().onto(&mut sketch));
        sketch
    }

    /// How often something came into the caches or left them.
    pub(crate) fn held_changes(&self) -> u64 {
        let on_disk = self.source.storage.disk_cache().map_or(0, |cache| cache.held().changes());
        self.source.held.0.changes() + on_disk
    }

    /// Makes a chunk durable. `held` is dropped as soon as its bytes are.
    pub(crate) async fn put(&self, id: &ChunkId, bytes: Bytes, held: oneshot::Sender<()>) -> Result<(), Error> {
        let len = bytes.len();
        let anew = self.source.damaged.lock().contains(id);
        let writing = self.source.storage.write(id, bytes, anew).await?;
        drop(held);
        let written = self.source.storage.finish(id, writing).await?;
        if anew {
            self.source.damaged.lock().remove(id);
        }
        let counters = &self.source.counters;
        add(if written { &counters.written_bytes } else { &counters.shared_bytes }, len);
        Ok(())
    }

    /// Removes a chunk that nobody needs.
    pub(crate) async fn remove(&self, id: &ChunkId) -> Result<(), Error> {
        self.cache.remove(id);
        if let Some(cache) = self.source.storage.disk_cache() {
            cache.remove(id).await;
        }
        // Should the answer be lost, nobody knows whether the chunk is there: then it is written anew, not found.
        self.source.damaged.lock().insert(id.clone());
        self.source.storage.remove(id).await?;
        self.source.damaged.lock().remove(id);
        Ok(())
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let counters = &self.source.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: get(&counters.hits),
            misses: get(&counters.misses),
            hit_bytes: get(&counters.hit_bytes),
            read_bytes: get(&counters.read_bytes),
            written_bytes: get(&counters.written_bytes),
            shared_bytes: get(&counters.shared_bytes),
            corrupt: get(&counters.corrupt),
            bytes: self.cache.usage() as u64,
            disk: self.source.storage.disk_cache().map(|cache| cache.stats()).unwrap_or_default(),
        }
    }
}

impl Source {
    async fn fetch(&self, id: &ChunkId) -> Result<Bytes, ChunkError> {
        if let Some(bytes) = self.fetch_kept(id).await {
            return Ok(bytes);
        }
        // What was wrong on its way here is right the second time; what is wrong in storage is not.
        for _ in 0..2 {
            let read = self.storage.get(id, &self.buffers).await.map_err(|e| ChunkError::Storage(Arc::new(e)))?;
            let bytes = read.ok_or(ChunkError::Vanished)?;
            add(&self.counters.read_bytes, bytes.len());
            if self.is_right(id, &bytes).await {
                if let Some(cache) = self.storage.disk_cache() {
                    cache.keep(id, &bytes);
                }
                return Ok(bytes);
            }
            tracing::warn!(chunk = %id.hash, tenant = %id.tenant, "a chunk is not what was written");
        }
        self.damaged.lock().insert(id.clone());
        Err(ChunkError::Corrupt)
    }

    /// From the cache on disk, if it has it right.
    async fn fetch_kept(&self, id: &ChunkId) -> Option<Bytes> {
        let cache = self.storage.disk_cache()?;
        let bytes = cache.get(id, &self.buffers).await?;
        if self.is_right(id, &bytes).await {
            cache.was_right(&bytes);
            return Some(bytes);
        }
        cache.was_damaged(id).await;
        None
    }

    async fn is_right(&self, id: &ChunkId, bytes: &Bytes) -> bool {
        let checked = bytes.clone();
        self.tasks.blocking(move || ChunkHash::of(&checked)).await == id.hash
    }
}
