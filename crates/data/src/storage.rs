//! Where chunks are kept: `chunks/TENANT/AA/HASH` in an object store, `AA` being the first two digits of the hash. Other
//! things may be kept beside them, under other names.
//!
//! Always true: a chunk is durable when [`Storage::finish`] returns, its directory entries included; a store that does not
//! answer is given up after [`ANSWER_MAX`], so nothing ever hangs on it.
//! Not here: which store that is (`location`) and how it is opened (`open`); what is checked of what comes back (`chunks`).

mod components;
mod direct;
mod disk_cache;
mod local;
mod location;
mod open;

use std::{fs, future::Future, io, path::Path as FilePath, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    GetResult, GetResultPayload, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use stride_ids::Name;
use stride_sim::{Clock, Tasks};
use tempfile::NamedTempFile;

pub use components::Components;
pub use direct::DirectFile;
pub use disk_cache::{DiskCache, DiskCacheStats};
pub(crate) use local::{entries, path_in};
pub use location::{Location, LocationError};
pub use open::{OpenError, Owner, use_tls};

use crate::{
    buffers::{Buffer, Buffers},
    chunk::{ChunkHash, ChunkId},
    error::Error,
    storage::local::Local,
};

pub(crate) const CHUNKS: &str = "chunks";
/// How much of what is stored as a chunk is read at most, in bytes. No chunk is that long, so what is cut is damaged.
const READ_MAX: u64 = 64 << 20;
/// How long a remote store may take over one chunk, or over one page of a listing, what it is asked again included.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// An object store that holds chunks.
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// What keeps a remote store from being waited for without end; a local directory is waited for as the disk is.
    clock: Option<Clock>,
    local: Option<Arc<Local>>,
    cache: Option<Arc<DiskCache>>,
    tasks: Tasks,
}

/// A chunk that may not be durable yet.
pub(crate) enum Writing {
    /// In a local directory: the file, or none if it was there.
    Local(Arc<Local>, Option<NamedTempFile>),
    /// In a store that is durable when it answers; not written if it was there.
    Durable { written: bool },
}

impl Storage {
    /// Keeps chunks in a directory, which is made if need be.
    ///
    /// # Errors
    /// If the directory cannot be made or used.
    pub fn local(root: &FilePath, tasks: Tasks) -> io::Result<Self> {
        let local = Local::new(root)?;
        let store = LocalFileSystem::new_with_prefix(local.root()).map_err(io::Error::other)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), clock: None, local: Some(Arc::new(local)), cache: None, tasks })
    }

    /// Keeps chunks in a store that is durable when it answers.
    pub fn over(store: Arc<dyn ObjectStore>, clock: Clock, tasks: Tasks) -> Self {
        Self { store, clock: Some(clock), local: None, cache: None, tasks }
    }

    /// Keeps what is read from it on a local disk, too.
    #[must_use]
    pub fn with_disk_cache(self, cache: DiskCache) -> Self {
        Self { cache: Some(Arc::new(cache)), ..self }
    }

    /// The same store for something else, which has the names that begin with `name/` to itself.
    pub fn beside(&self, name: &str) -> Arc<dyn ObjectStore> {
        assert!(name != CHUNKS, "the chunks have these names");
        Arc::new(PrefixStore::new(self.store.clone(), name))
    }

    /// The deployed components of a cluster, in the same store.
    pub fn components(&self) -> Components {
        Components::new(self.beside("components"), self.clock.clone())
    }

    pub(crate) fn disk_cache(&self) -> Option<&Arc<DiskCache>> {
        self.cache.as_ref()
    }

    /// What the store answers, or that it does not.
    async fn answer<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        answer_within(self.clock.as_ref(), work).await
    }

    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Writes a chunk; it is durable when what this returns is finished. The bytes are no longer held then, so that many
    /// chunks may wait for the disk at the same time. One that is there already is left as it is, unless `anew`.
    pub(crate) async fn write(&self, id: &ChunkId, bytes: Bytes, anew: bool) -> Result<Writing, Error> {
        if let Some(local) = self.local.clone() {
            let (id, in_dir) = (id.clone(), local.clone());
            let written = self.tasks.blocking(move || in_dir.write(&id, &bytes, anew)).await;
            return written.map(|file| Writing::Local(local, file)).map_err(|e| Error::io("write a chunk", &e));
        }
        let path = path_of(id);
        let found = !anew && self.has(&path, bytes.len() as u64).await?;
        if !found {
            let put = self.answer(self.store.put(&path, PutPayload::from_bytes(bytes))).await;
            put.map_err(|e| Error::storage("write a chunk", &e))?;
        }
        Ok(Writing::Durable { written: !found })
    }

    /// Makes a chunk durable. Whether it was written.
    pub(crate) async fn finish(&self, id: &ChunkId, writing: Writing) -> Result<bool, Error> {
        match writing {
            Writing::Local(local, file) => {
                let (id, written) = (id.clone(), file.is_some());
                let finished = self.tasks.blocking(move || local.finish(&id, file)).await;
                finished.map(|()| written).map_err(|e| Error::io("write a chunk", &e))
            }
            Writing::Durable { written } => Ok(written),
        }
    }

    async fn has(&self, path: &Path, len: u64) -> Result<bool, Error> {
        match self.answer(self.store.head(path)).await {
            Ok(meta) => Ok(meta.size == len),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(Error::storage("look for a chunk", &e)),
        }
    }

    /// The bytes that are stored as a chunk, whatever they are; none if there are none.
    pub(crate) async fn get(&self, id: &ChunkId, buffers: &Arc<Buffers>) -> Result<Option<Bytes>, Error> {
        let path = path_of(id);
        let read = async {
            let got = self.store.get(&path).await?;
            let len = usize::try_from(got.meta.size.min(READ_MAX)).unwrap_or(usize::MAX);
            self.collect(got, buffers.take(len)).await
        };
        match self.answer(read).await {
            Ok(bytes) => Ok(Some(bytes)),
            // A bucket that is gone is not a chunk that is gone: nothing is known of the chunk.
            Err(e) if matches!(e, object_store::Error::NotFound { .. }) && !open::is_missing_bucket(&e) => Ok(None),
            Err(e) => Err(Error::storage("read a chunk", &e)),
        }
    }

    async fn collect(&self, got: GetResult, mut buffer: Buffer) -> object_store::Result<Bytes> {
        let GetResultPayload::File(file, _) = got.payload else {
            let mut parts = got.into_stream();
            while let Some(part) = parts.try_next().await? {
                // What does not fit was not announced: the chunk is damaged, and its hash will say so.
                buffer.fill(&part);
            }
            return Ok(buffer.freeze());
        };
        let read = self.tasks.blocking(move || read_into(buffer, &file)).await;
        read.map_err(|e| object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(e) })
    }

    /// Removes a chunk; there may be none.
    pub(crate) async fn remove(&self, id: &ChunkId) -> Result<(), Error> {
        match self.answer(self.store.delete(&path_of(id))).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::storage("remove a chunk", &e)),
        }
    }

    /// The tenants that have chunks.
    pub(crate) async fn tenants(&self) -> Result<Vec<Name>, Error> {
        let listed = self.answer(self.store.list_with_delimiter(Some(&Path::from(CHUNKS)))).await;
        let prefixes = listed.map_err(|e| Error::storage("list chunks", &e))?.common_prefixes;
        Ok(prefixes.iter().filter_map(|prefix| Name::new(prefix.filename()?).ok()).collect())
    }

    /// The chunks of a tenant and their lengths. What is not a chunk is passed over.
    pub(crate) fn list(&self, tenant: &Name) -> BoxStream<'static, Result<(ChunkHash, u64), Error>> {
        let listed = self.store.list(Some(&Path::from_iter([CHUNKS, tenant.as_str()])));
        // A listing comes in pages; each may take as long as an answer may.
        let begun = (listed, self.clock.clone());
        let listed = stream::try_unfold(begun, |(mut listed, clock)| async move {
            let next = answer_within(clock.as_ref(), listed.try_next()).await?;
            Ok(next.map(|meta| (meta, (listed, clock))))
        });
        let chunks = listed.map_err(|e| Error::storage("list chunks", &e)).try_filter_map(|meta| async move {
            let meta: object_store::ObjectMeta = meta;
            let hash = meta.location.filename().and_then(ChunkHash::from_hex);
            Ok(hash.map(|hash| (hash, meta.size)))
        });
        chunks.boxed()
    }

    /// Removes what a process that was killed left of chunks that it wrote, except of those that `is_held` tells. How many.
    pub(crate) async fn remove_torn(
        &self,
        tenant: &Name,
        is_held: impl Fn(&ChunkId) -> bool + Send + 'static,
    ) -> Result<u64, Error> {
        let Some(local) = self.local.clone() else { return Ok(0) };
        let tenant = tenant.clone();
        let removed = self.tasks.blocking(move || local.remove_torn(&tenant, is_held)).await;
        removed.map_err(|e| Error::io("remove what was left of chunks", &e))
    }
}

async fn answer_within<T>(
    clock: Option<&Clock>,
    work: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    let Some(clock) = clock else { return work.await };
    let silent = |_| {
        let silent = io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {ANSWER_MAX:?}"));
        object_store::Error::Generic { store: "remote", source: Box::new(silent) }
    };
    clock.timeout(ANSWER_MAX, work).await.map_err(silent)?
}

/// Fills a buffer from the beginning of a file, which may be shorter.
fn read_into(mut buffer: Buffer, file: &fs::File) -> io::Result<Bytes> {
    let count = direct::read(file, buffer.room())?;
    buffer.advance(count);
    Ok(buffer.freeze())
}

fn fan_out(hash: &ChunkHash) -> String {
    hash.to_string()[..2].to_owned()
}

fn path_of(id: &ChunkId) -> Path {
    Path::from_iter([CHUNKS, id.tenant.as_str(), &fan_out(&id.hash), &id.hash.to_string()])
}
