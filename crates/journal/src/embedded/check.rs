//! Checks a log offline and says what is in it, for people and for programs.
//!
//! Always true: checking changes nothing but the lock, which it holds meanwhile, so no node can run.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use stride_ids::{CellId, Epoch, Seq};
use stride_sim::disk::Disk;

use super::{
    format::segment_name,
    lock,
    scan::{self, Damage, Found, Scan},
    walk::Tail,
};
use crate::Error;

/// What a log holds and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The directory.
    pub dir: PathBuf,
    /// The readable segments, oldest first. Behind damage nothing is listed; see [`DamageReport::at_risk`].
    pub segments: Vec<SegmentReport>,
    /// The cells that ever had an owner.
    pub cells: Vec<CellReport>,
    /// Prepared segments that hold nothing yet.
    pub spares: Vec<PathBuf>,
    /// The first thing that a crash does not explain; the journal refuses to open with it.
    pub damage: Option<DamageReport>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub file: PathBuf,
    /// How long the file is.
    pub bytes: u64,
    /// How much of it is filled and readable.
    pub bytes_used: u64,
    /// How many records it holds.
    pub records: u64,
    /// Whose records they are.
    pub cells: Vec<CellId>,
    /// Where a group begins that was being written when the node ended. Harmless: it had not been acknowledged, and
    /// opening cuts it off.
    pub torn_at: Option<u64>,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellReport {
    /// The cell.
    pub cell: CellId,
    /// The epoch of its last owner.
    pub epoch: Epoch,
    /// The position before its first retained record.
    pub floor: Seq,
    /// Its last record.
    pub last: Seq,
}

/// Damage, and what it puts at risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    /// The file.
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// What can still be read behind it. How much was damaged itself is not known.
    pub at_risk: Vec<AtRisk>,
}

/// Readable records of one cell behind damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtRisk {
    /// The cell.
    pub cell: CellId,
    /// How many.
    pub records: u64,
    /// The first of them.
    pub first: Seq,
    /// The last of them.
    pub last: Seq,
}

/// Checks the log in `dir`.
///
/// # Errors
/// [`Error::InUse`] while a node runs on it, [`Error::Io`] if it cannot be read. Damage is not an error here.
pub fn check(disk: &dyn Disk, dir: &Path) -> Result<Report, Error> {
    let _lock = lock(disk, dir)?;
    Ok(Report::new(dir, &scan::scan(disk, dir)?))
}

impl Report {
    fn new(dir: &Path, scan: &Scan) -> Self {
        Self {
            dir: dir.into(),
            segments: scan.segments.iter().map(|found| SegmentReport::new(dir, found)).collect(),
            cells: cells(scan),
            spares: scan.spares.iter().map(|spare| dir.join(segment_name(spare.number))).collect(),
            damage: scan.damage.as_ref().map(DamageReport::new),
        }
    }

    /// How many records are readable before any damage.
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }
}

/// The cells of a log that ever had an owner.
pub(crate) fn cells(scan: &Scan) -> Vec<CellReport> {
    let all = (0..).map(CellId).zip(&scan.cells.0);
    all.filter(|(_, cell)| cell.epoch > Epoch(0))
        .map(|(id, cell)| CellReport { cell: id, epoch: cell.epoch, floor: cell.floor(), last: cell.last })
        .collect()
}

impl SegmentReport {
    fn new(dir: &Path, found: &Found) -> Self {
        let end = found.walked.end as u64;
        Self {
            file: dir.join(segment_name(found.header.number)),
            bytes: found.header.len,
            bytes_used: end,
            records: found.records,
            cells: found.cells.iter().copied().collect(),
            torn_at: matches!(found.walked.tail, Tail::Torn).then_some(end),
        }
    }
}

impl DamageReport {
    pub(crate) fn new(damage: &Damage) -> Self {
        let at_risk = damage.salvage.0.iter().filter(|(_, cell)| cell.records > 0);
        Self {
            file: damage.file.clone(),
            offset: damage.offset,
            what: damage.what.clone(),
            at_risk: at_risk
                .map(|(id, cell)| AtRisk { cell: *id, records: cell.records, first: cell.first, last: cell.last })
                .collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "journal {}", self.dir.display())?;
        for segment in &self.segments {
            writeln!(f, "  {segment}")?;
        }
        for spare in &self.spares {
            writeln!(f, "  {}: prepared, empty", spare.display())?;
        }
        match &self.damage {
            None => write!(f, "  {} records, no damage", self.records()),
            Some(damage) => write!(f, "  DAMAGED: {damage}"),
        }
    }
}

impl fmt::Display for SegmentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, cells) = (self.records, self.cells.len());
        write!(f, "{}: {records} records of {cells} cells, ", self.file.display())?;
        write!(f, "{} of {} bytes", self.bytes_used, self.bytes)?;
        match self.torn_at {
            Some(at) => write!(f, ", torn at {at} (harmless: it had not been acknowledged)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file.display(), self.offset, self.what)?;
        if self.at_risk.is_empty() {
            return write!(f, "\n    no readable record lies behind it");
        }
        for at_risk in &self.at_risk {
            write!(f, "\n    at risk: {at_risk}")?;
        }
        Ok(())
    }
}

impl fmt::Display for AtRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, records, first, last } = self;
        write!(f, "{cell}: {records} readable records, {first} to {last}")
    }
}
