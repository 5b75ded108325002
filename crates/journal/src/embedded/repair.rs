//! Gets a damaged log going again, offline, after saying what that costs.
//!
//! Always true: planning changes nothing; carrying out deletes nothing (what is replaced is copied or moved to
//! `*.damaged` first) and can be cut off anywhere: the log is then still refused, with the same repair to be planned,
//! or repaired. The lock is held from the plan to its end.
//! What the store behind the journal holds is not known here; it may hold some of what is given up.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use stride_ids::{CellId, Seq};
use stride_sim::disk::{Disk, DiskLock};

use super::{
    Settings,
    check::{CellReport, DamageReport, cells},
    format::{FIRST_FRAME, Position, SegmentHeader, segment_name, segment_number},
    lock,
    scan::{self, Cure, Damage, Scan},
    segment::Segment,
    state::{Cell, Cells},
    walk::Tail,
    writer::prelude,
};
use crate::Error;

/// What repairing a log would do.
pub struct RepairPlan {
    /// The directory.
    pub dir: PathBuf,
    /// The damage; without any there is nothing to do.
    pub damage: Option<DamageReport>,
    /// What every cell has afterwards.
    pub keeps: Vec<CellReport>,
    /// What is given up.
    pub gives_up: Vec<GivenUp>,
    /// What happens, in this order.
    pub steps: Vec<Step>,
    disk: Arc<dyn Disk>,
    _lock: DiskLock,
}

/// What is given up of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The cell.
    pub cell: CellId,
    /// The first and the last record of those that can still be read and are given up. Records between the kept ones
    /// and these were damaged, if there are any.
    pub first: Seq,
    /// See `first`.
    pub last: Seq,
    /// How many can still be read.
    pub readable: u64,
}

/// One change to the directory.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// A file gets another name.
    Move {
        /// Its name.
        from: PathBuf,
        /// Its name afterwards.
        to: PathBuf,
    },
    /// A file is copied.
    Copy {
        /// The file.
        from: PathBuf,
        /// Its copy.
        to: PathBuf,
    },
    /// A segment is replaced by one that begins with these bytes and is empty behind them.
    Write {
        /// The segment's number.
        number: u32,
        /// How long the file is.
        len: u64,
        /// What it begins with.
        begins_with: Vec<u8>,
    },
}

/// Says what repairing the log in `dir` would do and cost. `settings` are used if nothing of the log can be kept.
///
/// # Errors
/// [`Error::InUse`] while a node runs on it, [`Error::Io`] if it cannot be read.
pub fn plan_repair(disk: Arc<dyn Disk>, dir: &Path, settings: &Settings) -> Result<RepairPlan, Error> {
    let lock = lock(&*disk, dir)?;
    let scan = scan::scan(&*disk, dir)?;
    let names = disk.list(dir).map_err(|e| Error::io(format!("list {}", dir.display()), &e))?;
    let mut planner = Planner { disk: &*disk, dir, names, settings, steps: Vec::new() };
    let keeps = planner.plan(&scan)?;
    let steps = planner.steps;
    Ok(RepairPlan {
        dir: dir.into(),
        damage: scan.damage.as_ref().map(DamageReport::new),
        keeps,
        gives_up: scan.damage.as_ref().map(given_up).unwrap_or_default(),
        steps,
        disk,
        _lock: lock,
    })
}

impl RepairPlan {
    /// Does it.
    ///
    /// # Errors
    /// [`Error::Io`]; the log is then as damaged as before, and can be planned for again.
    pub fn carry_out(self) -> Result<(), Error> {
        for step in &self.steps {
            step.carry_out(&*self.disk, &self.dir).map_err(|e| Error::io(step.to_string(), &e))?;
        }
        Ok(())
    }
}

fn given_up(damage: &Damage) -> Vec<GivenUp> {
    let lost = damage.salvage.0.iter().filter(|(_, cell)| cell.records > 0);
    lost.map(|(id, cell)| GivenUp { cell: *id, first: cell.first, last: cell.last, readable: cell.records }).collect()
}

struct Planner<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    names: Vec<String>,
    settings: &'a Settings,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn plan(&mut self, scan: &Scan) -> Result<Vec<CellReport>, Error> {
        let Some(damage) = &scan.damage else { return Ok(cells(scan)) };
        match damage.cure {
            Cure::CutAt(at) => self.plan_cut(scan, at)?,
            Cure::SetAside(number) => self.set_aside_from(number),
            Cure::DropFirst(number) => {
                self.set_aside(number);
                return Ok(cells(&scan::scan_without(self.disk, self.dir, Some(number))?));
            }
            Cure::Wipe(number, at) => self.plan_wipe(scan, number, at)?,
            Cure::Restart => return Ok(self.plan_restart(damage)),
        }
        Ok(cells(scan))
    }

    fn plan_cut(&mut self, scan: &Scan, at: Position) -> Result<(), Error> {
        let number = at.segment();
        self.set_aside_from(number + 1);
        match scan.segments.last() {
            Some(last) if last.header.number == number && at.offset() > FIRST_FRAME => {
                self.keep_prefix(number, last.header.len, at.offset())
            }
            _ => {
                self.set_aside(number);
                self.begin_again(scan, number)
            }
        }
    }

    /// The beginning of a segment can be made again from the state behind the segment before.
    fn begin_again(&mut self, scan: &Scan, number: u32) -> Result<(), Error> {
        let before = scan.segments.iter().rev().find(|found| found.header.number < number);
        let Some((before, Tail::Rolled(roll))) = before.map(|found| (found, &found.walked.tail)) else {
            return Err(Error::Invalid(format!("nothing leads to {}", segment_name(number))));
        };
        let header = SegmentHeader {
            number,
            len: before.header.len,
            prev_chain: roll.chain,
            prev_end: roll.at,
            seed: roll.seed,
        };
        let (begins_with, _) = prelude(&header, scan.cells.checkpoint().into());
        self.steps.push(Step::Write { number, len: header.len, begins_with });
        Ok(())
    }

    fn plan_wipe(&mut self, scan: &Scan, number: u32, at: usize) -> Result<(), Error> {
        let found = scan.segments.iter().find(|found| found.header.number == number);
        let len = found.map_or(self.settings.segment_bytes, |found| found.header.len);
        self.keep_prefix(number, len, at)
    }

    fn keep_prefix(&mut self, number: u32, len: u64, to: usize) -> Result<(), Error> {
        let from = self.dir.join(segment_name(number));
        let mut begins_with = vec![0; to];
        let read = self.disk.open(&from).and_then(|file| file.read_at(&mut begins_with, 0));
        read.map_err(|e| Error::io(format!("read {}", from.display()), &e))?;
        let to = self.dir.join(self.free_name(number));
        self.steps.push(Step::Copy { from, to });
        self.steps.push(Step::Write { number, len, begins_with });
        Ok(())
    }

    fn plan_restart(&mut self, damage: &Damage) -> Vec<CellReport> {
        let mut restarted = Cells::new(self.settings.cells);
        for (id, salvaged) in &damage.salvage.0 {
            if let Some(cell) = restarted.get_mut(*id) {
                *cell = Cell { epoch: salvaged.epoch, last: salvaged.last, ..Cell::default() };
            }
        }
        let last = self.names.iter().filter_map(|name| segment_number(name)).max().unwrap_or(0);
        let number = last + 1;
        let len = self.settings.segment_bytes;
        // The seed only has to differ from the one before; the damaged one cannot be read.
        let seed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let header = SegmentHeader { number, len, prev_chain: 0, prev_end: 0, seed };
        let (begins_with, _) = prelude(&header, restarted.checkpoint().into());
        self.steps.push(Step::Write { number, len, begins_with });
        let first = self.names.iter().filter_map(|name| segment_number(name)).min().unwrap_or(0);
        self.set_aside_from(first);
        let scan = Scan { cells: restarted, ..Scan::default() };
        cells(&scan)
    }

    /// Moves all segments from this one on aside, the last one first, so that what is left always ends early.
    fn set_aside_from(&mut self, number: u32) {
        let numbers: Vec<u32> = self.names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.into_iter().rev().filter(|n| *n >= number).for_each(|n| self.set_aside(n));
    }

    fn set_aside(&mut self, number: u32) {
        if self.names.contains(&segment_name(number)) {
            let (from, to) = (self.dir.join(segment_name(number)), self.dir.join(self.free_name(number)));
            self.steps.push(Step::Move { from, to });
        }
    }

    fn free_name(&self, number: u32) -> String {
        let name = format!("{}.damaged", segment_name(number));
        let numbered = (2..).map(|nth| format!("{name}.{nth}"));
        std::iter::once(name.clone()).chain(numbered).find(|name| !self.names.contains(name)).unwrap_or(name)
    }
}

impl Step {
    fn carry_out(&self, disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
        match self {
            Self::Move { from, to } => {
                disk.rename(from, to)?;
                disk.sync_dir(dir)
            }
            Self::Copy { from, to } => {
                let from = disk.open(from)?;
                let mut bytes = vec![0; usize::try_from(from.len()?).unwrap_or(usize::MAX)];
                from.read_at(&mut bytes, 0)?;
                let copy = disk.create(to)?;
                copy.write_at(&bytes, 0)?;
                copy.sync()?;
                disk.sync_dir(dir)
            }
            // The seed is in the header that it begins with; this handle is not used to write frames.
            Self::Write { number, len, begins_with } => {
                Segment::prepare(disk, dir, *number, *len, 0, begins_with).map(drop)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Move { from, to } => write!(f, "move {} to {}", from.display(), to.display()),
            Self::Copy { from, to } => write!(f, "copy {} to {}", from.display(), to.display()),
            Self::Write { number, begins_with, .. } => {
                write!(f, "write {} with {} good bytes", segment_name(*number), begins_with.len())
            }
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, first, last, readable } = self;
        write!(f, "{cell}: {readable} readable records, {first} to {last}, and what was damaged before them")
    }
}

impl fmt::Display for RepairPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(damage) = &self.damage else {
            return write!(f, "journal {}: no damage, nothing to repair", self.dir.display());
        };
        writeln!(f, "journal {}\n  damage: {damage}", self.dir.display())?;
        writeln!(f, "  gives up: what was damaged itself (its extent is not known)")?;
        for given_up in &self.gives_up {
            writeln!(f, "  gives up: {given_up}")?;
        }
        for (nth, step) in self.steps.iter().enumerate() {
            writeln!(f, "  step {}: {step}", nth + 1)?;
        }
        for cell in self.keeps.iter().filter(|cell| cell.last > cell.floor) {
            writeln!(f, "  keeps: {}: records {} to {}", cell.cell, cell.floor.next(), cell.last)?;
        }
        write!(f, "  nothing is deleted")
    }
}
