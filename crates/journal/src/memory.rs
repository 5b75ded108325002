//! A journal in memory, for tests of what stands on one.
//!
//! Always true: it keeps the contract, but what is "durable" lives as long as its last clone. Every record is durable at
//! once, so nothing here ever waits.

use std::{
    collections::HashMap,
    future::{Future, pending, ready},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_ids::{CellId, Epoch, Seq};

use crate::{Error, Fenced, Journal, Opened, Pending, Receipt, Record, embedded::RECORD_LEN_MAX};

/// A journal in memory. Clones share their records, as journals that are opened one after the other on one disk do.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<HashMap<CellId, Cell>>>);

#[derive(Debug, Default)]
struct Cell {
    epoch: Epoch,
    /// The position before the first of `records`.
    floor: Seq,
    records: std::collections::VecDeque<Bytes>,
}

impl Cell {
    fn last(&self) -> Seq {
        Seq(self.floor.0 + self.records.len() as u64)
    }

    fn check(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        if self.epoch == epoch { Ok(()) } else { Err(Error::Fenced { cell, epoch, current: self.epoch }) }
    }
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Journal for MemoryJournal {
    fn open(&self, ids: &[CellId]) -> Result<Vec<Opened>, Error> {
        let mut cells = self.0.lock();
        let opened = ids.iter().map(|id| {
            let cell = cells.entry(*id).or_default();
            cell.epoch = Epoch(cell.epoch.0 + 1);
            Opened { epoch: cell.epoch, last: cell.last() }
        });
        Ok(opened.collect())
    }

    fn open_at(&self, ids: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        let open = |(id, epoch): &(CellId, Epoch)| {
            let mut cells = self.0.lock();
            let cell = cells.entry(*id).or_default();
            (cell.epoch == *epoch).then(|| {
                cell.epoch = Epoch(epoch.0 + 1);
                Opened { epoch: cell.epoch, last: cell.last() }
            })
        };
        Ok(ids.iter().map(open).collect())
    }

    fn release(&self, id: CellId, epoch: Epoch) -> Result<(), Error> {
        let mut cells = self.0.lock();
        let cell = cells.entry(id).or_default();
        cell.check(id, epoch)?;
        cell.epoch = Epoch(epoch.0 + 1);
        Ok(())
    }

    fn append(&self, id: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        let mut cells = self.0.lock();
        let cell = cells.entry(id).or_default();
        cell.check(id, epoch)?;
        if record.len() > RECORD_LEN_MAX {
            return Err(Error::TooLarge { len: record.len(), max: RECORD_LEN_MAX });
        }
        cell.records.push_back(record);
        let seq = cell.last();
        Ok(Pending::new(seq, ready(Ok(Receipt::new(id, epoch, seq)))))
    }

    fn settled(&self, id: CellId, epoch: Epoch, seq: Seq) -> Pending {
        let mut cells = self.0.lock();
        let cell = cells.entry(id).or_default();
        let checked = cell.check(id, epoch).and_then(|()| match cell.last() {
            last if seq > last => Err(Error::NotOrdered { cell: id, seq, last }),
            _ => Ok(Receipt::new(id, epoch, seq)),
        });
        Pending::new(seq, ready(checked))
    }

    fn replay(&self, id: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let mut cells = self.0.lock();
        let cell = cells.entry(id).or_default();
        if after < cell.floor {
            return Err(Error::Gap { cell: id, after, first: cell.floor.next() });
        }
        let skip = usize::try_from(after.0 - cell.floor.0).unwrap_or(usize::MAX);
        let behind = (after.0 + 1..).map(Seq).zip(cell.records.iter().skip(skip));
        Ok(behind.map(|(seq, bytes)| Record { seq, bytes: bytes.clone() }).collect())
    }

    fn truncate(&self, id: CellId, through: Seq) -> Result<(), Error> {
        let mut cells = self.0.lock();
        let cell = cells.entry(id).or_default();
        while cell.floor < through && cell.records.pop_front().is_some() {
            cell.floor = cell.floor.next();
        }
        Ok(())
    }

    fn stopped(&self) -> Pin<Box<dyn Future<Output = Error> + Send + '_>> {
        Box::pin(pending())
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = Fenced> + Send + '_>> {
        Box::pin(pending())
    }
}
