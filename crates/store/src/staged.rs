//! Rows in memory that the tree does not hold yet: one generation that grows, and one that is being written.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use stride_ids::{CellId, Seq};

use crate::{key, scan::StagedRow};

/// Rows by encoded key; none is a deletion.
pub(crate) type Rows = BTreeMap<Vec<u8>, Option<Bytes>>;

/// Rows that belong together: all of them, up to these positions.
#[derive(Clone, Default)]
pub(crate) struct Generation {
    pub(crate) rows: Rows,
    /// Keys of rows that came and went, for whoever has to know all that changed.
    pub(crate) gone: BTreeSet<Vec<u8>>,
    pub(crate) positions: BTreeMap<CellId, Seq>,
    pub(crate) bytes: usize,
}

/// What a row costs in memory beside its bytes, roughly.
const ROW_OVERHEAD: usize = 64;

impl Generation {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let len = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let (key_len, new_len) = (key.len(), len(&value));
        match self.rows.insert(key, value) {
            Some(old) => self.bytes = self.bytes + new_len - len(&old),
            None => self.bytes += key_len + new_len + ROW_OVERHEAD,
        }
    }

    /// Takes a row away as if it had never been staged.
    fn forget(&mut self, key: &[u8]) {
        if let Some(value) = self.rows.remove(key) {
            self.bytes -= key.len() + value.map_or(0, |value| value.len()) + ROW_OVERHEAD;
        }
    }

    fn note_gone(&mut self, key: Vec<u8>) {
        let len = key.len() + ROW_OVERHEAD;
        self.bytes += if self.gone.insert(key) { len } else { 0 };
    }

    /// The keys of all rows that it changes.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.rows.keys().chain(&self.gone)
    }

    fn remove(&mut self, cell: CellId) {
        if self.positions.remove(&cell).is_none() {
            return;
        }
        self.rows.retain(|key, value| {
            let stays = key::cell_of(key) != Some(cell);
            if !stays {
                self.bytes -= key.len() + value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD;
            }
            stays
        });
        self.gone.retain(|key| {
            let stays = key::cell_of(key) != Some(cell);
            self.bytes -= if stays { 0 } else { key.len() + ROW_OVERHEAD };
            stays
        });
    }
}

/// Both generations.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) active: Generation,
    pub(crate) frozen: Option<Arc<Generation>>,
    /// How many generations have gone into the tree.
    pub(crate) stored: u64,
}

impl Staged {
    /// The staged value of a row: `None` if nothing is staged, `Some(None)` if its deletion is.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.rows.get(key));
        self.active.rows.get(key).or_else(frozen).cloned()
    }

    /// Whether a row came after what is frozen.
    pub(crate) fn is_new(&self, key: &[u8]) -> bool {
        let is_frozen = || self.frozen.as_ref().is_some_and(|frozen| frozen.rows.contains_key(key));
        self.active.rows.get(key).is_some_and(Option::is_some) && !is_frozen()
    }

    /// Deletes a row that was never stored: who scans does not have to step over what is left of it.
    pub(crate) fn delete_new(&mut self, key: Vec<u8>, is_noted: bool) {
        self.active.forget(&key);
        if is_noted {
            self.active.note_gone(key);
        }
    }

    /// What was frozen is in the tree now.
    pub(crate) fn end_frozen(&mut self) {
        self.frozen = None;
        self.stored += 1;
    }

    /// Copies what is staged between two keys, in order, until `limit` rows that are no deletions were found: whoever
    /// wants `limit` rows finds them among these and stored ones without looking further.
    pub(crate) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Vec<StagedRow> {
        let mut active = self.active.rows.range::<[u8], _>((from, to)).peekable();
        let mut frozen = self.frozen.iter().flat_map(|frozen| frozen.rows.range::<[u8], _>((from, to))).peekable();
        let (mut found, mut live) = (Vec::new(), 0);
        while live < limit {
            let Some((key, value)) = first_of(&mut active, &mut frozen) else { break };
            live += usize::from(value.is_some());
            found.push((key.clone(), value.clone()));
        }
        found
    }

    /// Whether something of a cell is staged.
    pub(crate) fn has(&self, cell: CellId) -> bool {
        let frozen = self.frozen.as_ref().is_some_and(|frozen| frozen.positions.contains_key(&cell));
        frozen || self.active.positions.contains_key(&cell)
    }

    /// Takes away what is staged of a cell.
    pub(crate) fn remove(&mut self, cell: CellId) {
        self.active.remove(cell);
        if let Some(frozen) = &mut self.frozen {
            Arc::make_mut(frozen).remove(cell);
        }
        self.frozen.take_if(|frozen| frozen.positions.is_empty());
    }

    pub(crate) fn bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }
}

/// The next of two ordered sequences; where both have a key, the newer one's.
fn first_of<'a, K: Ord + 'a, V: 'a>(
    newer: &mut Peekable<impl Iterator<Item = (&'a K, &'a V)>>,
    older: &mut Peekable<impl Iterator<Item = (&'a K, &'a V)>>,
) -> Option<(&'a K, &'a V)> {
    match (newer.peek(), older.peek()) {
        (Some((new, _)), Some((old, _))) if new > old => older.next(),
        (Some((new, _)), Some((old, _))) if new == old => {
            older.next();
            newer.next()
        }
        (Some(_), _) => newer.next(),
        (None, _) => older.next(),
    }
}
