//! The store: two generations in memory over the tree.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use stride_ids::{Address, AgentKey, CellId, Layout, Name, Seq};

use crate::{
    changes::Changes,
    compactor::Compactor,
    error::Error,
    key::{self, RowKey, Rows},
    scan::Scan,
    staged::{Generation, Staged},
    summary::Summary,
    tree::Tree,
    value,
};

/// How much memory the store may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For blocks that were read, in bytes.
    pub cache_bytes: u64,
    /// For materialised rows before they are written into a table on disk, in bytes.
    pub memtable_bytes: u64,
    /// Of how many rows of each cell it is remembered that they changed, so that an export need not have all rows; zero if
    /// nobody exports.
    pub changes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, memtable_bytes: 8 << 20, changes_max: 0 }
    }
}

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which row.
    pub row: RowKey,
    /// Its value from now on; none deletes it.
    pub value: Option<Bytes>,
}

/// The materialised state of all cells of a node.
pub struct Store {
    // Dropped first: its thread works on the tree.
    compactor: Compactor,
    pub(crate) tree: Arc<Tree>,
    pub(crate) layout: Layout,
    memtable_bytes: u64,
    pub(crate) staged: RwLock<Staged>,
    pub(crate) summaries: RwLock<Vec<Summary>>,
    /// What changed since when, if anybody wants to know.
    pub(crate) changes: Option<Mutex<Changes>>,
    /// The cells into which rows are being imported.
    pub(crate) importing: Mutex<BTreeSet<CellId>>,
    /// One writer at a time.
    pub(crate) writing: Mutex<()>,
    abandoned: AtomicBool,
}

/// Writes what is materialised, so that the next start has less to replay. It may fail; the journal has everything.
impl Drop for Store {
    fn drop(&mut self) {
        if !self.abandoned.load(Ordering::Relaxed) && self.tree.unflushed_bytes() > 0 {
            let _ = self.tree.flush();
        }
    }
}

impl Store {
    /// Opens the store in a directory, or creates it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it, [`Error::CellsFixed`] if it was created with other cells,
    /// [`Error::Damaged`] if what is there cannot be trusted.
    pub fn open(dir: &Path, layout: impl Into<Layout>, settings: Settings) -> Result<Self, Error> {
        let store = Self::load(dir, layout.into(), settings)?;
        store.remove_broken_imports()?;
        store.compactor.nudge();
        Ok(store)
    }

    /// Opens a store to read what is there. As long as nothing is materialised its tables stay as they are.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_look(dir: &Path, layout: impl Into<Layout>) -> Result<Self, Error> {
        Self::load(dir, layout.into(), Settings::default())
    }

    fn load(dir: &Path, layout: Layout, settings: Settings) -> Result<Self, Error> {
        let cells = layout.cells();
        let tree = Arc::new(Tree::open(dir, settings.cache_bytes)?);
        if let Some(stored) = created_with(&tree)?
            && stored != cells
        {
            return Err(Error::CellsFixed { dir: dir.display().to_string(), stored, asked: cells });
        }
        let summaries = (0..cells).map(|cell| read_summary(&tree, CellId(cell))).collect::<Result<Vec<_>, _>>()?;
        let changes = (settings.changes_max > 0)
            .then(|| Mutex::new(Changes::new(settings.changes_max, summaries.iter().map(|summary| summary.seq))));
        let compactor = Compactor::start(tree.clone()).map_err(|e| Error::from_io("start its thread", dir, &e))?;
        Ok(Self {
            compactor,
            tree,
            layout,
            memtable_bytes: settings.memtable_bytes,
            staged: RwLock::default(),
            summaries: RwLock::new(summaries),
            changes,
            importing: Mutex::default(),
            writing: Mutex::default(),
            abandoned: AtomicBool::new(false),
        })
    }

    /// The rows of a cell at position zero are what is left of an import that a crash cut off.
    fn remove_broken_imports(&self) -> Result<(), Error> {
        for cell in (0..self.layout.cells()).map(CellId) {
            let Summary { seq, rows, .. } = self.summaries.read()[usize::from(cell.0)];
            if seq == Seq::ZERO && rows > 0 {
                self.forget(cell)?;
            }
        }
        Ok(())
    }

    /// Which cell an agent belongs to.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The last record of a cell that is materialised.
    pub fn position(&self, cell: CellId) -> Seq {
        self.summaries.read()[usize::from(cell.0)].seq
    }

    /// Makes writes visible to reads at once, in memory only. Called in journal order per cell.
    pub fn stage(&self, cell: CellId, seq: Seq, writes: Vec<Write>) {
        let encoded: Vec<_> = writes.into_iter().map(|write| (write.row.encode(&self.layout), write.value)).collect();
        let (stored, short_lived) = self.short_lived(&encoded);
        let mut staged = self.staged.write();
        let is_same_tree = staged.stored == stored;
        for ((key, value), is_short_lived) in encoded.into_iter().zip(short_lived) {
            debug_assert_eq!(key::cell_of(&key), Some(cell), "a record changes rows of its own cell only");
            if is_short_lived && is_same_tree && staged.is_new(&key) {
                staged.delete_new(key, self.changes.is_some());
            } else {
                staged.active.put(key, value);
            }
        }
        staged.active.positions.insert(cell, seq);
    }

    /// Which of the writes delete a row that only memory has, and when that was so. Rows that come and go are never stored then.
    fn short_lived(&self, writes: &[(Vec<u8>, Option<Bytes>)]) -> (u64, Vec<bool>) {
        let (stored, mut short_lived) = {
            let staged = self.staged.read();
            let is_new = |(key, value): &(Vec<u8>, Option<Bytes>)| value.is_none() && staged.is_new(key);
            (staged.stored, writes.iter().map(is_new).collect::<Vec<bool>>())
        };
        // What cannot be read may be there. The lock is not held: this may go to the disk.
        for ((key, _), is_short_lived) in writes.iter().zip(&mut short_lived) {
            *is_short_lived = *is_short_lived && matches!(self.tree.get(key), Ok(None));
        }
        (stored, short_lived)
    }

    /// One row.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what is stored is not what was written.
    pub fn get(&self, row: &RowKey) -> Result<Option<Bytes>, Error> {
        let key = row.encode(&self.layout);
        if let Some(staged) = self.staged.read().get(&key) {
            return Ok(staged);
        }
        self.tree.get(&key)?.map(|sealed| value::open(&key, &sealed)).transpose()
    }

    /// Entries of an agent's keyed map whose key starts with `prefix` and comes after `after`, in order.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn scan_map(
        &self,
        agent: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, Error> {
        let base = key::map_of(agent, &self.layout);
        let full = [&base, prefix.as_bytes()].concat();
        let after = after.filter(|after| *after >= prefix).map(|after| [&base, after.as_bytes()].concat());
        let entry = |row: Result<(Vec<u8>, Bytes), Error>| {
            let (key, value) = row?;
            let name = String::from_utf8(key[base.len()..].to_vec()).map_err(|_| value::damaged(&key))?;
            Ok((name, value))
        };
        self.scan(&full, after.as_deref(), limit).take(limit).map(entry).collect()
    }

    /// The agents of a type over all cells for which `among` holds, in key order, after `after`. A store may have cells whose
    /// newest rows are elsewhere.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn list_agents(
        &self,
        tenant: &Name,
        kind: &Name,
        after: Option<&AgentKey>,
        limit: usize,
        among: impl Fn(CellId) -> bool,
    ) -> Result<Vec<Address>, Error> {
        let cells = (0..self.layout.cells()).map(CellId).filter(|cell| among(*cell));
        let prefixes = cells.map(|cell| key::headers_of(cell, tenant, kind));
        let mut scans: Vec<_> = {
            // All cells at one moment.
            let staged = self.staged.read();
            let from = |prefix: Vec<u8>| {
                let after = after.map(|after| [&prefix, after.as_str().as_bytes()].concat());
                self.scan_of(&staged, &prefix, after.as_deref(), limit)
            };
            prefixes.map(from).collect()
        };
        let count = scans.len();
        let mut next_of = |scan: usize| -> Result<Option<Reverse<(AgentKey, usize)>>, Error> {
            let Some((key, _)) = scans[scan].next().transpose()? else { return Ok(None) };
            let Some(RowKey::Header(agent)) = RowKey::decode(&key) else { return Err(value::damaged(&key)) };
            Ok(Some(Reverse((agent.key, scan))))
        };
        let mut heads = BinaryHeap::new();
        for scan in 0..count {
            heads.extend(next_of(scan)?);
        }
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(Reverse((key, scan))) = heads.pop() else { break };
            found.push(Address { tenant: tenant.clone(), kind: kind.clone(), key });
            heads.extend(next_of(scan)?);
        }
        Ok(found)
    }

    /// Rows that lie together, in order, after `after`, `limit` at most.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn rows(&self, rows: Rows<'_>, after: Option<&RowKey>, limit: usize) -> Result<Vec<(RowKey, Bytes)>, Error> {
        let prefix = rows.prefix(&self.layout);
        let after = after.map(|row| row.encode(&self.layout));
        let row = |row: Result<(Vec<u8>, Bytes), Error>| {
            let (key, value) = row?;
            Ok((RowKey::decode(&key).ok_or_else(|| value::damaged(&key))?, value))
        };
        self.scan(&prefix, after.as_deref(), limit).take(limit).map(row).collect()
    }

    /// Every row of one agent, but for when its timers are due: those are rows of its cell.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn agent_rows(&self, agent: &Address) -> Result<Vec<RowKey>, Error> {
        let mut rows = Vec::new();
        let header = RowKey::Header(agent.clone());
        if self.get(&header)?.is_some() {
            rows.push(header);
        }
        for prefix in key::prefixes_of(agent, &self.layout) {
            for row in self.scan(&prefix, None, usize::MAX) {
                let (key, _) = row?;
                rows.push(RowKey::decode(&key).ok_or_else(|| value::damaged(&key))?);
            }
        }
        Ok(rows)
    }

    /// What is staged and not yet materialised, in bytes of memory, roughly.
    pub fn staged_bytes(&self) -> usize {
        self.staged.read().bytes()
    }

    /// Freezes what is staged now. Returns for every cell the record that must be durable in the journal before
    /// [`Store::materialise`] may be called; none if nothing is staged. While a frozen generation waits, that one's
    /// records are returned again, so that whoever was cut off between the two calls cannot skip the wait.
    pub fn freeze(&self) -> Option<Vec<(CellId, Seq)>> {
        let mut staged = self.staged.write();
        if staged.frozen.is_none() {
            if staged.active.positions.is_empty() {
                return None;
            }
            staged.frozen = Some(Arc::new(std::mem::take(&mut staged.active)));
        }
        staged.frozen.as_ref().map(|frozen| frozen.positions.iter().map(|(cell, seq)| (*cell, *seq)).collect())
    }

    /// Adds the frozen generation with its positions to the tree in one atomic batch, and lets it go. Does nothing if
    /// there is none. Tables are written here only when the tree's memory is full.
    ///
    /// # Errors
    /// The disk is full, say. Nothing is lost and reads go on: what could not be written stays in memory, and the next
    /// call tries again.
    pub fn materialise(&self) -> Result<(), Error> {
        let _one = self.writing.lock();
        self.make_room()?;
        let Some(frozen) = self.staged.read().frozen.clone() else { return Ok(()) };
        let summaries = self.summaries_with(&frozen)?;
        let sealed = |(key, value): (&Vec<u8>, &Option<Bytes>)| value.as_ref().map(|value| value::seal(key, value));
        let rows = frozen.rows.iter().map(|row| (row.0.as_slice(), sealed(row)));
        let positions: Vec<_> = frozen.positions.keys().map(|cell| (*cell, key::position_of(*cell))).collect();
        let positions = positions.iter().map(|(cell, key)| {
            let summary = summaries[usize::from(cell.0)].encode();
            (key.as_slice(), Some(value::seal(key, &summary)))
        });
        let created = (&key::CREATED[..], Some(value::seal(&key::CREATED, &created(self.layout.cells()))));
        self.tree.insert(rows.chain(positions).chain([created]));
        *self.summaries.write() = summaries;
        if let Some(changes) = &self.changes {
            changes.lock().note(&frozen);
        }
        self.staged.write().end_frozen();
        self.make_room()
    }

    /// Makes what is materialised survive a power loss. Returns the durable position of every cell, up to which the
    /// journal may be truncated.
    ///
    /// # Errors
    /// As [`Store::materialise`]; and if tables on disk turn out to be damaged while they are merged.
    pub fn persist(&self) -> Result<Vec<(CellId, Seq)>, Error> {
        let _one = self.writing.lock();
        let summaries = self.summaries.read().clone();
        if self.tree.unflushed_bytes() > 0 {
            self.flush()?;
        }
        self.tree.merges()?;
        Ok(summaries.iter().enumerate().map(|(cell, summary)| (CellId(cell as u16), summary.seq)).collect())
    }

    /// Ends as a crash would, without writing what is only in memory. For tests of recovery.
    pub fn abandon(self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn make_room(&self) -> Result<(), Error> {
        if self.tree.unflushed_bytes() >= self.memtable_bytes { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), Error> {
        self.tree.flush()?;
        self.compactor.nudge();
        Ok(())
    }

    /// What the cells add up to once a generation is written. Needs the rows that it replaces.
    fn summaries_with(&self, generation: &Generation) -> Result<Vec<Summary>, Error> {
        let mut summaries = self.summaries.read().clone();
        for (key, value) in &generation.rows {
            let Some(cell) = key::cell_of(key) else { continue };
            let summary = &mut summaries[usize::from(cell.0)];
            if let Some(old) = self.tree.get(key)? {
                summary.remove(value::checksum_of(key, &old)?);
            }
            if let Some(value) = value {
                summary.add(value::checksum(key, value));
            }
        }
        for (cell, seq) in &generation.positions {
            summaries[usize::from(cell.0)].seq = *seq;
        }
        Ok(summaries)
    }

    /// Rows whose key starts with `prefix` and comes after `after`. Only the first `limit` may be taken.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Scan {
        self.scan_of(&self.staged.read(), prefix, after, limit)
    }

    /// The lock on what is staged keeps both sides at one moment: nothing can be frozen, and so nothing newer can be
    /// materialised, while it is held.
    fn scan_of(&self, staged: &Staged, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Scan {
        let (from, to) = (after.map_or(Bound::Included(prefix), Bound::Excluded), key::after_all(prefix));
        let to = Bound::Excluded(to.as_slice());
        Scan::new(staged.range(from, to, limit), self.tree.snapshot().range(from, to))
    }
}

/// What a store is created with: the version of its format, and the cells.
const FORMAT: u8 = 1;

pub(crate) fn created(cells: u16) -> [u8; 3] {
    let [high, low] = cells.to_be_bytes();
    [FORMAT, high, low]
}

/// With how many cells the store was created; none if nothing was ever written into it.
pub(crate) fn created_with(tree: &Tree) -> Result<Option<u16>, Error> {
    let Some(sealed) = tree.get(&key::CREATED)? else { return Ok(None) };
    match *value::open(&key::CREATED, &sealed)? {
        [FORMAT, high, low] => Ok(Some(u16::from_be_bytes([high, low]))),
        _ => Err(Error::Damaged {
            what: "it was written by another version of Stride, or it is not a store".into(),
            at_risk: "nothing, as long as it is not opened with this version".into(),
        }),
    }
}

/// What is stored for a cell, zeros if nothing is.
pub(crate) fn read_summary(tree: &Tree, cell: CellId) -> Result<Summary, Error> {
    let key = key::position_of(cell);
    let Some(sealed) = tree.get(&key)? else { return Ok(Summary::default()) };
    Summary::decode(&key, &value::open(&key, &sealed)?)
}
