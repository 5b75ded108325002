//! A journal on a simulated disk beside a model of what it has promised.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::executor::block_on;
use stride_ids::{CellId, Epoch, Seq};
use stride_journal::{
    Error, Journal,
    embedded::{EmbeddedJournal, Settings, Threads},
};
use stride_sim::{Chance, disk::SimDisk};

pub(crate) const DIR: &str = "/data/journal";

/// A small log that rolls often.
pub(crate) const SMALL: Settings = Settings { cells: 3, segment_bytes: 4096, threads: Threads::None };

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

/// What one cell was promised.
#[derive(Clone, Default)]
pub(crate) struct Promised {
    /// Every record that was ordered; the first has position 1.
    pub(crate) ordered: Vec<Bytes>,
    /// How many of them were acknowledged.
    pub(crate) acknowledged: usize,
    /// How many of them were given up.
    pub(crate) given_up: usize,
    pub(crate) epoch: Epoch,
}

#[derive(Clone)]
pub(crate) struct Model(pub(crate) Vec<Promised>);

impl Model {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(vec![Promised::default(); usize::from(settings.cells)])
    }

    /// Opens every cell and compares all that comes back with what was promised.
    pub(crate) fn verify(&self, journal: &dyn Journal) -> Result<Vec<(Epoch, Seq)>, String> {
        let check = |(nth, promised): (usize, &Promised)| check_cell(journal, CellId(nth as u16), promised);
        self.0.iter().enumerate().map(check).collect()
    }
}

fn check_cell(journal: &dyn Journal, cell: CellId, promised: &Promised) -> Result<(Epoch, Seq), String> {
    let opened = journal.open_one(cell).map_err(|e| format!("{cell}: open: {e}"))?;
    if opened.epoch <= promised.epoch {
        return Err(format!("{cell}: epoch {} was handed out before", opened.epoch));
    }
    let last = opened.last.0 as usize;
    if last < promised.acknowledged {
        return Err(format!("{cell}: {} were acknowledged, the last is {last}", promised.acknowledged));
    }
    if last > promised.ordered.len() {
        return Err(format!("{cell}: {} were appended, the last is {last}", promised.ordered.len()));
    }
    let after = promised.given_up;
    let records = journal.replay(cell, Seq(after as u64)).map_err(|e| format!("{cell}: replay: {e}"))?;
    if records.len() != last - after {
        return Err(format!("{cell}: {} records came back behind {after}, not {}", records.len(), last - after));
    }
    for (nth, record) in records.iter().enumerate() {
        let seq = after + nth + 1;
        if record.seq != Seq(seq as u64) || record.bytes != promised.ordered[seq - 1] {
            return Err(format!("{cell}: record {seq} is not what was appended"));
        }
    }
    Ok((opened.epoch, opened.last))
}

/// A journal, its disk and its model.
pub(crate) struct Driver {
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    pub(crate) settings: Settings,
    pub(crate) journal: Option<EmbeddedJournal>,
    /// How many records there were, which makes each of them different.
    made: u64,
}

impl Driver {
    pub(crate) fn new(disk: SimDisk, settings: Settings) -> Self {
        Self { disk, model: Model::new(&settings), settings, journal: None, made: 0 }
    }

    /// Opens the journal and checks everything.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        self.journal = None;
        let journal = open(&self.disk, self.settings)?;
        // A power cut in the middle shows as a stopped journal; everything else is a broken promise.
        let found = match self.model.verify(&journal) {
            Ok(found) => found,
            Err(_) if self.disk_is_down() => return Err(Error::Stopped("power".into())),
            Err(broken) => panic!("{broken}"),
        };
        for (promised, (epoch, last)) in self.model.0.iter_mut().zip(found) {
            let last = last.0 as usize;
            promised.ordered.truncate(last);
            (promised.epoch, promised.acknowledged) = (epoch, last);
        }
        self.journal = Some(journal);
        Ok(())
    }

    fn disk_is_down(&self) -> bool {
        use stride_sim::disk::Disk;
        self.disk.list(dir()).is_err()
    }

    /// Appends records of these lengths, in turn to all cells, then waits for all of them: usually one group.
    pub(crate) fn append(&mut self, lens: &[usize]) -> Result<(), Error> {
        let journal = self.journal.as_ref().expect("the journal is open");
        let mut pending = Vec::new();
        let mut refused = None;
        for len in lens {
            self.made += 1;
            let cell = (self.made % self.model.0.len() as u64) as usize;
            let record = record(self.made, *len);
            let promised = &mut self.model.0[cell];
            match journal.append(CellId(cell as u16), promised.epoch, record.clone()) {
                Ok(ordered) => {
                    promised.ordered.push(record);
                    assert_eq!(ordered.seq(), Seq(promised.ordered.len() as u64));
                    pending.push((cell, ordered));
                }
                Err(e) => refused = Some(e),
            }
        }
        for (cell, ordered) in pending {
            let seq = ordered.seq().0 as usize;
            block_on(ordered)?;
            let acknowledged = &mut self.model.0[cell].acknowledged;
            *acknowledged = seq.max(*acknowledged);
        }
        refused.map_or(Ok(()), Err)
    }

    /// Gives up all but the last `keep` acknowledged records of every cell.
    pub(crate) fn truncate(&mut self, keep: usize) -> Result<(), Error> {
        let journal = self.journal.as_ref().expect("the journal is open");
        for (nth, promised) in self.model.0.iter_mut().enumerate() {
            let through = promised.acknowledged.saturating_sub(keep);
            promised.given_up = promised.given_up.max(through);
            journal.truncate(CellId(nth as u16), Seq(through as u64))?;
        }
        Ok(())
    }

    /// Cuts the power.
    pub(crate) fn crash(&mut self) {
        // The process is gone before anything is written any more: a fork would see a seal otherwise.
        self.disk.crash();
        self.journal = None;
    }

    /// Closes the journal as a node that ends does.
    pub(crate) fn close(&mut self) {
        self.journal = None;
    }
}

pub(crate) fn open(disk: &SimDisk, settings: Settings) -> Result<EmbeddedJournal, Error> {
    EmbeddedJournal::open(Arc::new(disk.clone()), dir(), settings, Chance::seeded(99))
}

/// A record of this length that no other equals; every third is mostly zeros, every fifth mostly ones.
fn record(nth: u64, len: usize) -> Bytes {
    let fill = |at: usize| match nth {
        n if n % 3 == 0 => 0,
        n if n % 5 == 0 => 0xff,
        n => (n as usize * 7 + at * 13) as u8,
    };
    let mut bytes: Vec<u8> = nth.to_le_bytes().into_iter().chain((8..len.max(8)).map(fill)).collect();
    bytes.truncate(len.max(8));
    bytes.into()
}
