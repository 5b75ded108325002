//! Taking in the rows of a cell that another store exported.
//!
//! Always true: rows and summary enter the tree together, batch by batch. What fits into one batch is there whole or not at
//! all; if there is more, the cell is at position zero until the last batch, and a store that is opened with rows of a cell
//! at position zero removes them.

use std::{iter::Peekable, sync::Arc};

use bytes::Bytes;
use stride_ids::{CellId, Seq};

use crate::{
    Store,
    error::Error,
    export::{Row, rows_of},
    key::{self, RowKey},
    store::created,
    summary::Summary,
    tree::Range,
    value,
};

/// What enters the tree at once, in bytes.
const BATCH_BYTES: usize = 4 << 20;
/// What a row costs in a batch beside its bytes, roughly.
const ROW_OVERHEAD: usize = 64;

/// Rows on their way into a cell. Until it is finished the cell is where it was, or empty at position zero.
pub struct Import {
    store: Arc<Store>,
    cell: CellId,
    position: Seq,
    /// The rows that are not in the import and have to go; none if only changes come.
    replaced: Option<Peekable<Range>>,
    last: Bytes,
    batch: Batch,
    /// What the cell adds up to in the tree, and with the batch.
    written: Summary,
    summary: Summary,
    /// The cell is at position zero, with some of the rows.
    begun: bool,
}

#[derive(Default)]
struct Batch {
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, key: &[u8], sealed: Option<Vec<u8>>) {
        self.bytes += key.len() + sealed.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD;
        self.rows.push((key.to_vec(), sealed));
    }
}

impl Store {
    /// Begins to replace everything that the store has of a cell by the rows of an export of all rows, which are at
    /// `position`. Nobody may read or stage rows of the cell meanwhile.
    ///
    /// # Errors
    /// [`Error::Import`] if something of the cell is staged, or another import of it is under way.
    pub fn import(self: &Arc<Self>, cell: CellId, position: Seq) -> Result<Import, Error> {
        Import::new(self, cell, position, true)
    }

    /// Begins to bring a cell forward to `position` by the rows of an export of what changed after `since`. The cell has to
    /// be there already, or anywhere on the way: what a changed row was in between makes no difference.
    ///
    /// # Errors
    /// As [`Store::import`]; and if the cell is not between the two.
    pub fn import_changes(self: &Arc<Self>, cell: CellId, since: Seq, position: Seq) -> Result<Import, Error> {
        let import = Import::new(self, cell, position, false)?;
        let at = import.written.seq;
        if at == Seq::ZERO || !(since..=position).contains(&at) {
            return Err(refused(
                cell,
                format!("it is at {}, and these are changes from {} to {}", at.0, since.0, position.0),
            ));
        }
        Ok(import)
    }

    /// Removes everything that the store has of a cell, staged or not; it is at position zero then.
    ///
    /// # Errors
    /// As [`Store::materialise`].
    pub fn forget(&self, cell: CellId) -> Result<(), Error> {
        self.unstage(cell);
        let written = self.summaries.read()[usize::from(cell.0)];
        self.clear(cell, written)
    }

    /// Removes the rows of a cell that add up to this, unless somebody else has begun to change it.
    fn clear(&self, cell: CellId, mut written: Summary) -> Result<(), Error> {
        if written == Summary::default() {
            return Ok(());
        }
        let rows = rows_of(&self.tree.snapshot(), cell);
        let (mut summary, mut batch) = (written.at(Seq::ZERO), Batch::default());
        for row in rows {
            let (key, sealed) = row?;
            summary.remove(value::checksum_of(&key, &sealed)?);
            batch.push(&key, None);
            if batch.bytes >= BATCH_BYTES {
                self.write_batch(cell, &mut written, summary, std::mem::take(&mut batch))?;
            }
        }
        self.write_batch(cell, &mut written, summary, batch)
    }

    /// Takes away what is staged of a cell and not materialised: records that will never be durable, because the cell has
    /// another owner.
    pub fn unstage(&self, cell: CellId) {
        let _one = self.writing.lock();
        self.staged.write().remove(cell);
    }

    /// Writes rows of a cell together with what it adds up to with them.
    fn write_batch(&self, cell: CellId, written: &mut Summary, summary: Summary, batch: Batch) -> Result<(), Error> {
        let _one = self.writing.lock();
        if self.staged.read().has(cell) || self.summaries.read()[usize::from(cell.0)] != *written {
            return Err(refused(cell, "somebody else changes it".into()));
        }
        self.make_room()?;
        let position = key::position_of(cell);
        let beside = [
            (&position[..], Some(value::seal(&position, &summary.encode()))),
            (&key::CREATED[..], Some(value::seal(&key::CREATED, &created(self.layout.cells())))),
        ];
        let Batch { rows, .. } = batch;
        self.tree.insert(rows.iter().map(|(key, sealed)| (key.as_slice(), sealed.clone())).chain(beside));
        self.summaries.write()[usize::from(cell.0)] = summary;
        *written = summary;
        if let Some(changes) = &self.changes {
            changes.lock().restart(cell, summary.seq);
        }
        Ok(())
    }
}

fn refused(cell: CellId, why: String) -> Error {
    Error::Import { cell, why }
}

impl Import {
    fn new(store: &Arc<Store>, cell: CellId, position: Seq, replace: bool) -> Result<Self, Error> {
        if store.staged.read().has(cell) {
            return Err(refused(cell, "it has staged rows".into()));
        }
        if !store.importing.lock().insert(cell) {
            return Err(refused(cell, "another import of it is under way".into()));
        }
        let written = store.summaries.read()[usize::from(cell.0)];
        let replaced = replace.then(|| rows_of(&store.tree.snapshot(), cell).peekable());
        let (store, last, batch) = (store.clone(), Bytes::new(), Batch::default());
        Ok(Self { store, cell, position, replaced, last, batch, written, summary: written, begun: false })
    }

    /// Adds the next row. Blocks now and then, while a table is written.
    ///
    /// # Errors
    /// [`Error::Import`] if the row is out of order, or of another cell; otherwise as [`Store::materialise`].
    pub fn push(&mut self, row: &Row) -> Result<(), Error> {
        // Not whether its agent belongs there: the rule of its type may not have come to this node yet.
        let belongs = RowKey::decode(&row.key).is_some() && key::cell_of(&row.key) == Some(self.cell);
        if !belongs || row.key <= self.last || (self.replaced.is_some() && row.value.is_none()) {
            return Err(refused(self.cell, "a row does not belong where it is".into()));
        }
        self.last = row.key.clone();
        let old = match &self.replaced {
            None => self.store.tree.get(&row.key)?,
            Some(_) => {
                self.remove_until(Some(&row.key))?;
                self.replaced_now(&row.key)
            }
        };
        let sealed = row.value.as_ref().map(|value| value::seal(&row.key, value));
        if old.as_deref() != sealed.as_deref() {
            if let Some(old) = old {
                self.summary.remove(value::checksum_of(&row.key, &old)?);
            }
            if let Some(sealed) = &sealed {
                self.summary.add(value::checksum_of(&row.key, sealed)?);
            }
            self.batch.push(&row.key, sealed);
        }
        self.write_if_full()
    }

    /// Ends the import: now the cell is at its position.
    ///
    /// # Errors
    /// As [`Import::push`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.remove_until(None)?;
        let (summary, batch) = (self.summary.at(self.position), std::mem::take(&mut self.batch));
        self.store.write_batch(self.cell, &mut self.written, summary, batch)?;
        self.begun = false;
        Ok(())
    }

    /// The row that is replaced by the one with this key.
    fn replaced_now(&mut self, key: &[u8]) -> Option<lsm_tree::Slice> {
        let same =
            |row: &Result<(lsm_tree::Slice, lsm_tree::Slice), Error>| matches!(row, Ok((old, _)) if **old == *key);
        self.replaced.as_mut()?.next_if(same)?.ok().map(|(_, sealed)| sealed)
    }

    /// Removes the old rows that come before a key, or all that are left.
    fn remove_until(&mut self, end: Option<&[u8]>) -> Result<(), Error> {
        let before = |row: &Result<(lsm_tree::Slice, lsm_tree::Slice), Error>| match (row, end) {
            (Ok((key, _)), Some(end)) => **key < *end,
            _ => true,
        };
        while let Some(row) = self.replaced.as_mut().and_then(|rows| rows.next_if(before)) {
            let (key, sealed) = row?;
            self.summary.remove(value::checksum_of(&key, &sealed)?);
            self.batch.push(&key, None);
            self.write_if_full()?;
        }
        Ok(())
    }

    fn write_if_full(&mut self) -> Result<(), Error> {
        if self.batch.bytes < BATCH_BYTES {
            return Ok(());
        }
        let (summary, batch) = (self.summary.at(Seq::ZERO), std::mem::take(&mut self.batch));
        self.store.write_batch(self.cell, &mut self.written, summary, batch)?;
        self.begun = true;
        Ok(())
    }
}

/// What broke off leaves nothing. Should that not succeed, the next import or start removes what is there. Whoever took the
/// cell over meanwhile replays the journal over it, which makes it right, and keeps it.
impl Drop for Import {
    fn drop(&mut self) {
        if self.begun {
            let _ = self.store.clear(self.cell, self.written);
        }
        self.store.importing.lock().remove(&self.cell);
    }
}
