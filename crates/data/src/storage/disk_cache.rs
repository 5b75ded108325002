//! Chunks on a local disk that came from a store that is further away.
//!
//! Always true: what is kept here can be lost. A file that is missing, torn or damaged is a miss, because whoever reads it
//! looks at its hash; nothing is synced, and nobody waits for a file to be written. Which files there are is known in
//! memory, in the same kind of cache as chunks themselves, and read from the directory when the node starts.
//! Not here: checking hashes, and what is done when they are wrong (`chunks`).
//!
//! Why not `foyer` with its storage engine: a chunk is as long as one of its blocks, so it would add a log, an index and two
//! compression libraries in C to what is a file per chunk (see docs/design/0004-objects.md for figures).

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use foyer_common::event::{Event, EventListener};
use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};
use stride_ids::Name;
use stride_sim::Tasks;
use tokio::sync::Semaphore;

use super::{local::entries, read_into};
use crate::{
    buffers::Buffers,
    chunk::{ChunkHash, ChunkId},
    sketch::Held,
};

/// The index is cut into so many parts, each with a lock and an equal part of the bytes.
const SHARDS: usize = 4;
/// How many bytes a file counts for at least: a file system gives it a block, and memory is needed to know of it.
const FILE_BYTES_MIN: usize = 16 << 10;
/// How many chunks may be on their way to the disk. They are held in memory, so more are not kept.
const WRITING_MAX: usize = 8;
/// How a file ends that is being written.
const PARTIAL: &str = "partial";

/// What a cache on disk has done, in numbers that only grow; `bytes` is what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCacheStats {
    /// How often a chunk was there.
    pub hits: u64,
    /// How often it was not, or not as it was written.
    pub misses: u64,
    /// How many bytes the chunks have that were there.
    pub hit_bytes: u64,
    /// How many bytes were written to it.
    pub written_bytes: u64,
    /// How many chunks were not kept because as many as allowed were being written, or because that failed.
    pub dropped: u64,
    /// How many chunks were found damaged. Each of them is a miss as well.
    pub damaged: u64,
    /// How many bytes it holds.
    pub bytes: u64,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    hit_bytes: AtomicU64,
    written_bytes: AtomicU64,
    dropped: AtomicU64,
    damaged: AtomicU64,
}

/// A cache of chunks on a local disk.
pub struct DiskCache {
    files: Arc<Files>,
    /// The files that are there, and their lengths. A file goes when its entry does.
    index: Cache<ChunkId, usize>,
    writing: Arc<Semaphore>,
    counters: Counters,
    tasks: Tasks,
}

/// The directory, and what is known to be in it.
struct Files {
    dir: PathBuf,
    held: Held,
}

impl Files {
    fn path(&self, id: &ChunkId) -> PathBuf {
        self.dir.join(id.tenant.as_str()).join(id.hash.to_string())
    }
}

impl EventListener for Files {
    type Key = ChunkId;
    type Value = usize;

    fn on_leave(&self, reason: Event, id: &ChunkId, _: &usize) {
        self.held.left(id);
        // What replaces an entry has replaced the file.
        if matches!(reason, Event::Evict | Event::Remove) {
            remove(&self.path(id));
        }
    }
}

impl DiskCache {
    /// Keeps up to `bytes` in a directory, with what is there already.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub async fn open(dir: &Path, bytes: usize, tasks: Tasks) -> io::Result<Self> {
        let files = Arc::new(Files { dir: dir.to_owned(), held: Held::new() });
        let index = CacheBuilder::new(bytes)
            .with_shards(SHARDS)
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(|_: &ChunkId, len: &usize| (*len).max(FILE_BYTES_MIN))
            .with_event_listener(files.clone())
            .build();
        let cache = Self {
            files: files.clone(),
            index,
            writing: Arc::new(Semaphore::new(WRITING_MAX)),
            counters: Counters::default(),
            tasks,
        };
        let index = cache.index.clone();
        let filled = cache.tasks.blocking(move || {
            fs::create_dir_all(&files.dir)?;
            // In the order in which they were written, so that the newest stay if not all may.
            for (id, len) in found(&files.dir)? {
                files.held.came(&id);
                index.insert(id, len);
            }
            Ok(())
        });
        filled.await.map(|()| cache)
    }

    /// Whether a chunk is there.
    pub(crate) fn has(&self, id: &ChunkId) -> bool {
        self.index.contains(id)
    }

    /// What is there.
    pub(crate) fn held(&self) -> &Held {
        &self.files.held
    }

    /// The bytes that are kept as a chunk, whatever they are.
    pub(crate) async fn get(&self, id: &ChunkId, buffers: &Arc<Buffers>) -> Option<Bytes> {
        let len = self.index.get(id).map(|entry| *entry.value());
        let Some(len) = len else {
            add(&self.counters.misses, 1);
            return None;
        };
        let (path, buffer) = (self.files.path(id), buffers.take(len));
        match self.tasks.blocking(move || read_into(buffer, &fs::File::open(path)?)).await {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::debug!(%error, chunk = %id.hash, "a chunk that was kept on disk cannot be read");
                self.remove(id).await;
                add(&self.counters.misses, 1);
                None
            }
        }
    }

    /// Notes that what was read was right.
    pub(crate) fn was_right(&self, bytes: &Bytes) {
        add(&self.counters.hits, 1);
        add(&self.counters.hit_bytes, bytes.len());
    }

    /// Forgets what was read and was not what had been written.
    pub(crate) async fn was_damaged(&self, id: &ChunkId) {
        tracing::warn!(chunk = %id.hash, tenant = %id.tenant, "a chunk that was kept on disk is damaged; it is fetched again");
        add(&self.counters.damaged, 1);
        add(&self.counters.misses, 1);
        self.remove(id).await;
    }

    /// Begins to write a chunk, which was found to be what its name says. Nobody waits for it.
    pub(crate) fn keep(self: &Arc<Self>, id: &ChunkId, bytes: &Bytes) {
        let Ok(place) = self.writing.clone().try_acquire_owned() else {
            add(&self.counters.dropped, 1);
            return;
        };
        let (cache, id, bytes) = (self.clone(), id.clone(), bytes.clone());
        self.tasks.spawn(async move {
            let writer = cache.clone();
            let written = cache.tasks.blocking(move || writer.write(id, &bytes)).await;
            if let Err(error) = written {
                add(&cache.counters.dropped, 1);
                tracing::debug!(%error, "a chunk is not kept on disk");
            }
            drop(place);
        });
    }

    fn write(&self, id: ChunkId, bytes: &Bytes) -> io::Result<()> {
        let path = self.files.path(&id);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let partial = path.with_extension(PARTIAL);
        // One that is there is being written, or is cleared away with the next start.
        let mut file = fs::File::create_new(&partial)?;
        if let Err(error) = file.write_all(bytes).and_then(|()| fs::rename(&partial, &path)) {
            remove(&partial);
            return Err(error);
        }
        self.files.held.came(&id);
        self.index.insert(id, bytes.len());
        add(&self.counters.written_bytes, bytes.len());
        Ok(())
    }

    /// Forgets a chunk, if it is there.
    pub(crate) async fn remove(&self, id: &ChunkId) {
        let (index, id) = (self.index.clone(), id.clone());
        self.tasks.blocking(move || drop(index.remove(&id))).await;
    }

    pub(crate) fn stats(&self) -> DiskCacheStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskCacheStats {
            hits: get(&self.counters.hits),
            misses: get(&self.counters.misses),
            hit_bytes: get(&self.counters.hit_bytes),
            written_bytes: get(&self.counters.written_bytes),
            dropped: get(&self.counters.dropped),
            damaged: get(&self.counters.damaged),
            bytes: self.index.usage() as u64,
        }
    }
}

/// The chunks in a directory, in the order in which they were written. What had only been begun is removed.
fn found(dir: &Path) -> io::Result<Vec<(ChunkId, usize)>> {
    let mut found = Vec::new();
    for tenant_dir in entries(dir)? {
        let Some(tenant) = tenant_dir.file_name().and_then(|name| Name::new(name.to_str()?).ok()) else { continue };
        for path in entries(&tenant_dir)? {
            if path.extension().is_some_and(|extension| extension == PARTIAL) {
                remove(&path);
            }
            let hash = path.file_name().and_then(|name| ChunkHash::from_hex(name.to_str()?));
            let (Some(hash), Ok(about)) = (hash, path.metadata()) else { continue };
            let len = usize::try_from(about.len()).unwrap_or(usize::MAX);
            found.push((about.modified().ok(), ChunkId { tenant: tenant.clone(), hash }, len));
        }
    }
    found.sort_by_key(|(at, ..)| *at);
    Ok(found.into_iter().map(|(_, id, len)| (id, len)).collect())
}

/// Removes a file. One that stays costs space until the next start, and nothing else.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "a file of the cache of chunks cannot be removed");
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
