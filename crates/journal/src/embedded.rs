//! The embedded backend: one segment log for all cells of a node.
//!
//! Always true: what was acknowledged is returned by `replay`, or opening is refused with file, offset and what is at risk.
//! A torn tail (a crash in the middle of the last group) is cut; everything else that is wrong is damage and refused.
//! The first failed write or sync ends the journal; it is never tried again. `docs/design/0001-segment-log.md` says why
//! each part is as it is, and what no single log can detect.
//!
//! ```text
//! append -> tail (order, place, queue) -> commit (leader or committer thread) -> writer (groups, rolls) -> segment
//! open   -> scan -> walk (one segment) -> format            keeper: segments ahead, and unwanted ones away
//!        -> recover (cut, settle)                           check, look, repair: the same scan, offline
//! ```
//! Not here: what a record means, and cells on other nodes.

use std::{
    future::{Future, pending, poll_fn},
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::Poll,
    thread::JoinHandle,
};

use bytes::Bytes;
use stride_ids::{CELLS_EMBEDDED, CellId, Epoch, Seq};
use stride_sim::{
    Chance,
    disk::{Disk, DiskLock},
};

use self::{
    commit::{Shared, Wait},
    format::{Kind, Position, segment_name},
    segment::Segment,
    state::Entry,
};
use crate::{Error, Fenced, Journal, Opened, Pending, Record};

mod check;
mod commit;
mod format;
mod keeper;
mod look;
mod recover;
mod repair;
mod scan;
mod segment;
mod state;
mod tail;
mod walk;
mod writer;

pub use check::{AtRisk, CellReport, DamageReport, Report, SegmentReport, check};
pub use look::Look;
pub use repair::{GivenUp, RepairPlan, Step, plan_repair};

/// The longest record that any embedded journal takes; small segments take less.
pub const RECORD_LEN_MAX: usize = 8 << 20;
/// The longest segment: offsets are 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;
const LOCK: &str = "lock";

/// How a log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many cells there are; fixed when the log is begun.
    pub cells: u16,
    /// How long the next segments are. A record must fit into one.
    pub segment_bytes: u64,
    /// Who does the work that no caller waits for.
    pub threads: Threads,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cells: CELLS_EMBEDDED, segment_bytes: 32 << 20, threads: Threads::Own }
    }
}

/// Who does the work that no caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Threads of the journal: one commits under load, one prepares segments.
    Own,
    /// Whoever calls, so that a simulation replays from its seed.
    None,
}

/// A journal in a directory of this machine.
pub struct EmbeddedJournal {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    // Given back last: fields drop in order.
    _lock: DiskLock,
}

impl EmbeddedJournal {
    /// Opens the log in `dir`, or begins one, and locks it against every other process.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a crash does not explain what is there, [`Error::InUse`], [`Error::CellsFixed`],
    /// [`Error::Invalid`] settings, [`Error::Full`] if a log cannot be begun, and [`Error::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, settings: Settings, chance: Chance) -> Result<Self, Error> {
        check_settings(&settings)?;
        let made = disk.create_dir(dir).and_then(|()| match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent),
            _ => Ok(()),
        });
        made.map_err(|e| Error::io(format!("create {}", dir.display()), &e))?;
        let lock = lock(&*disk, dir)?;
        let end = recover::recover(&*disk, dir, &settings, &chance)?;
        let shared = Arc::new(Shared::new(&settings, disk, dir.into(), chance, end));
        let mut journal = Self { shared, threads: Vec::new(), _lock: lock };
        match settings.threads {
            Threads::Own => {
                journal.start("journal-commit", Shared::run_committer)?;
                journal.start("journal-keep", Shared::run_keeper)?;
            }
            Threads::None => {}
        }
        Ok(journal)
    }

    fn start(&mut self, name: &str, run: fn(&Shared)) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(&shared));
        self.threads.push(thread.map_err(|e| Error::io(format!("start the thread {name}"), &e))?);
        Ok(())
    }

    fn wait(&self, cell: CellId, epoch: Epoch, seq: Seq, at: Position) -> Pending {
        Pending::new(seq, Wait::new(Arc::clone(&self.shared), cell, epoch, seq, at))
    }
}

/// Takes the lock of a log that may be there.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<DiskLock, Error> {
    let path = dir.join(LOCK);
    disk.lock(&path).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => Error::InUse { dir: dir.display().to_string() },
        _ => Error::io(format!("lock {}", path.display()), &e),
    })
}

fn check_settings(settings: &Settings) -> Result<(), Error> {
    let len = usize::try_from(settings.segment_bytes).unwrap_or(usize::MAX);
    if settings.cells == 0 {
        return Err(Error::Invalid("a journal needs at least one cell".into()));
    }
    if settings.segment_bytes > SEGMENT_BYTES_MAX || tail::record_len_max(usize::from(settings.cells), len) == 0 {
        let why = format!("segments of {len} bytes: too short for {} cells, or over 2 GiB", settings.cells);
        return Err(Error::Invalid(why));
    }
    Ok(())
}

impl Journal for EmbeddedJournal {
    fn open(&self, cells: &[CellId]) -> Result<Vec<Opened>, Error> {
        let open = |cell: &CellId| {
            if self.shared.threads == Threads::None {
                self.shared.keep_all();
            }
            let (epoch, last, at) = self.shared.tail.lock().take_over(*cell)?;
            self.shared.settle(*cell, epoch, last, at)?;
            Ok(Opened { epoch, last })
        };
        cells.iter().map(open).collect()
    }

    fn open_at(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        let open = |(cell, epoch): &(CellId, Epoch)| {
            let still = self.shared.tail.lock().cell(*cell)?.epoch == *epoch;
            if still { self.open_one(*cell).map(Some) } else { Ok(None) }
        };
        cells.iter().map(open).collect()
    }

    /// An epoch that nobody writes with.
    fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        if self.shared.threads == Threads::None {
            self.shared.keep_all();
        }
        let (epoch, last, at) = {
            let mut tail = self.shared.tail.lock();
            tail.owned(cell, epoch)?;
            tail.take_over(cell)?
        };
        self.shared.settle(cell, epoch, last, at).map(drop)
    }

    fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        if self.shared.threads == Threads::None {
            self.shared.keep_all();
        }
        let mut ordered = self.shared.tail.lock().append(cell, epoch, &record);
        if matches!(ordered, Err(Error::Busy(_))) && self.shared.await_supply() {
            ordered = self.shared.tail.lock().append(cell, epoch, &record);
        }
        let (seq, at) = ordered?;
        Ok(self.wait(cell, epoch, seq, at))
    }

    fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending {
        let mut tail = self.shared.tail.lock();
        let at = tail.owned(cell, epoch).and_then(|owned| {
            if seq > owned.last {
                return Err(Error::NotOrdered { cell, seq, last: owned.last });
            }
            // What was given up was durable.
            Ok(owned.entry(seq).map_or(Position::default(), |entry| entry.position))
        });
        drop(tail);
        match at {
            Ok(at) => self.wait(cell, epoch, seq, at),
            Err(e) => Pending::new(seq, std::future::ready(Err(e))),
        }
    }

    fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let wanted = self.wanted(cell, after)?;
        let read = |(seq, entry, segment): (Seq, Entry, Arc<Segment>)| {
            let is_it = |h: &format::Header| h.kind == Kind::Record && h.cell == cell && h.seq == seq;
            let bytes = segment.read(entry, is_it).map_err(|what| Error::Damaged {
                file: self.shared.dir.join(segment_name(segment.number)).display().to_string(),
                offset: entry.position.offset() as u64,
                what,
                at_risk: format!("record {seq} of {cell}"),
            })?;
            Ok(Record { seq, bytes })
        };
        wanted.into_iter().map(read).collect()
    }

    fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error> {
        let durable = self.shared.durable();
        let mut tail = self.shared.tail.lock();
        tail.truncate(cell, through, durable)?;
        if tail.unwanted(durable).is_some() {
            self.shared.keeper.notify_one();
        }
        Ok(())
    }

    fn stopped(&self) -> Pin<Box<dyn Future<Output = Error> + Send + '_>> {
        Box::pin(poll_fn(|cx| {
            let mut tail = self.shared.tail.lock();
            if let Some(why) = &tail.stopped {
                return Poll::Ready(Error::Stopped(why.clone()));
            }
            if !tail.mourners.iter().any(|waker| waker.will_wake(cx.waker())) {
                tail.mourners.push(cx.waker().clone());
            }
            Poll::Pending
        }))
    }

    /// The lock on the directory keeps everybody else out.
    fn lost(&self) -> Pin<Box<dyn Future<Output = Fenced> + Send + '_>> {
        Box::pin(pending())
    }
}

impl EmbeddedJournal {
    /// Where the durable records of a cell behind `after` lie.
    fn wanted(&self, cell: CellId, after: Seq) -> Result<Vec<(Seq, Entry, Arc<Segment>)>, Error> {
        let durable = self.shared.durable();
        let mut tail = self.shared.tail.lock();
        let found = tail.cell(cell)?;
        let floor = found.floor();
        if after < floor {
            return Err(Error::Gap { cell, after, first: floor.next() });
        }
        let skip = usize::try_from(after.0 - floor.0).unwrap_or(usize::MAX);
        let entries: Vec<Entry> =
            found.index.iter().skip(skip).take_while(|entry| entry.position < durable).copied().collect();
        let seqs = (after.0 + 1..).map(Seq);
        let held = |entry: &Entry| tail.held.get(&entry.position.segment()).map(|held| Arc::clone(&held.segment));
        Ok(seqs.zip(entries).filter_map(|(seq, entry)| Some((seq, entry, held(&entry)?))).collect())
    }
}

impl Drop for EmbeddedJournal {
    /// Writes what is queued, seals the log and ends the threads.
    fn drop(&mut self) {
        let shared = &self.shared;
        {
            let mut tail = shared.tail.lock();
            tail.closing = true;
            shared.committer.notify_all();
            shared.keeper.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already; there is nobody to tell here.
            let _ = thread.join();
        }
        // A seal is a group of its own, or it would not prove anything about what was queued.
        for seal in [false, true] {
            let end = {
                let mut tail = shared.tail.lock();
                if seal {
                    tail.seal();
                }
                tail.end()
            };
            // The position before the end is durable when everything is. A failure stopped the journal and was logged.
            let _ = shared.settle(CellId(0), Epoch(0), Seq::ZERO, Position(end.0 - 1));
        }
    }
}
