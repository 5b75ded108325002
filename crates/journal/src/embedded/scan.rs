//! Reads a whole log and says what is in it: the one reader behind opening, checking and repairing.
//!
//! Always true: a scan writes nothing; it stops at the first damage, and then only counts what can still be read behind
//! it. Segments are read one at a time, so memory stays at one segment plus the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use stride_ids::{CellId, Epoch, Seq};
use stride_sim::disk::{Disk, DiskFile};

use super::{
    format::{
        FIRST_FRAME, HEADER_LEN, Header, Kind, Position, SegmentHeader, Whitening, frame_len, is_zero, segment_name,
        segment_number,
    },
    state::Cells,
    walk::{self, Roll, Tail, Walked},
};
use crate::Error;

/// The name of a file that is being prepared; left over, it holds nothing.
pub(crate) const TEMPORARY: &str = "prepared.tmp";

/// Everything that was found.
#[derive(Default)]
pub(crate) struct Scan {
    /// The segments that hold the log, oldest first.
    pub(crate) segments: Vec<Found>,
    pub(crate) cells: Cells,
    /// Segments that were prepared and not used, in order.
    pub(crate) spares: Vec<Spare>,
    /// Whether a preparation was cut off.
    pub(crate) leftover: bool,
    pub(crate) damage: Option<Damage>,
}

/// A segment that holds a part of the log.
pub(crate) struct Found {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) walked: Walked,
    pub(crate) records: u64,
    pub(crate) cells: BTreeSet<CellId>,
}

/// A prepared segment.
pub(crate) struct Spare {
    pub(crate) number: u32,
    pub(crate) len: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes before this are the remains of a roll that was cut off.
    pub(crate) dirty_to: usize,
}

/// The first thing that a crash does not explain.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) what: String,
    pub(crate) cure: Cure,
    pub(crate) salvage: Salvage,
}

/// What gets a damaged log going again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Keep what lies before this place.
    CutAt(Position),
    /// Nothing before this segment's damage says what the cells had: go on from the next segment's checkpoint.
    DropFirst(u32),
    /// There is no checkpoint at all: begin a new log behind everything that can be read.
    Restart,
    /// The log is whole; set a file aside that was prepared for it and holds what it should not.
    SetAside(u32),
    /// The log is whole; wipe what lies behind the end of a finished segment.
    Wipe(u32, usize),
}

/// What can still be read behind the damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salvage(pub(crate) BTreeMap<CellId, SalvagedCell>);

/// The records of one cell that can still be read behind the damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SalvagedCell {
    pub(crate) records: u64,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) epoch: Epoch,
}

impl Salvage {
    fn add(&mut self, header: &Header) {
        if !matches!(header.kind, Kind::Record | Kind::Epoch) {
            return;
        }
        let cell = self.0.entry(header.cell).or_default();
        cell.epoch = cell.epoch.max(header.epoch);
        if header.kind == Kind::Record {
            cell.first = if cell.records == 0 { header.seq } else { cell.first.min(header.seq) };
            cell.records += 1;
        }
        cell.last = cell.last.max(header.seq);
    }

    pub(crate) fn records(&self) -> u64 {
        self.0.values().map(|cell| cell.records).sum()
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED_MAX: usize = 8;
        let cells: Vec<_> = self.0.iter().filter(|(_, cell)| cell.records > 0).collect();
        if cells.is_empty() {
            return f.write_str("what was damaged itself; no readable record lies behind it");
        }
        write!(
            f,
            "what was damaged itself, and {} readable records of {} cells behind it",
            self.records(),
            cells.len()
        )?;
        for (nth, (id, cell)) in cells.iter().take(NAMED_MAX).enumerate() {
            write!(f, "{}{id}: {} to {}", if nth == 0 { " (" } else { ", " }, cell.first, cell.last)?;
        }
        f.write_str(if cells.len() > NAMED_MAX { ", ...)" } else { ")" })
    }
}

impl Damage {
    pub(crate) fn to_error(&self) -> Error {
        Error::Damaged {
            file: self.file.display().to_string(),
            offset: self.offset,
            what: self.what.clone(),
            at_risk: self.salvage.to_string(),
        }
    }
}

/// Reads the log in `dir`.
pub(crate) fn scan(disk: &dyn Disk, dir: &Path) -> Result<Scan, Error> {
    scan_without(disk, dir, None)
}

/// Reads the log in `dir` as if this segment were not there.
pub(crate) fn scan_without(disk: &dyn Disk, dir: &Path, without: Option<u32>) -> Result<Scan, Error> {
    let names = disk.list(dir).map_err(|e| Error::io(format!("list {}", dir.display()), &e))?;
    let numbers: Vec<u32> =
        names.iter().filter_map(|name| segment_number(name)).filter(|n| Some(*n) != without).collect();
    let mut scanner = Scanner { disk, dir, scan: Scan::default() };
    scanner.scan.leftover = names.iter().any(|name| name == TEMPORARY);
    for (nth, number) in numbers.iter().enumerate() {
        let image = scanner.read(*number)?;
        if let Some(flaw) = scanner.take(*number, nth == 0, image)? {
            scanner.scan.damage = Some(scanner.damage(flaw, &numbers)?);
            return Ok(scanner.scan);
        }
    }
    if let Some(flaw) = scanner.missing_end() {
        scanner.scan.damage = Some(scanner.damage(flaw, &numbers)?);
    }
    Ok(scanner.scan)
}

/// Where and what is wrong, before it is known what is at risk.
struct Flaw {
    at: Position,
    what: String,
    cure: Cure,
}

impl Flaw {
    fn new(segment: u32, offset: usize, what: impl Into<String>, cure: Cure) -> Self {
        Self { at: Position::new(segment, offset), what: what.into(), cure }
    }

    /// Damage that costs everything from this place on.
    fn cut(segment: u32, offset: usize, what: impl Into<String>) -> Self {
        Self::new(segment, offset, what, Cure::CutAt(Position::new(segment, offset)))
    }
}

struct Image {
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
}

struct Scanner<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    scan: Scan,
}

impl Scanner<'_> {
    fn read(&self, number: u32) -> Result<Image, Error> {
        let path = self.dir.join(segment_name(number));
        let failed = |e| Error::io(format!("read {}", path.display()), &e);
        let file = self.disk.open(&path).map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX)];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        Ok(Image { file, bytes })
    }

    /// Takes the next file in, in the order of numbers.
    fn take(&mut self, number: u32, first: bool, image: Image) -> Result<Option<Flaw>, Error> {
        if first {
            return Ok(self.take_first(number, image));
        }
        let expected = self.next_number();
        if number != expected {
            let what = "the segment is missing, and there are later ones";
            return Ok(Some(match self.last_tail() {
                Some(Tail::Rolled(_)) => Flaw::cut(expected, 0, what),
                _ => Flaw::new(number, 0, "it does not follow the segment before", Cure::SetAside(number)),
            }));
        }
        Ok(match self.last_tail().cloned() {
            Some(Tail::Rolled(roll)) if self.scan.spares.is_empty() => self.take_next(number, roll, image),
            _ => self.take_spare(number, image),
        })
    }

    fn last_tail(&self) -> Option<&Tail> {
        self.scan.segments.last().map(|found| &found.walked.tail)
    }

    fn next_number(&self) -> u32 {
        let spare = self.scan.spares.last().map(|spare| spare.number);
        let used = self.scan.segments.last().map(|found| found.header.number);
        spare.or(used).map_or(1, |number| number.saturating_add(1))
    }

    /// The oldest segment has nobody before it that could vouch for it.
    fn take_first(&mut self, number: u32, image: Image) -> Option<Flaw> {
        match check_header(number, &image.bytes) {
            Ok((header, crc)) => {
                let flaw = self.take_log(header, crc, image)?;
                let in_checkpoint = flaw.at.offset() <= FIRST_FRAME && flaw.cure == Cure::CutAt(flaw.at);
                Some(if in_checkpoint { Flaw { cure: Cure::Restart, ..flaw } } else { flaw })
            }
            Err(what) => Some(Flaw::new(number, 0, what, Cure::Restart)),
        }
    }

    fn take_next(&mut self, number: u32, roll: Roll, image: Image) -> Option<Flaw> {
        let (header, crc) = match check_header(number, &image.bytes) {
            Ok(header) => header,
            Err(what) => return Some(Flaw::cut(number, 0, what)),
        };
        if (header.prev_end, header.prev_chain, header.seed) != (roll.at, roll.chain, roll.seed) {
            return Some(Flaw::cut(number, 0, "this is not the segment that the one before was continued in"));
        }
        self.take_log(header, crc, image)
    }

    fn take_log(&mut self, header: SegmentHeader, crc: u32, image: Image) -> Option<Flaw> {
        let white = Whitening::new(header.seed);
        let (mut records, mut touched) = (0, BTreeSet::new());
        let cells = &mut self.scan.cells;
        let mut walked = walk::walk(&image.bytes, &header, crc, |frame, payload| {
            let at = frame.position.offset();
            if (frame.kind == Kind::Checkpoint) != (at == FIRST_FRAME) {
                return Err("a segment begins with its only checkpoint".into());
            }
            let mut plain = Vec::new();
            if frame.kind == Kind::Checkpoint {
                plain.extend_from_slice(payload);
                white.apply(&mut plain, at + HEADER_LEN);
            }
            if frame.kind == Kind::Record {
                records += 1;
                touched.insert(frame.cell);
            }
            cells.accept(frame, &plain)
        });
        let end = walked.end;
        if end == FIRST_FRAME && !matches!(walked.tail, Tail::Damaged { .. }) {
            walked.tail = Tail::Damaged { what: "the checkpoint at the beginning of the segment is missing".into() };
        }
        let number = header.number;
        let flaw = match &walked.tail {
            Tail::Damaged { what } => Some(Flaw::cut(number, end, what.as_str())),
            Tail::Stray { at, what } => Some(Flaw::new(number, *at, what.as_str(), Cure::Wipe(number, end))),
            Tail::Rolled(_) | Tail::Clean | Tail::Torn => None,
        };
        self.scan.segments.push(Found { header, file: image.file, walked, records, cells: touched });
        flaw
    }

    /// A segment behind the end of the log holds zeros, or, right behind it, the beginning of a roll that was cut off.
    fn take_spare(&mut self, number: u32, image: Image) -> Option<Flaw> {
        let last = self.scan.segments.last()?;
        let dirty_to = image.bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        let follows = number == last.header.number.saturating_add(1);
        let prelude = FIRST_FRAME + frame_len(Cells::checkpoint_len(self.scan.cells.0.len()));
        if dirty_to > 0 && !follows {
            return Some(Flaw::new(number, 0, "a segment that was never begun is not empty", Cure::SetAside(number)));
        }
        let end = last.walked.end;
        if let Ok((header, _)) = SegmentHeader::decode(&image.bytes) {
            let log = last.header.number;
            if header.prev_end as usize != end {
                let what = format!("the next segment says that the log went on to {}", header.prev_end);
                return Some(Flaw::cut(log, end, what));
            }
            if header.prev_chain != last.walked.chain {
                return Some(Flaw::cut(log, end, "the next segment continues another log"));
            }
            if dirty_to > prelude {
                return Some(Flaw::cut(log, end, "the log goes on in the next segment, but the roll frame is missing"));
            }
        } else if let Some((at, astray)) = walk::stray(&image.bytes, 0)
            && astray.position != Position::new(number, at)
        {
            let what = format!("a frame that was written for {} lies at {at}", astray.position);
            return Some(Flaw::new(number, at, what, Cure::SetAside(number)));
        } else if dirty_to > prelude {
            return Some(Flaw::new(number, 0, "a segment that was never begun is not empty", Cure::SetAside(number)));
        }
        self.scan.spares.push(Spare { number, len: image.bytes.len() as u64, file: image.file, dirty_to });
        None
    }

    /// A log that rolled into a segment that is not there.
    fn missing_end(&self) -> Option<Flaw> {
        match self.last_tail() {
            Some(Tail::Rolled(_)) => Some(Flaw::cut(self.next_number(), 0, "the segment is missing")),
            _ => None,
        }
    }

    fn damage(&self, flaw: Flaw, numbers: &[u32]) -> Result<Damage, Error> {
        let mut salvage = Salvage::default();
        let cure = match flaw.cure {
            Cure::Restart if self.is_begun(numbers.get(1))? => Cure::DropFirst(numbers[0]),
            cure => cure,
        };
        let lost_from = match cure {
            Cure::CutAt(at) => at,
            Cure::Restart => Position::default(),
            Cure::SetAside(number) | Cure::DropFirst(number) => Position::new(number, 0),
            Cure::Wipe(number, at) => Position::new(number, at),
        };
        let only = (!matches!(cure, Cure::CutAt(_) | Cure::Restart)).then_some(lost_from.segment());
        for number in numbers.iter().filter(|n| **n >= lost_from.segment() && only.is_none_or(|o| o == **n)) {
            let from = if *number == lost_from.segment() { lost_from.offset() } else { 0 };
            walk::salvage(&self.read(*number)?.bytes, *number, from, |header| salvage.add(header));
        }
        Ok(Damage {
            file: self.dir.join(segment_name(flaw.at.segment())),
            offset: flaw.at.offset() as u64,
            what: flaw.what,
            cure,
            salvage,
        })
    }
}

impl Scanner<'_> {
    fn is_begun(&self, number: Option<&u32>) -> Result<bool, Error> {
        let Some(number) = number else { return Ok(false) };
        Ok(check_header(*number, &self.read(*number)?.bytes).is_ok())
    }
}

fn check_header(number: u32, image: &[u8]) -> Result<(SegmentHeader, u32), String> {
    let (header, crc) = SegmentHeader::decode(image)?;
    if header.number != number {
        return Err(format!("this is segment {}, under the name of segment {number}", header.number));
    }
    if header.len != image.len() as u64 {
        return Err(format!("the file is {} bytes long, but was made with {}", image.len(), header.len));
    }
    debug_assert!(!is_zero(image), "a header was decoded");
    Ok((header, crc))
}
