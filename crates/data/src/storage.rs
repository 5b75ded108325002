//! Where chunks are kept: `chunks/TENANT/AA/HASH` in an object store, `AA` being the first two digits of the hash.
//!
//! Always true: a chunk is durable when [`Storage::finish`] returns, its directory entries included.
//! The local directory is the only kind so far. Others come in through [`Storage::over`].

use std::{
    collections::HashSet,
    fs,
    io::{self, Read as _},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path,
};
use parking_lot::Mutex;
use stride_ids::Name;
use stride_sim::Tasks;

use crate::{
    buffers::{Buffer, Buffers},
    chunk::{ChunkHash, ChunkId},
    error::Error,
};

pub(crate) const CHUNKS: &str = "chunks";
/// How much of what is stored as a chunk is read at most, in bytes. No chunk is that long, so what is cut is damaged.
const READ_MAX: u64 = 64 << 20;

/// An object store that holds chunks.
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    local: Option<Arc<Local>>,
    tasks: Tasks,
}

/// A chunk that may not be durable yet.
pub(crate) enum Writing {
    /// It was there.
    Found,
    Durable,
    Unsynced(Box<dyn MultipartUpload>),
}

/// What has to be known of a local directory beside the files in it.
struct Local {
    root: PathBuf,
    /// The directories whose entries, up to the root, are durable for certain.
    settled: Mutex<HashSet<PathBuf>>,
}

impl Storage {
    /// Keeps chunks in a directory, which is made if need be.
    ///
    /// # Errors
    /// If the directory cannot be made or used.
    pub fn local(root: &FilePath, tasks: Tasks) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if let Some(parent) = root.parent() {
            sync_dir(parent)?;
        }
        let store = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?.with_fsync(true);
        let local = Local { root, settled: Mutex::default() };
        Ok(Self { store: Arc::new(store), local: Some(Arc::new(local)), tasks })
    }

    /// Keeps chunks in a store that is durable when it answers.
    pub fn over(store: Arc<dyn ObjectStore>, tasks: Tasks) -> Self {
        Self { store, local: None, tasks }
    }

    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Writes a chunk; it is durable when what this returns is finished. The bytes are no longer held then, so that many
    /// chunks may wait for the disk at the same time. One that is there already is left as it is, unless `anew`.
    pub(crate) async fn write(&self, id: &ChunkId, bytes: Bytes, anew: bool) -> Result<Writing, Error> {
        let failed = |e: &object_store::Error| Error::storage("write a chunk", e);
        self.settle(id).await?;
        let path = path_of(id);
        if !anew && self.has(&path, bytes.len() as u64).await? {
            return Ok(Writing::Found);
        }
        let payload = PutPayload::from_bytes(bytes);
        if self.local.is_none() {
            self.store.put(&path, payload).await.map_err(|e| failed(&e))?;
            return Ok(Writing::Durable);
        }
        // A file in two steps: the second one syncs and renames.
        let mut upload = self.store.put_multipart(&path).await.map_err(|e| failed(&e))?;
        upload.put_part(payload).await.map_err(|e| failed(&e))?;
        Ok(Writing::Unsynced(upload))
    }

    /// Makes a chunk durable. Whether it was written.
    pub(crate) async fn finish(&self, id: &ChunkId, writing: Writing) -> Result<bool, Error> {
        match writing {
            // It may have come without its entry being durable, by a process that was killed just then.
            Writing::Found => self.settle_entry(id).await.map(|()| false),
            Writing::Durable => Ok(true),
            Writing::Unsynced(mut upload) => {
                upload.complete().await.map(|_| true).map_err(|e| Error::storage("write a chunk", &e))
            }
        }
    }

    async fn has(&self, path: &Path, len: u64) -> Result<bool, Error> {
        match self.store.head(path).await {
            Ok(meta) => Ok(meta.size == len),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(Error::storage("look for a chunk", &e)),
        }
    }

    /// The bytes that are stored as a chunk, whatever they are; none if there are none.
    pub(crate) async fn get(&self, id: &ChunkId, buffers: &Arc<Buffers>) -> Result<Option<Bytes>, Error> {
        let failed = |e: &object_store::Error| Error::storage("read a chunk", e);
        let got = match self.store.get(&path_of(id)).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(failed(&e)),
        };
        let len = usize::try_from(got.meta.size.min(READ_MAX)).unwrap_or(usize::MAX);
        let GetResultPayload::File(file, _) = got.payload else {
            return got.bytes().await.map(Some).map_err(|e| failed(&e));
        };
        let buffer = buffers.take(len);
        let read = self.tasks.blocking(move || read_into(buffer, file)).await;
        read.map(Some).map_err(|e| Error::io("read a chunk", &e))
    }

    /// Removes a chunk; there may be none.
    pub(crate) async fn remove(&self, id: &ChunkId) -> Result<(), Error> {
        match self.store.delete(&path_of(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::storage("remove a chunk", &e)),
        }
    }

    /// The tenants that have chunks.
    pub(crate) async fn tenants(&self) -> Result<Vec<Name>, Error> {
        let listed = self.store.list_with_delimiter(Some(&Path::from(CHUNKS))).await;
        let prefixes = listed.map_err(|e| Error::storage("list chunks", &e))?.common_prefixes;
        Ok(prefixes.iter().filter_map(|prefix| Name::new(prefix.filename()?).ok()).collect())
    }

    /// The chunks of a tenant and their lengths. What is not a chunk is passed over.
    pub(crate) fn list(&self, tenant: &Name) -> BoxStream<'static, Result<(ChunkHash, u64), Error>> {
        let listed = self.store.list(Some(&Path::from_iter([CHUNKS, tenant.as_str()])));
        let chunks = listed.map_err(|e| Error::storage("list chunks", &e)).try_filter_map(|meta| async move {
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

    /// Sees to it that the directory of a chunk will not vanish with it. The store syncs a directory that it makes, but
    /// not for those who find it made meanwhile, nor if it ended in between.
    async fn settle(&self, id: &ChunkId) -> Result<(), Error> {
        let Some(local) = self.local.clone() else { return Ok(()) };
        let dir = local.dir_of(id);
        if local.settled.lock().contains(&dir) {
            return Ok(());
        }
        let settled = self.tasks.blocking(move || local.settle(dir)).await;
        settled.map_err(|e| Error::io("make a directory", &e))
    }

    async fn settle_entry(&self, id: &ChunkId) -> Result<(), Error> {
        let Some(local) = &self.local else { return Ok(()) };
        let dir = local.dir_of(id);
        let synced = self.tasks.blocking(move || sync_dir(&dir)).await;
        synced.map_err(|e| Error::io("sync a directory", &e))
    }
}

/// Fills a buffer from the beginning of a file, which may be shorter.
fn read_into(mut buffer: Buffer, mut file: fs::File) -> io::Result<Bytes> {
    while !buffer.is_full() {
        match file.read(buffer.room())? {
            0 => break,
            count => buffer.advance(count),
        }
    }
    Ok(buffer.freeze())
}

fn fan_out(hash: &ChunkHash) -> String {
    hash.to_string()[..2].to_owned()
}

fn path_of(id: &ChunkId) -> Path {
    Path::from_iter([CHUNKS, id.tenant.as_str(), &fan_out(&id.hash), &id.hash.to_string()])
}

/// The directory of a chunk in a local directory.
fn dir_in(root: &FilePath, id: &ChunkId) -> PathBuf {
    root.join(CHUNKS).join(id.tenant.as_str()).join(fan_out(&id.hash))
}

/// The file of a chunk in a local directory.
pub(crate) fn path_in(root: &FilePath, id: &ChunkId) -> PathBuf {
    dir_in(root, id).join(id.hash.to_string())
}

impl Local {
    fn dir_of(&self, id: &ChunkId) -> PathBuf {
        dir_in(&self.root, id)
    }

    fn settle(&self, dir: PathBuf) -> io::Result<()> {
        fs::create_dir_all(&dir)?;
        for parent in dir.ancestors().skip(1).take_while(|parent| parent.starts_with(&self.root)) {
            sync_dir(parent)?;
        }
        self.settled.lock().insert(dir);
        Ok(())
    }

    /// The store writes `HASH#N` and renames it when it is whole.
    fn remove_torn(&self, tenant: &Name, is_held: impl Fn(&ChunkId) -> bool) -> io::Result<u64> {
        let mut removed = 0;
        for dir in entries(&self.root.join(CHUNKS).join(tenant.as_str()))? {
            for file in entries(&dir)? {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let hash = name.split_once('#').and_then(|(hash, _)| ChunkHash::from_hex(hash));
                if hash.is_some_and(|hash| !is_held(&ChunkId { tenant: tenant.clone(), hash })) {
                    fs::remove_file(&file)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// What is in a directory; nothing if it is none.
pub(crate) fn entries(dir: &FilePath) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn sync_dir(dir: &FilePath) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
