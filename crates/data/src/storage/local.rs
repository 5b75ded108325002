//! Chunks as files in a local directory: written beside their place and renamed into it when they are durable; entries that
//! are durable; and an end to files that were only begun.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path as FilePath, PathBuf},
};

use parking_lot::Mutex;
use stride_ids::Name;
use tempfile::NamedTempFile;

use super::{CHUNKS, direct::DirectFile, fan_out};
use crate::chunk::{ChunkHash, ChunkId};

/// What has to be known of a local directory beside the files in it.
pub(crate) struct Local {
    root: PathBuf,
    /// The directories whose entries, up to the root, are durable for certain.
    settled: Mutex<HashSet<PathBuf>>,
}

impl Local {
    /// A directory, which is made if need be, and its own entry is durable.
    pub(super) fn new(root: &FilePath) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if let Some(parent) = root.parent() {
            sync_dir(parent)?;
        }
        Ok(Self { root, settled: Mutex::default() })
    }

    pub(super) fn root(&self) -> &FilePath {
        &self.root
    }

    fn dir_of(&self, id: &ChunkId) -> PathBuf {
        dir_in(&self.root, id)
    }

    /// Writes a chunk to `HASH#`, and some letters, in the directory that it will be in. It is not durable yet. None if one of this
    /// length is there already, unless it is to be written `anew`.
    pub(super) fn write(&self, id: &ChunkId, bytes: &[u8], anew: bool) -> io::Result<Option<NamedTempFile>> {
        if !anew && len_of(&path_in(&self.root, id))? == Some(bytes.len() as u64) {
            return Ok(None);
        }
        let dir = self.dir_of(id);
        fs::create_dir_all(&dir)?;
        // The same permissions as any other new file.
        let permissions = fs::Permissions::from_mode(0o666);
        let prefix = format!("{}#", id.hash);
        let file = tempfile::Builder::new().prefix(&prefix).permissions(permissions).tempfile_in(dir)?;
        DirectFile::new(file.as_file(), file.path())?.write_all_at(bytes, 0)?;
        Ok(Some(file))
    }

    /// Makes a chunk that was written durable and then visible. One that was there may have come without its entry being
    /// durable, by a process that was killed just then; this is made up for.
    pub(super) fn finish(&self, id: &ChunkId, written: Option<NamedTempFile>) -> io::Result<()> {
        if let Some(file) = written {
            file.as_file().sync_all()?;
            file.persist(path_in(&self.root, id))?;
        }
        let dir = self.dir_of(id);
        sync_dir(&dir)?;
        self.settle(dir)
    }

    /// Sees to it that a directory will not vanish with what is in it.
    fn settle(&self, dir: PathBuf) -> io::Result<()> {
        if self.settled.lock().contains(&dir) {
            return Ok(());
        }
        for parent in dir.ancestors().skip(1).take_while(|parent| parent.starts_with(&self.root)) {
            sync_dir(parent)?;
        }
        self.settled.lock().insert(dir);
        Ok(())
    }

    /// Removes what was written of chunks and never became one.
    pub(super) fn remove_torn(&self, tenant: &Name, is_held: impl Fn(&ChunkId) -> bool) -> io::Result<u64> {
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

/// How long a file is; none if there is none.
fn len_of(path: &FilePath) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The directory of a chunk in a local directory.
fn dir_in(root: &FilePath, id: &ChunkId) -> PathBuf {
    root.join(CHUNKS).join(id.tenant.as_str()).join(fan_out(&id.hash))
}

/// The file of a chunk in a local directory.
pub(crate) fn path_in(root: &FilePath, id: &ChunkId) -> PathBuf {
    dir_in(root, id).join(id.hash.to_string())
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
