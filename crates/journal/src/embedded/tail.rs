//! The end of the log as appends see it: what is ordered, where it will lie, and what waits to be written.
//!
//! Always true: a frame that got a position has its space, in a segment that is filled with zeros already; the place
//! for a segment's roll frame is never given away; what an append is refused leaves no trace. Pure but for the segments
//! it hands on: no I/O happens here, so the lock around it is held for moments.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};

use super::{
    RECORD_LEN_MAX,
    format::{FIRST_FRAME, Kind, Position, ROLL_LEN, SECTOR, frame_len},
    segment::Segment,
    state::{Cell, Cells, Entry},
    writer::{Frame, Item},
};
use crate::Error;

/// The most bytes that may wait to be written.
pub(crate) const QUEUE_LEN_MAX: usize = 64 << 20;

/// A segment that holds a part of the log, and how many of its records are still wanted.
pub(crate) struct Held {
    pub(crate) segment: Arc<Segment>,
    pub(crate) wanted: u64,
}

/// The end of the log.
pub(crate) struct Tail {
    pub(crate) cells: Cells,
    pub(crate) held: BTreeMap<u32, Held>,
    pub(crate) spares: VecDeque<Arc<Segment>>,
    /// Why the last attempt to prepare a segment failed.
    pub(crate) spare_refused: Option<String>,
    /// Where the next frame goes.
    at: Position,
    /// The length of the segment that `at` is in.
    segment_len: usize,
    record_len_max: usize,
    pub(crate) queue: Vec<Item>,
    queue_len: usize,
    /// Whether the last frame says that everything before it was acknowledged.
    sealed: bool,
    /// Who waits for which frame.
    pub(crate) waiters: Vec<(Position, Waker)>,
    /// Who waits for the end.
    pub(crate) mourners: Vec<Waker>,
    /// Somebody is writing.
    pub(crate) committing: bool,
    /// More than one caller wanted the newest group, so the next one is the committer thread's: a leader would write its own
    /// record alone while the others queue behind it.
    pub(crate) crowded: bool,
    /// How many groups in a row had nobody's record but their leader's.
    alone: u32,
    /// The committer thread is to go on with what is queued.
    pub(crate) handed_over: bool,
    pub(crate) closing: bool,
    pub(crate) stopped: Option<String>,
}

/// A group of more records than this is a crowd's.
const CROWD: usize = 2;
/// A caller who was alone in so many groups stops waiting for others.
const ALONE: u32 = 8;
/// It waits for them once in so many groups, or it would never know of them where all run on one thread.
const LOOK_EVERY: u32 = 64;

impl Tail {
    /// The end of a log whose last segment is `segment`, filled up to `at`.
    pub(crate) fn new(cells: Cells, held: BTreeMap<u32, Held>, segment: &Segment, at: usize) -> Self {
        Self {
            record_len_max: record_len_max(cells.0.len(), segment.len),
            at: Position::new(segment.number, at),
            segment_len: segment.len,
            cells,
            held,
            spares: VecDeque::new(),
            spare_refused: None,
            queue: Vec::new(),
            queue_len: 0,
            sealed: false,
            waiters: Vec::new(),
            mourners: Vec::new(),
            committing: false,
            crowded: false,
            alone: 0,
            handed_over: false,
            closing: false,
            stopped: None,
        }
    }

    /// Where the next frame goes, which is the end of everything that is ordered.
    pub(crate) fn end(&self) -> Position {
        self.at
    }

    pub(crate) fn check_running(&self) -> Result<(), Error> {
        match &self.stopped {
            Some(why) => Err(Error::Stopped(why.clone())),
            None => Ok(()),
        }
    }

    /// The cell, whoever owns it.
    pub(crate) fn cell(&mut self, id: CellId) -> Result<&mut Cell, Error> {
        let cells = self.cells.0.len();
        self.cells.get_mut(id).ok_or(Error::UnknownCell { cell: id, cells })
    }

    /// The cell, if this epoch still owns it.
    pub(crate) fn owned(&mut self, id: CellId, epoch: Epoch) -> Result<&mut Cell, Error> {
        let cell = self.cell(id)?;
        if cell.epoch == epoch {
            return Ok(cell);
        }
        Err(Error::Fenced { cell: id, epoch, current: cell.epoch })
    }

    /// Orders a record and says where it will lie.
    pub(crate) fn append(&mut self, id: CellId, epoch: Epoch, record: &Bytes) -> Result<(Seq, Position), Error> {
        self.check_running()?;
        let seq = self.owned(id, epoch)?.last.next();
        if record.len() > self.record_len_max {
            return Err(Error::TooLarge { len: record.len(), max: self.record_len_max });
        }
        let payload_len = record.len() as u32;
        let position = self.push(Kind::Record, id, epoch, seq, record.clone())?;
        let cell = self.cell(id)?;
        cell.last = seq;
        cell.index.push_back(Entry { position, payload_len });
        if let Some(held) = self.held.get_mut(&position.segment()) {
            held.wanted += 1;
        }
        Ok((seq, position))
    }

    /// Raises the epoch of a cell and says where that will lie.
    pub(crate) fn take_over(&mut self, id: CellId) -> Result<(Epoch, Seq, Position), Error> {
        self.check_running()?;
        let cell = self.cell(id)?;
        let (epoch, last) = (Epoch(cell.epoch.0 + 1), cell.last);
        let position = self.push(Kind::Epoch, id, epoch, last, Bytes::new())?;
        self.cell(id)?.epoch = epoch;
        Ok((epoch, last, position))
    }

    /// Ends the log with a seal, unless it has one. Without room there is none, which costs only what a seal adds.
    pub(crate) fn seal(&mut self) {
        if self.sealed || self.stopped.is_some() {
            return;
        }
        // Two frames that are a sector apart: the loss of one sector takes a record's end and this proof at most once.
        let apart = Bytes::from_static(&[0; SECTOR]);
        let pushed =
            [apart, Bytes::new()].map(|payload| self.push(Kind::Seal, CellId(0), Epoch(0), Seq::ZERO, payload));
        self.sealed = pushed.iter().all(Result::is_ok);
    }

    fn push(&mut self, kind: Kind, cell: CellId, epoch: Epoch, seq: Seq, payload: Bytes) -> Result<Position, Error> {
        let len = frame_len(payload.len());
        if self.queue_len + len > QUEUE_LEN_MAX {
            return Err(Error::Busy(format!(
                "{} bytes wait to be written, of {QUEUE_LEN_MAX} at most",
                self.queue_len
            )));
        }
        if self.at.offset() + len + ROLL_LEN > self.segment_len {
            self.roll()?;
        }
        let position = self.at;
        self.at = Position::new(position.segment(), position.offset() + len);
        self.queue_len += len;
        self.sealed = false;
        self.queue.push(Item::Frame(Frame { kind, cell, epoch, seq, position, payload }));
        Ok(position)
    }

    fn roll(&mut self) -> Result<(), Error> {
        let Some(next) = self.spares.pop_front() else {
            return Err(match &self.spare_refused {
                Some(why) => Error::Full(why.clone()),
                None => Error::Busy("the log grows faster than its next segment can be prepared".into()),
            });
        };
        let checkpoint = self.cells.checkpoint();
        self.at = Position::new(next.number, FIRST_FRAME + frame_len(checkpoint.len()));
        self.segment_len = next.len;
        self.record_len_max = record_len_max(self.cells.0.len(), next.len);
        self.held.insert(next.number, Held { segment: Arc::clone(&next), wanted: 0 });
        self.queue.push(Item::Roll(next, checkpoint.into()));
        Ok(())
    }

    /// Everything that waits to be written.
    pub(crate) fn take_queue(&mut self) -> Vec<Item> {
        self.queue_len = 0;
        self.crowded = self.queue.len() > CROWD;
        self.alone = if self.queue.len() > 1 { 0 } else { self.alone.wrapping_add(1) };
        std::mem::take(&mut self.queue)
    }

    /// Whether a leader does well to let others append first. To let them costs a tenth of a short sync, because idle workers
    /// are woken to look for what there is not.
    pub(crate) fn may_have_others(&self) -> bool {
        self.alone < ALONE || self.alone.is_multiple_of(LOOK_EVERY)
    }

    /// Gives up the records of a cell up to `through`, of those that lie before `durable`.
    pub(crate) fn truncate(&mut self, id: CellId, through: Seq, durable: Position) -> Result<(), Error> {
        let cell = self.cell(id)?;
        let mut given_up = Vec::new();
        while cell.floor() < through {
            match cell.index.front() {
                Some(entry) if entry.position < durable => given_up.push(entry.position.segment()),
                _ => break,
            }
            cell.index.pop_front();
        }
        for segment in given_up {
            if let Some(held) = self.held.get_mut(&segment) {
                held.wanted -= 1;
            }
        }
        Ok(())
    }

    /// Whether the log may have to wait for a segment that is on its way.
    pub(crate) fn is_undersupplied(&self) -> bool {
        self.spares.is_empty() && self.spare_refused.is_none() && self.stopped.is_none()
    }

    /// The oldest segment, if nobody wants anything in it and the log has durably moved on.
    pub(crate) fn unwanted(&self, durable: Position) -> Option<Arc<Segment>> {
        let (number, held) = self.held.first_key_value()?;
        (held.wanted == 0 && *number < durable.segment()).then(|| Arc::clone(&held.segment))
    }

    /// The number that the next prepared segment gets.
    pub(crate) fn next_number(&self) -> u32 {
        self.spares.back().map_or(self.at.segment(), |spare| spare.number) + 1
    }
}

/// The longest record that fits into an empty segment, or the limit of all records.
pub(crate) fn record_len_max(cells: usize, segment_len: usize) -> usize {
    let taken = FIRST_FRAME + frame_len(Cells::checkpoint_len(cells)) + ROLL_LEN + frame_len(0);
    RECORD_LEN_MAX.min(segment_len.saturating_sub(taken))
}
