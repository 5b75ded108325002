//! A checker that nothing can fail proves nothing: these logs lose records, and must be caught.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};
use stride_journal::{Error, Fenced, Journal, Opened, Pending, Record, embedded::EmbeddedJournal};
use stride_sim::{Chance, disk::Disk as _};

use crate::{
    driver::{SMALL, dir, open},
    every_byte::{honest, logs},
};

/// Cuts a log at its first bad frame without asking whether that frame had been acknowledged, as fjall, rocksdb and
/// raft-engine do by default.
#[test]
fn a_log_that_cuts_at_the_first_bad_frame_is_caught() {
    let (closed, _, model) = logs();
    let disk = closed.fork(Chance::seeded(1));
    let files: Vec<_> = disk.list(dir()).expect("list").into_iter().map(|name| dir().join(name)).collect();
    disk.tamper(&files[0], |bytes| bytes[1500] ^= 1);
    let Err(Error::Damaged { offset, .. }) = open(&disk, SMALL).map(drop) else { panic!("the flip is damage") };
    disk.tamper(&files[0], |bytes| bytes[offset as usize..].fill(0));
    files[1..].iter().for_each(|file| disk.tamper(file, |bytes| bytes.fill(0)));
    assert!(honest(&disk, &model).is_err());
}

struct Forgetful(EmbeddedJournal);

impl Journal for Forgetful {
    fn open(&self, cells: &[CellId]) -> Result<Vec<Opened>, Error> {
        self.0.open(cells)
    }
    fn open_at(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        self.0.open_at(cells)
    }
    fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        self.0.release(cell, epoch)
    }
    fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        self.0.append(cell, epoch, record)
    }
    fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending {
        self.0.settled(cell, epoch, seq)
    }
    fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let mut records = self.0.replay(cell, after)?;
        records.remove(records.len() / 2);
        Ok(records)
    }
    fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error> {
        self.0.truncate(cell, through)
    }
    fn stopped(&self) -> Pin<Box<dyn Future<Output = Error> + Send + '_>> {
        self.0.stopped()
    }
    fn lost(&self) -> Pin<Box<dyn Future<Output = Fenced> + Send + '_>> {
        self.0.lost()
    }
}

#[test]
fn a_log_that_forgets_one_record_is_caught() {
    let (closed, _, model) = logs();
    let journal = Forgetful(open(&closed, SMALL).expect("open"));
    assert!(model.verify(&journal).is_err());
}

#[test]
fn a_log_that_hands_an_epoch_out_twice_is_caught() {
    let (closed, _, mut model) = logs();
    model.0[1].epoch = Epoch(100);
    assert!(model.verify(&open(&closed, SMALL).expect("open")).is_err());
}
