//! The sorted tree on disk: an LSM tree without a log, since the journal is the log.
//!
//! Always true: what is on disk is one manifest and the tables it names, replaced in one atomic step, so a crash or a
//! full disk leaves the rows of the step before. Rows enter in batches; a reader sees all of a batch or nothing.
//! Two threads change files: whoever flushes, and the compactor. Both locks are taken in the order of their fields.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, Config, Guard as _, IterGuardImpl, SeqNo, SequenceNumberCounter, Slice,
    compaction::Leveled,
};
use parking_lot::Mutex;
use stride_sim::disk::{Disk as _, DiskLock, RealDisk};

use crate::{
    error::Error,
    manifest::{self, Found},
};

/// After how many sorted runs that wait to be merged a failure to merge them is a failure to persist.
const RUNS_MAX: usize = 64;

pub(crate) struct Tree {
    dir: PathBuf,
    tree: AnyTree,
    next: SequenceNumberCounter,
    /// Everything below is complete and may be read.
    visible: SequenceNumberCounter,
    /// Bytes that are in memory only.
    unflushed: AtomicU64,
    /// Which snapshots somebody is about to read, and how many do.
    snapshots: Mutex<BTreeMap<SeqNo, usize>>,
    /// Tables from here on were made by this process.
    first_table: u64,
    flushing: Mutex<()>,
    compacting: Mutex<()>,
    /// Why merging failed, until it succeeds.
    trouble: Mutex<Option<Error>>,
    /// The manifest on disk is newer than the one in memory, so nothing more may be written.
    ahead: AtomicBool,
    _lock: DiskLock,
}

impl Tree {
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let lock = lock(dir)?;
        let rows = dir.join("rows");
        manifest::verify(&rows)?;
        let (next, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let config = Config::new(&rows, next.clone(), visible.clone());
        let cache = Arc::new(Cache::with_capacity_bytes(cache_bytes));
        let tree = config.use_cache(cache).open().map_err(|e| Error::from_tree("open", &rows, &e))?;
        // Numbers go on after the highest one on disk; zero would stand for "sees nothing".
        let after = tree.get_highest_persisted_seqno().unwrap_or(0) + 1;
        next.fetch_max(after);
        visible.fetch_max(after);
        let first_table = tree.next_table_id();
        Ok(Self {
            dir: rows,
            tree,
            next,
            visible,
            unflushed: AtomicU64::new(0),
            snapshots: Mutex::default(),
            first_table,
            flushing: Mutex::default(),
            compacting: Mutex::default(),
            trouble: Mutex::default(),
            ahead: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// Whether there is a tree in a store's directory.
    pub(crate) fn exists(dir: &Path) -> Result<bool, Error> {
        Ok(manifest::verify(&dir.join("rows"))? == Found::Tree)
    }

    /// The newest value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.tree.get(key, SeqNo::MAX).map_err(|e| Error::from_tree("read", &self.dir, &e))
    }

    /// Adds a batch of rows to memory; none deletes. Readers see them together.
    pub(crate) fn insert<'a>(&self, rows: impl Iterator<Item = (&'a [u8], Option<Vec<u8>>)>) {
        let seqno = self.next.next();
        for (key, value) in rows {
            let (bytes, _) = match value {
                Some(value) => self.tree.insert(key, value, seqno),
                None => self.tree.remove(key, seqno),
            };
            self.unflushed.fetch_add(bytes, Ordering::Relaxed);
        }
        self.visible.fetch_max(seqno + 1);
    }

    /// What is complete now. Ranges have to be made before the snapshot is dropped; they outlive it.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut snapshots = self.snapshots.lock();
        let seqno = self.visible.get();
        *snapshots.entry(seqno).or_default() += 1;
        Snapshot { tree: self.clone(), seqno }
    }

    /// Bytes that are in memory only.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Writes what is in memory into a table on disk, and syncs it. A failure leaves it in memory. Nobody may insert
    /// meanwhile.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.refuse_if_ahead()?;
        let flushing = self.flushing.lock();
        let flushed = self.tree.flush_active_memtable(self.watermark());
        drop(flushing);
        if let Err(e) = flushed {
            self.tidy_up();
            return Err(Error::from_tree("write", &self.dir, &e));
        }
        self.unflushed.store(0, Ordering::Relaxed);
        self.forget_old_versions();
        Ok(())
    }

    /// Merges tables once, if there is something to merge. Returns whether there may be more.
    pub(crate) fn compact(&self) -> bool {
        if self.ahead.load(Ordering::Acquire) {
            return false;
        }
        let compacting = self.compacting.lock();
        let before = self.tree.current_version().id();
        let merged = self.tree.compact(Arc::new(Leveled::default()), self.watermark());
        let changed = self.tree.current_version().id() != before;
        drop(compacting);
        let trouble = merged.err().map(|e| Error::from_tree("merge its tables", &self.dir, &e));
        if trouble.is_some() {
            self.tidy_up();
        }
        self.forget_old_versions();
        let sound = trouble.is_none();
        *self.trouble.lock() = trouble;
        sound && changed
    }

    /// Fails if tables cannot be merged and that matters now: they are damaged, or there are too many.
    pub(crate) fn merges(&self) -> Result<(), Error> {
        match &*self.trouble.lock() {
            Some(damaged @ Error::Damaged { .. }) => Err(damaged.clone()),
            Some(trouble) if self.tree.l0_run_count() > RUNS_MAX => Err(trouble.clone()),
            _ => Ok(()),
        }
    }

    /// Compares every table with its checksum in the manifest, and calls `damaged` for those that differ.
    pub(crate) fn verify_tables(&self, mut damaged: impl FnMut(Error)) {
        for table in self.tree.current_version().iter_tables() {
            match manifest::checksum_of_file(&table.path) {
                Ok(checksum) if checksum == table.checksum().into_u128() => {}
                Ok(_) => damaged(Error::damaged_files(&table.path, "the table does not match its checksum")),
                Err(e) => damaged(Error::from_io("read a table", &table.path, &e)),
            }
        }
    }

    /// Below this nobody reads, so older versions of rows may go.
    fn watermark(&self) -> SeqNo {
        let snapshots = self.snapshots.lock();
        snapshots.keys().next().copied().unwrap_or_else(|| self.visible.get())
    }

    /// The tree keeps the version before its newest one, and with it a flushed memtable or merged tables, until the next
    /// write. The next write may be a while.
    fn forget_old_versions(&self) {
        let watermark = self.watermark();
        // What cannot be removed now is removed by the next write or start.
        let _ = self.tree.get_version_history_lock().maintenance(&self.dir, watermark);
    }

    fn refuse_if_ahead(&self) -> Result<(), Error> {
        if self.ahead.load(Ordering::Acquire) {
            let why = "an earlier write was cut off after its point of no return; restart the node".into();
            return Err(Error::Io { doing: "write", why });
        }
        Ok(())
    }

    /// After a failed write: removes the files it left, unless the failure came after the manifest was replaced. Then
    /// memory is behind the disk, and only opening anew brings them together.
    fn tidy_up(&self) {
        let _flushing = self.flushing.lock();
        let _compacting = self.compacting.lock();
        let version = self.tree.current_version();
        if manifest::current_id(&self.dir) != Some(version.id()) {
            self.ahead.store(true, Ordering::Release);
            return;
        }
        let live = version.iter_tables().map(lsm_tree::Table::id).collect::<std::collections::BTreeSet<_>>();
        for id in manifest::table_ids(&self.dir).unwrap_or_default() {
            if id >= self.first_table && !live.contains(&id) {
                // What cannot be removed now is removed by the next start.
                let _ = manifest::remove_table(&self.dir, id);
            }
        }
    }
}

/// A moment of the tree.
pub(crate) struct Snapshot {
    tree: Arc<Tree>,
    seqno: SeqNo,
}

impl Snapshot {
    /// The value that a key had.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.tree.tree.get(key, self.seqno).map_err(|e| Error::from_tree("read", &self.tree.dir, &e))
    }

    /// Rows between two keys, in order.
    pub(crate) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
        let rows = self.tree.tree.range::<&[u8], _>((from, to), self.seqno, None);
        Range { dir: self.tree.dir.clone(), rows }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut snapshots = self.tree.snapshots.lock();
        if let Some(readers) = snapshots.get_mut(&self.seqno) {
            *readers -= 1;
            if *readers == 0 {
                snapshots.remove(&self.seqno);
            }
        }
    }
}

/// Rows as they are stored, in order.
pub(crate) struct Range {
    dir: PathBuf,
    rows: Box<dyn DoubleEndedIterator<Item = IterGuardImpl> + Send + 'static>,
}

impl Iterator for Range {
    type Item = Result<(Slice, Slice), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.into_inner().map_err(|e| Error::from_tree("read", &self.dir, &e)))
    }
}

/// Makes the directory, durably, and takes it for this process.
/// The file in a store's directory that is locked for as long as a process has the store.
pub fn lock_file(dir: &Path) -> PathBuf {
    dir.join("lock")
}

fn lock(dir: &Path) -> Result<DiskLock, Error> {
    let failed = |e: io::Error| Error::from_io("open", dir, &e);
    if !dir.is_dir() {
        RealDisk.create_dir(dir).map_err(failed)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        RealDisk.sync_dir(parent.unwrap_or(Path::new("."))).map_err(failed)?;
    }
    RealDisk.lock(&lock_file(dir)).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { dir: dir.display().to_string() },
        _ => failed(e),
    })
}
