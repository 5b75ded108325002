//! The store: two generations in memory over one fjall keyspace.
//!
//! One keyspace on purpose: its writes are recovered as a prefix of what was written, and rows and positions are
//! written in the same batch, so a loss can only show as an older position.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use stride_ids::{Address, AgentKey, CellId, Name, Seq};

use crate::{
    error::Error,
    key::{self, RowKey},
    staged::{Generation, Staged},
    value,
};

/// How much memory the store may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For blocks that were read, in bytes.
    pub cache_bytes: u64,
    /// For rows before they are sorted to disk, in bytes.
    pub memtable_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, memtable_bytes: 8 << 20 }
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
    dir: PathBuf,
    cells: u16,
    settings: Settings,
    /// None while it has to be opened anew after a failed write.
    database: RwLock<Option<Open>>,
    staged: RwLock<Staged>,
    positions: RwLock<Vec<Seq>>,
    /// One writer at a time.
    writing: Mutex<()>,
}

struct Open {
    database: Database,
    rows: Keyspace,
}

impl Open {
    fn at(dir: &Path, settings: &Settings) -> Result<Self, Error> {
        let failed = |e: fjall::Error| Error::from_fjall("be opened", dir, &e);
        let builder = Database::builder(dir).cache_size(settings.cache_bytes).worker_threads(1);
        let database = builder.open().map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(settings.memtable_bytes);
        let rows = database.keyspace("rows", options).map_err(failed)?;
        Ok(Self { database, rows })
    }
}

impl Store {
    /// Opens the store in a directory, or creates it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it, [`Error::Damaged`] if what is there cannot be trusted.
    pub fn open(dir: &Path, cells: u16, settings: Settings) -> Result<Self, Error> {
        let open = Open::at(dir, &settings)?;
        let positions =
            (0..cells).map(|cell| read_position(&open.rows, dir, CellId(cell))).collect::<Result<_, _>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            cells,
            settings,
            database: RwLock::new(Some(open)),
            staged: RwLock::default(),
            positions: RwLock::new(positions),
            writing: Mutex::default(),
        })
    }

    /// The last record of a cell that is materialised.
    pub fn position(&self, cell: CellId) -> Seq {
        self.positions.read()[usize::from(cell.0)]
    }

    /// Makes writes visible to reads at once, in memory only. Called in journal order per cell.
    pub fn stage(&self, cell: CellId, seq: Seq, writes: Vec<Write>) {
        let encoded: Vec<_> = writes.into_iter().map(|write| (write.row.encode(self.cells), write.value)).collect();
        let mut staged = self.staged.write();
        for (key, value) in encoded {
            staged.active.put(key, value);
        }
        staged.active.positions.insert(cell, seq);
    }

    /// One row.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what is stored is not what was written.
    pub fn get(&self, row: &RowKey) -> Result<Option<Bytes>, Error> {
        let key = row.encode(self.cells);
        if let Some(staged) = self.staged.read().get(&key) {
            return Ok(staged);
        }
        let open = self.opened()?;
        let stored = open.rows.get(&key).map_err(|e| self.failed("be read", &e))?;
        stored.map(|sealed| value::open(&key, &sealed)).transpose()
    }

    /// Entries of an agent's keyed map whose key starts with `prefix` and comes after `after`, in order.
    pub fn scan_map(
        &self,
        agent: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, Error> {
        let base = key::map_of(agent, self.cells);
        let full = [&base, prefix.as_bytes()].concat();
        let after = after.filter(|after| *after >= prefix).map(|after| [&base, after.as_bytes()].concat());
        let rows = self.scan(&full, after.as_deref(), limit)?;
        let entry = |(key, value): (Vec<u8>, Bytes)| {
            let name = String::from_utf8(key[base.len()..].to_vec()).map_err(|_| value::damaged(&key))?;
            Ok((name, value))
        };
        rows.into_iter().map(entry).collect()
    }

    /// The agents of a type over all cells, in key order, after `after`.
    pub fn list_agents(
        &self,
        tenant: &Name,
        kind: &Name,
        after: Option<&AgentKey>,
        limit: usize,
    ) -> Result<Vec<Address>, Error> {
        let mut merged = BTreeMap::new();
        for cell in (0..self.cells).map(CellId) {
            let prefix = key::headers_of(cell, tenant, kind);
            let after = after.map(|after| [&prefix, after.as_str().as_bytes()].concat());
            for (key, _) in self.scan(&prefix, after.as_deref(), limit)? {
                let Some(RowKey::Header(agent)) = RowKey::decode(&key) else { return Err(value::damaged(&key)) };
                merged.insert(agent.key.clone(), agent);
            }
            while merged.len() > limit {
                merged.pop_last();
            }
        }
        Ok(merged.into_values().collect())
    }

    /// Every row of one agent.
    pub fn agent_rows(&self, agent: &Address) -> Result<Vec<RowKey>, Error> {
        let mut rows = Vec::new();
        let header = RowKey::Header(agent.clone());
        if self.get(&header)?.is_some() {
            rows.push(header);
        }
        for prefix in [key::map_of(agent, self.cells), key::replies_of(agent, self.cells)] {
            for (key, _) in self.scan(&prefix, None, usize::MAX)? {
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
    /// [`Store::materialise`] may be called; none if nothing is staged or a frozen generation waits already.
    pub fn freeze(&self) -> Option<Vec<(CellId, Seq)>> {
        let mut staged = self.staged.write();
        if staged.frozen.is_some() || staged.active.positions.is_empty() {
            return None;
        }
        let frozen = std::mem::take(&mut staged.active);
        let positions = frozen.positions.iter().map(|(cell, seq)| (*cell, *seq)).collect();
        staged.frozen = Some(Arc::new(frozen));
        Some(positions)
    }

    /// Writes the frozen generation with its positions in one atomic batch, and drops it from memory. Does nothing if
    /// there is none. A failure keeps it in memory, so the next call tries again.
    pub fn materialise(&self) -> Result<(), Error> {
        let _one = self.writing.lock();
        let Some(frozen) = self.staged.read().frozen.clone() else { return Ok(()) };
        self.ensure_open()?;
        if let Err(e) = self.write(&frozen) {
            self.close();
            return Err(e);
        }
        let mut positions = self.positions.write();
        for (cell, seq) in &frozen.positions {
            positions[usize::from(cell.0)] = *seq;
        }
        drop(positions);
        self.staged.write().frozen = None;
        Ok(())
    }

    /// Makes what is materialised survive a power loss. Returns the durable position of every cell, up to which the
    /// journal may be truncated.
    pub fn persist(&self) -> Result<Vec<(CellId, Seq)>, Error> {
        let _one = self.writing.lock();
        let positions = self.positions.read().clone();
        self.ensure_open()?;
        let persisted = self.opened()?.database.persist(PersistMode::SyncAll);
        if let Err(e) = persisted {
            self.close();
            return Err(self.failed("be synced", &e));
        }
        Ok(positions.into_iter().enumerate().map(|(cell, seq)| (CellId(cell as u16), seq)).collect())
    }

    fn write(&self, generation: &Generation) -> Result<(), Error> {
        let open = self.opened()?;
        let mut batch = open.database.batch();
        for (key, value) in &generation.rows {
            match value {
                Some(value) => batch.insert(&open.rows, key.as_slice(), value::seal(key, value)),
                None => batch.remove(&open.rows, key.as_slice()),
            }
        }
        for (cell, seq) in &generation.positions {
            let key = key::position_of(*cell);
            let sealed = value::seal(&key, &seq.0.to_le_bytes());
            batch.insert(&open.rows, key, sealed);
        }
        batch.commit().map_err(|e| self.failed("be written", &e))
    }

    fn opened(&self) -> Result<MappedRwLockReadGuard<'_, Open>, Error> {
        let closed = |_| Error::Io { doing: "be read", why: "it is being opened anew after a failed write".into() };
        RwLockReadGuard::try_map(self.database.read(), Option::as_ref).map_err(closed)
    }

    /// After a failed write fjall refuses all others, so it is closed, and opened anew before the next write. What it
    /// holds then is a prefix of what was written; the rest is still staged.
    fn close(&self) {
        *self.database.write() = None;
    }

    fn ensure_open(&self) -> Result<(), Error> {
        let mut database = self.database.write();
        if database.is_none() {
            *database = Some(Open::at(&self.dir, &self.settings)?);
        }
        Ok(())
    }

    /// Rows whose key starts with `prefix` and comes after `after`, staged ones over stored ones.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        // Staged rows first: what leaves memory meanwhile is then found in fjall, never in neither.
        let mut staged = self.staged.read().range(prefix, from).into_iter().peekable();
        let open = self.opened()?;
        let mut found = Vec::new();
        let mut push = |key: Vec<u8>, value: Option<Bytes>| {
            found.extend(value.map(|value| (key, value)));
            found.len() < limit
        };
        for stored in open.rows.range::<&[u8], _>((from, Bound::Unbounded)) {
            let (key, sealed) = stored.into_inner().map_err(|e| self.failed("be read", &e))?;
            if !key.starts_with(prefix) {
                break;
            }
            while let Some((key, value)) = staged.next_if(|(staged, _)| staged.as_slice() < &*key) {
                if !push(key, value) {
                    return Ok(found);
                }
            }
            let row = match staged.next_if(|(staged, _)| staged.as_slice() == &*key) {
                Some(newer) => newer,
                None => (key.to_vec(), Some(value::open(&key, &sealed)?)),
            };
            if !push(row.0, row.1) {
                return Ok(found);
            }
        }
        for (key, value) in staged {
            if !push(key, value) {
                break;
            }
        }
        Ok(found)
    }

    fn failed(&self, doing: &'static str, error: &fjall::Error) -> Error {
        Error::from_fjall(doing, &self.dir, error)
    }
}

/// The position that is stored for a cell, zero if there is none.
fn read_position(rows: &Keyspace, dir: &Path, cell: CellId) -> Result<Seq, Error> {
    let key = key::position_of(cell);
    let stored = rows.get(&key).map_err(|e| Error::from_fjall("be read", dir, &e))?;
    let Some(sealed) = stored else { return Ok(Seq::ZERO) };
    let bytes = value::open(&key, &sealed)?;
    let bytes: [u8; 8] = bytes.as_ref().try_into().map_err(|_| value::damaged(&key))?;
    Ok(Seq(u64::from_le_bytes(bytes)))
}
