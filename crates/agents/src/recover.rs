//! Taking over the cells: the store is brought up to the end of the journal, or the takeover is refused.

use stride_ids::{CellId, Failure, Seq};
use stride_journal::{Journal, Receipt, Record as Replayed};
use stride_store::{RowKey, Rows, Store};

use crate::{
    cell::{Cell, Waiting},
    held::Held,
    message::Envelope,
    record::{self, Record, Unreadable, decode_received},
    rows::{Before, writes_of},
};

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
    /// The snapshot of a cell cannot be had.
    #[error("{cell}: its snapshot cannot be had: {why}")]
    Snapshot {
        /// The cell.
        cell: CellId,
        /// Why.
        why: Failure,
    },
    /// Which agent types there are cannot be found out, so neither where messages for them go.
    #[error("which agent types are deployed cannot be found out: {0}")]
    Types(Failure),
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
    /// A row of the store cannot be read by this release.
    #[error("{row}: {why}")]
    Row {
        /// The row.
        row: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Takes over one cell; and how much was replayed for it, in bytes of records.
pub(crate) async fn take_over(journal: &dyn Journal, store: &Store, id: CellId) -> Result<(Cell, usize), OpenError> {
    let opened = journal.open_one(id)?;
    let receipt = journal.settled(id, opened.epoch, opened.last).await?;
    take_up(journal, store, id, receipt)
}

/// Brings the store up to the end of a cell that was taken over, which `receipt` says; and how much was replayed for it.
pub(crate) fn take_up(
    journal: &dyn Journal,
    store: &Store,
    id: CellId,
    receipt: Receipt,
) -> Result<(Cell, usize), OpenError> {
    let replayed = catch_up(store, id, receipt.seq(), |after| journal.replay(id, after))?;
    Ok((Cell::new(id, receipt.epoch(), receipt, waiting_in(store, id)?), replayed))
}

/// Brings the store, in memory, up to the end of a cell's journal: `last`, and what `replay` has behind a record. How
/// much that was, in bytes of records.
pub(crate) fn catch_up(
    store: &Store,
    id: CellId,
    last: Seq,
    replay: impl FnOnce(Seq) -> Result<Vec<Replayed>, stride_journal::Error>,
) -> Result<usize, OpenError> {
    let stored = store.position(id);
    if stored > last {
        return Err(OpenError::JournalBehind { cell: id, stored, last });
    }
    let mut replayed = 0;
    for record in replay(stored)? {
        replayed += record.bytes.len();
        let decoded = Record::decode(&record.bytes).map_err(|e| OpenError::Unreadable {
            cell: id,
            seq: record.seq,
            why: e.to_string(),
        })?;
        let before = Before::read(&decoded, store)?;
        store.stage(id, record.seq, writes_of(&decoded, id, store.layout(), record.seq, before));
    }
    Ok(replayed)
}

/// The messages that wait in a cell or to leave it.
fn waiting_in(store: &Store, cell: CellId) -> Result<Waiting, OpenError> {
    let mut waiting = Waiting::default();
    for_each(store, Rows::Received(cell), |row, bytes| {
        if let RowKey::Received { from, .. } = row {
            waiting.received.insert(from, decode_received(bytes)?);
        }
        Ok(())
    })?;
    for_each(store, Rows::Inboxes(cell), |row, bytes| {
        if let RowKey::Inbox(agent, id) = row {
            let message = record::Waiting::decode(bytes)?;
            waiting.inboxes.entry(agent).or_default().add(id, &message.message.sender, message.not_before);
        }
        Ok(())
    })?;
    for_each(store, Rows::Outbox(cell), |row, bytes| {
        if let RowKey::Outbox(_, id) = row {
            waiting.outbox.push_back(Held::until(cell, id.record, (id, Envelope::decode(bytes)?)));
        }
        Ok(())
    })?;
    Ok(waiting)
}

/// Visits rows page by page.
pub(crate) fn for_each(
    store: &Store,
    rows: Rows<'_>,
    mut visit: impl FnMut(RowKey, &[u8]) -> Result<(), Unreadable>,
) -> Result<(), OpenError> {
    const PAGE: usize = 1_000;
    let mut after = None;
    loop {
        let page = store.rows(rows, after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (row, bytes) in page {
            let name = format!("{row:?}");
            visit(row, &bytes).map_err(|e| OpenError::Row { row: name, why: e.to_string() })?;
        }
    }
}
