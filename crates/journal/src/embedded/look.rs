//! Reads a log without opening it: what opening it would return, with nothing cut, settled or owned.
//!
//! Always true: looking changes nothing but the lock, which it holds as long as it looks, so no node can run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use stride_ids::{CellId, Seq};
use stride_sim::disk::{Disk, DiskLock};

use super::{
    format::{Header, Kind, segment_name},
    lock,
    scan::{self, Scan},
    segment::Segment,
    state::{Cells, Entry},
};
use crate::{Error, Record};

/// A log as it lies there.
pub struct Look {
    cells: Cells,
    segments: BTreeMap<u32, Segment>,
    dir: PathBuf,
    _lock: DiskLock,
}

impl Look {
    /// Looks at the log in `dir`.
    ///
    /// # Errors
    /// [`Error::InUse`] while a node runs on it, [`Error::Damaged`] if a crash does not explain what is there, and
    /// [`Error::Io`].
    pub fn at(disk: &dyn Disk, dir: &Path) -> Result<Self, Error> {
        let lock = lock(disk, dir)?;
        let Scan { segments, cells, damage, .. } = scan::scan(disk, dir)?;
        if let Some(damage) = damage {
            return Err(damage.to_error());
        }
        let segment = |found: scan::Found| {
            let header = found.header;
            (header.number, Segment::new(header.number, header.len, header.seed, found.file))
        };
        let segments = segments.into_iter().map(segment).collect();
        Ok(Self { cells, segments, dir: dir.into(), _lock: lock })
    }

    /// How many cells the log has; none if it was never begun.
    pub fn cells(&self) -> u16 {
        u16::try_from(self.cells.0.len()).unwrap_or(u16::MAX)
    }

    /// The last record of a cell, zero if it never had one.
    pub fn last(&self, cell: CellId) -> Seq {
        self.cells.0.get(usize::from(cell.0)).map_or(Seq::default(), |cell| cell.last)
    }

    /// The records of a cell behind `after`, in order.
    ///
    /// # Errors
    /// [`Error::Gap`] if some of them are not there any more, [`Error::Damaged`].
    pub fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let Some(found) = self.cells.0.get(usize::from(cell.0)) else { return Ok(Vec::new()) };
        let floor = found.floor();
        if after < floor {
            return Err(Error::Gap { cell, after, first: floor.next() });
        }
        let wanted = (after.0 + 1..=found.last.0).map(Seq);
        let entry = |seq| found.entry(seq).map(|entry| self.read(cell, seq, entry));
        wanted.filter_map(entry).collect()
    }

    fn read(&self, cell: CellId, seq: Seq, entry: Entry) -> Result<Record, Error> {
        let number = entry.position.segment();
        let is_it = |h: &Header| h.kind == Kind::Record && h.cell == cell && h.seq == seq;
        let segment = self.segments.get(&number).ok_or_else(|| "its segment is not there".to_owned());
        let bytes = segment.and_then(|segment| segment.read(entry, is_it)).map_err(|what| Error::Damaged {
            file: self.dir.join(segment_name(number)).display().to_string(),
            offset: entry.position.offset() as u64,
            what,
            at_risk: format!("record {seq} of {cell}"),
        })?;
        Ok(Record { seq, bytes })
    }
}
