//! The contract that every backend keeps. [`contract`](crate::contract) holds the tests that say so.

use std::{
    future::{Future, Ready},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};

/// A place where records become durable, in order, per cell.
pub trait Journal: Send + Sync + 'static {
    /// Takes cells over, each of which is named once; what was found comes in the same order. Whoever had one before is
    /// fenced: its appends are refused from now on. The new epochs, and every record that was ordered before them, are
    /// durable before this returns. It blocks for about one sync. After an error some may have been taken over all the same.
    fn open(&self, cells: &[CellId]) -> Result<Vec<Opened>, Error>;

    /// The same for one cell.
    fn open_one(&self, cell: CellId) -> Result<Opened, Error> {
        let opened = self.open(&[cell])?;
        Ok(*opened.first().expect("every cell that is named has its answer"))
    }

    /// The same for those of the cells that still have the epoch that is given with them; none for the others, which
    /// somebody else has taken over or released since. So who decided on what was there takes nothing from whoever came first.
    fn open_at(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error>;

    /// Gives a cell up: all that was ordered is durable before this returns, and appends of this epoch are refused from now
    /// on. Nobody owns the cell then, at the epoch after this one, until somebody takes it over. It blocks for about one sync.
    ///
    /// # Errors
    /// [`Error::Fenced`] if somebody else owns the cell already; after any other error it is still owned.
    fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error>;

    /// Orders one record behind all that were appended to the cell before, without waiting for the disk (a backend that
    /// is overrun may hold the caller back for a moment before it refuses). The order of calls is the order of records.
    /// Space for the record is certain once this returns `Ok`; dropping the [`Pending`] does not take the record back.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::TooLarge`], [`Error::Full`], [`Error::Busy`], [`Error::Unavailable`] and
    /// [`Error::Stopped`]; nothing was ordered then, and only after `Full`, `Busy` and `Unavailable` can the same append
    /// succeed later.
    fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error>;

    /// Waits until everything up to `seq` of the cell is durable: what a read must do before it shows what it saw.
    /// `seq` must have been ordered in this epoch or be part of what [`Journal::open`] reported; otherwise the
    /// `Pending` ends in [`Error::NotOrdered`]. An older epoch ends in [`Error::Fenced`].
    fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending;

    /// The durable records of a cell after `after`, in order, with no gap.
    ///
    /// # Errors
    /// [`Error::Gap`] if records after `after` were truncated, [`Error::Damaged`] if stored bytes are wrong.
    fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error>;

    /// Gives up the records of a cell up to and including `through`; the store holds them now. A hint: a backend may
    /// keep them longer.
    fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error>;

    /// Resolves when the journal has stopped for good, with the reason. A node that sees this must end: what is in its
    /// memory can no longer be made durable.
    fn stopped(&self) -> Pin<Box<dyn Future<Output = Error> + Send + '_>>;

    /// Resolves with a cell that somebody else was found to own, or whose database this journal has given up because it was away for
    /// long, each once: what is in memory for it is stale. Whoever calls it again gets the next one. A journal that nobody
    /// shares never has one.
    fn lost(&self) -> Pin<Box<dyn Future<Output = Fenced> + Send + '_>>;
}

/// What taking over a cell found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The epoch that the new owner writes with.
    pub epoch: Epoch,
    /// The last record of the cell, zero if it never had one.
    pub last: Seq,
}

/// A cell that was taken over by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The cell.
    pub cell: CellId,
    /// The epoch that owned it until then.
    pub epoch: Epoch,
    /// The epoch that was found.
    pub current: Epoch,
}

impl From<Fenced> for Error {
    fn from(Fenced { cell, epoch, current }: Fenced) -> Self {
        Self::Fenced { cell, epoch, current }
    }
}

/// A record as it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the cell.
    pub seq: Seq,
    /// Its bytes as they were appended.
    pub bytes: Bytes,
}

/// Proof that a record, and every record of its cell before it, is durable.
///
/// Nothing outside this crate can make one, which is how "commit before reply" is a type and not a habit:
/// ```compile_fail
/// let forged = stride_journal::Receipt { cell: todo!(), epoch: todo!(), seq: todo!() };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    cell: CellId,
    epoch: Epoch,
    seq: Seq,
}

impl Receipt {
    pub(crate) fn new(cell: CellId, epoch: Epoch, seq: Seq) -> Self {
        Self { cell, epoch, seq }
    }

    /// The cell of the record.
    pub fn cell(&self) -> CellId {
        self.cell
    }

    /// The epoch it was written in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position up to which the cell is durable, at least.
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

/// How a backend makes a record durable.
pub(crate) trait Outcome: Future<Output = Result<Receipt, Error>> + Send {
    /// It will be dropped, and nobody hurries.
    fn unhurried(self: Pin<&mut Self>) {}
}

impl Outcome for Ready<Result<Receipt, Error>> {}

/// A record that is ordered and on its way to be durable.
#[must_use = "a record is durable only once its Pending resolved"]
pub struct Pending {
    seq: Seq,
    outcome: Pin<Box<dyn Outcome>>,
}

impl Pending {
    pub(crate) fn new(seq: Seq, outcome: impl Outcome + 'static) -> Self {
        Self { seq, outcome: Box::pin(outcome) }
    }

    /// The position that the record has been given.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The same, but not before `wait` is over: how a simulation makes a disk slow.
    pub fn after(self, wait: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::new(self.seq, After { wait: Some(Box::pin(wait)), outcome: self.outcome })
    }

    /// Lets go of the record without hurrying it to the disk, as dropping does: it becomes durable with the next one that
    /// somebody waits for, in any cell that is kept in the same place. For a record with which nothing leaves that was not durable before.
    pub fn unhurried(mut self) {
        self.outcome.as_mut().unhurried();
    }
}

/// An outcome that comes later.
struct After {
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    outcome: Pin<Box<dyn Outcome>>,
}

impl Future for After {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(wait) = &mut self.wait {
            std::task::ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        self.outcome.as_mut().poll(cx)
    }
}

impl Outcome for After {
    fn unhurried(mut self: Pin<&mut Self>) {
        self.outcome.as_mut().unhurried();
    }
}

impl Future for Pending {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.as_mut().poll(cx)
    }
}

/// What can go wrong, split by what the owner of a cell should do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cell was taken over or released: drop everything that is in memory for it.
    #[error("{cell} was given to another owner: epoch {current} is newer than {epoch}")]
    Fenced {
        /// The cell.
        cell: CellId,
        /// The epoch that was refused.
        epoch: Epoch,
        /// The epoch that owns the cell.
        current: Epoch,
    },
    /// The record can never be stored: refuse its cause.
    #[error("a record of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// The record's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// There is no room on the disk now; nothing was ordered. Later appends may succeed.
    #[error("no space for the journal: {0}")]
    Full(String),
    /// More waits to be written than may; nothing was ordered. Try again in a moment.
    #[error("the journal is behind: {0}")]
    Busy(String),
    /// The database does not answer now; nothing was ordered. Try again when it is back: the journal goes on by itself.
    #[error("the database is away: {0}")]
    Unavailable(String),
    /// This database cannot hold this journal.
    #[error("the database cannot hold this journal: {0}")]
    Unfit(String),
    /// A write or sync failed, so nothing is certain any more: end the node.
    #[error("the journal stopped: {0}")]
    Stopped(String),
    /// The database does not hold what it had acknowledged: end the node.
    #[error("the database lost what it had acknowledged: {0}")]
    Lost(String),
    /// Records that are needed were truncated before: the store behind the journal lost what it had promised to hold.
    #[error("{cell} needs the records after {after}, but the journal begins at {first}")]
    Gap {
        /// The cell.
        cell: CellId,
        /// The position that the store holds.
        after: Seq,
        /// The first record that is still there.
        first: Seq,
    },
    /// Stored bytes are wrong in a way that a crash does not explain.
    #[error("{file} is damaged at byte {offset}: {what}; at risk: {at_risk}")]
    Damaged {
        /// The file.
        file: String,
        /// Where the damage begins, in bytes.
        offset: u64,
        /// What was found.
        what: String,
        /// What cannot be read because of it.
        at_risk: String,
    },
    /// Another process, or another owner in this one, has the journal open.
    #[error("{dir} is in use by another process")]
    InUse {
        /// The directory.
        dir: String,
    },
    /// The number of cells is fixed when a journal is begun.
    #[error("the journal was begun with {stored} cells and cannot be opened with {asked}")]
    CellsFixed {
        /// What it was begun with.
        stored: usize,
        /// What was asked for.
        asked: u16,
    },
    /// There is no such cell: a bug of the caller.
    #[error("there is no {cell}: the journal has {cells} cells")]
    UnknownCell {
        /// The cell.
        cell: CellId,
        /// How many there are.
        cells: usize,
    },
    /// Somebody waits for a record that was never appended: a bug of the caller.
    #[error("record {seq} of {cell} was never appended; the last is {last}")]
    NotOrdered {
        /// The cell.
        cell: CellId,
        /// The record.
        seq: Seq,
        /// The last record that was appended.
        last: Seq,
    },
    /// The settings cannot work.
    #[error("invalid journal settings: {0}")]
    Invalid(String),
    /// The file system refused, before anything was acknowledged.
    #[error("{doing}: {why}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system answered.
        why: String,
    },
}

impl Error {
    pub(crate) fn io(doing: String, error: &std::io::Error) -> Self {
        Self::Io { doing, why: error.to_string() }
    }
}
