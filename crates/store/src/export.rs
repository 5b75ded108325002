//! Giving out the rows of a cell: all of them, or what changed, of one moment.

use std::{ops::Bound, vec};

use bytes::Bytes;
use stride_ids::{CellId, Seq};

use crate::{
    Store,
    error::Error,
    key,
    tree::{Range, Snapshot},
    value,
};

/// A row as it is exported and imported. What the bytes of the key mean is known to the store alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key; rows are in the order of their keys.
    pub key: Bytes,
    /// Its value; none says that it was deleted.
    pub value: Option<Bytes>,
}

/// The materialised rows of a cell at one position, in order, read as they are asked for. While it lives the store keeps
/// what it shows, whatever is materialised meanwhile.
pub struct Export {
    position: Seq,
    since: Option<Seq>,
    rows: Picture,
}

enum Picture {
    All(Range),
    Changed(Snapshot, vec::IntoIter<Vec<u8>>),
}

impl Store {
    /// The rows of a cell as they are materialised now: only what changed after the record `since`, if that is known, or
    /// all of them.
    pub fn export(&self, cell: CellId, since: Option<Seq>) -> Export {
        // Rows and positions move together under this lock.
        let _one = self.writing.lock();
        let position = self.position(cell);
        let snapshot = self.tree.snapshot();
        let changes = self.changes.as_ref().map(|changes| changes.lock());
        let changed = since.and_then(|since| Some((since, changes?.since(cell, since)?)));
        match changed {
            Some((since, keys)) => {
                Export { position, since: Some(since), rows: Picture::Changed(snapshot, keys.into_iter()) }
            }
            None => Export { position, since: None, rows: Picture::All(rows_of(&snapshot, cell)) },
        }
    }

    /// Lets go of what is remembered of changes up to a record, because nobody will ask for what changed since an earlier
    /// one.
    pub fn forget_changes(&self, cell: CellId, up_to: Seq) {
        if let Some(changes) = &self.changes {
            changes.lock().forget(cell, up_to);
        }
    }
}

/// The rows of a cell, without its position.
pub(crate) fn rows_of(snapshot: &Snapshot, cell: CellId) -> Range {
    let (position, end) = (key::position_of(cell), key::after_all(&cell.0.to_be_bytes()));
    snapshot.range(Bound::Excluded(&position), Bound::Excluded(&end))
}

impl Export {
    /// The last record that is in the rows.
    pub fn position(&self) -> Seq {
        self.position
    }

    /// The record after which the rows changed; none if these are all rows of the cell.
    pub fn since(&self) -> Option<Seq> {
        self.since
    }
}

impl Iterator for Export {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Picture::All(rows) => {
                let opened = |(key, sealed): (lsm_tree::Slice, lsm_tree::Slice)| {
                    Ok(Row { key: Bytes::copy_from_slice(&key), value: Some(value::open(&key, &sealed)?) })
                };
                rows.next().map(|row| row.and_then(opened))
            }
            Picture::Changed(snapshot, keys) => {
                let key = keys.next()?;
                let opened = |sealed: Option<lsm_tree::Slice>| {
                    let value = sealed.map(|sealed| value::open(&key, &sealed)).transpose()?;
                    Ok(Row { key: key.clone().into(), value })
                };
                Some(snapshot.get(&key).and_then(opened))
            }
        }
    }
}
