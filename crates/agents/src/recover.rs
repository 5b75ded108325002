//! Taking over the cells: the store is brought up to the end of the journal, or the takeover is refused.

use stride_ids::{CellId, Seq};
use stride_journal::Journal;
use stride_store::{RowKey, Store, Write};

use crate::{cell::Cell, record::Record};

/// Why an engine could not take over its cells.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The journal refused.
    #[error("the journal cannot be opened")]
    Journal(#[from] stride_journal::Error),
    /// The store refused.
    #[error("the store cannot be opened")]
    Store(#[from] stride_store::Error),
    /// The store holds records which the journal does not know.
    #[error(
        "{cell}: the store holds record {stored} but the journal ends at {last}, so acknowledged records are missing"
    )]
    JournalBehind {
        /// The cell.
        cell: CellId,
        /// What the store holds.
        stored: Seq,
        /// What the journal holds.
        last: Seq,
    },
    /// A record cannot be read by this release.
    #[error("{cell}, record {seq}: {why}")]
    Unreadable {
        /// The cell.
        cell: CellId,
        /// The record.
        seq: Seq,
        /// What is wrong with it.
        why: String,
    },
}

/// Takes over one cell.
pub(crate) async fn take_over(journal: &dyn Journal, store: &Store, id: CellId) -> Result<Cell, OpenError> {
    let opened = journal.open(id)?;
    let stored = store.position(id);
    if stored > opened.last {
        return Err(OpenError::JournalBehind { cell: id, stored, last: opened.last });
    }
    for record in journal.replay(id, stored)? {
        let decoded = Record::decode(&record.bytes).map_err(|e| OpenError::Unreadable {
            cell: id,
            seq: record.seq,
            why: e.to_string(),
        })?;
        store.stage(id, record.seq, writes_of(&decoded, store)?);
    }
    let receipt = journal.settled(id, opened.epoch, opened.last).await?;
    Ok(Cell::new(id, opened.epoch, receipt))
}

/// The rows that a record changes, given the state before it.
pub(crate) fn writes_of(record: &Record, store: &Store) -> Result<Vec<Write>, stride_store::Error> {
    match record {
        Record::Commit(commit) => Ok(commit.writes()),
        Record::Remove(agent) => {
            let gone = |row: RowKey| Write { row, value: None };
            Ok(store.agent_rows(agent)?.into_iter().map(gone).collect())
        }
    }
}
