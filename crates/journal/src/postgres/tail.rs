//! What is ordered, what has been sent, and what the server's answers mean. Pure: no socket, no clock, no task, so that
//! every order of answers, losses and takeovers can be tried without a server (`tail/tests.rs`).
//!
//! A record's identity is its cell, the epoch and the holder that wrote it, and its position. The server stores a batch's
//! part for a cell only if epoch and holder own the cell and the part begins right behind the cell's last record, so
//! the same record can be sent as often as need be and is stored once.
//!
//! Always true: a record is acknowledged only when the server said that it is stored, in the answer to the batch or when
//! it was asked again; a cell that is in doubt sends nothing until the server has been asked; the order of a cell's
//! records never changes; what an append is refused leaves no trace.

use std::{
    collections::{HashSet, VecDeque},
    task::Waker,
};

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};

use crate::{Error, Fenced, Receipt, embedded::RECORD_LEN_MAX};

/// The most bytes that may wait to be stored.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;
/// The most records in a batch.
pub(crate) const BATCH_RECORDS_MAX: usize = 4096;
/// About how many bytes of records a batch has at most; a single record may be longer.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;
/// What a record costs beside its bytes, roughly: small ones do not make the buffer endless.
const RECORD_OVERHEAD: usize = 128;

/// A record that is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) bytes: Bytes,
}

impl Ordered {
    fn cost(&self) -> usize {
        self.bytes.len() + RECORD_OVERHEAD
    }
}

/// What a batch has for one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    /// The position before its first record.
    pub(crate) before: Seq,
    pub(crate) last: Seq,
}

/// Records of many cells that are stored by one statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) parts: Vec<Part>,
    pub(crate) records: Vec<Ordered>,
}

/// What the server says of a cell when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    /// Whether epoch and holder are those of whom asks.
    pub(crate) owned: bool,
    /// The last record of the cell.
    pub(crate) last: Seq,
    /// The last record that is there of those that the asker's epoch and holder wrote.
    pub(crate) own_last: Option<Seq>,
}

/// Who owns a cell, as far as this journal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// This journal, with the newest epoch that it knows.
    Us,
    /// This journal, which is about to raise the epoch.
    Opening,
    /// This journal, which is about to give the cell up.
    Releasing,
    /// Somebody else, with this epoch.
    Other(Epoch),
}

#[derive(Debug)]
struct Cell {
    owner: Owner,
    /// The newest epoch that this journal had; zero before the first.
    epoch: Epoch,
    /// The last record that was there when that epoch began.
    began: Seq,
    /// The first of the epochs since when nobody else has owned the cell.
    unbroken: Epoch,
    /// The last record that is ordered.
    last: Seq,
    /// The last record that the server is known to hold.
    durable: Seq,
    /// Up to where the records can be given up, and up to where the server knows.
    floor: Seq,
    floor_told: Seq,
    /// Sent, with an outcome that is not known and will not come by itself.
    in_doubt: bool,
    waiters: Vec<(Seq, Waker)>,
}

impl Cell {
    fn new() -> Self {
        Self {
            owner: Owner::Other(Epoch(0)),
            epoch: Epoch(0),
            began: Seq::ZERO,
            unbroken: Epoch(0),
            last: Seq::ZERO,
            durable: Seq::ZERO,
            floor: Seq::ZERO,
            floor_told: Seq::ZERO,
            in_doubt: false,
            waiters: Vec::new(),
        }
    }

    fn current(&self) -> Epoch {
        match self.owner {
            Owner::Us | Owner::Opening | Owner::Releasing => self.epoch,
            Owner::Other(epoch) => epoch,
        }
    }

    fn wake(&mut self) {
        let (durable, all) = (self.durable, matches!(self.owner, Owner::Other(_)));
        for (_, waker) in self.waiters.extract_if(.., |(seq, _)| all || *seq <= durable) {
            waker.wake();
        }
    }
}

/// All that waits to be stored, and what became of what was sent.
#[derive(Debug)]
pub(crate) struct Tail {
    cells: Vec<Cell>,
    /// Ordered and not sent, in order.
    queue: VecDeque<Ordered>,
    /// Sent, without an answer yet or in doubt, in order.
    sent: Vec<Ordered>,
    waiting_bytes: usize,
    /// Somebody waits for something in the queue.
    hurried: bool,
    /// The cells that somebody else was found to own, until somebody is told.
    lost: VecDeque<Fenced>,
    stopped: Option<Error>,
    /// Who waits for the end, or for a cell that is lost.
    mourners: Vec<Waker>,
}

impl Tail {
    pub(crate) fn new(cells: u16) -> Self {
        Self {
            cells: (0..cells).map(|_| Cell::new()).collect(),
            queue: VecDeque::new(),
            sent: Vec::new(),
            waiting_bytes: 0,
            hurried: false,
            lost: VecDeque::new(),
            stopped: None,
            mourners: Vec::new(),
        }
    }

    fn cell(&mut self, id: CellId) -> Result<&mut Cell, Error> {
        let cells = self.cells.len();
        self.cells.get_mut(usize::from(id.0)).ok_or(Error::UnknownCell { cell: id, cells })
    }

    /// Whether there is such a cell.
    pub(crate) fn check_known(&self, id: CellId) -> Result<(), Error> {
        let cells = self.cells.len();
        if usize::from(id.0) < cells { Ok(()) } else { Err(Error::UnknownCell { cell: id, cells }) }
    }

    /// A cell that an answer or a record names, so it is one of ours.
    fn known(&mut self, id: CellId) -> &mut Cell {
        &mut self.cells[usize::from(id.0)]
    }

    pub(crate) fn check_running(&self) -> Result<(), Error> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    fn owned(&mut self, id: CellId, epoch: Epoch) -> Result<&mut Cell, Error> {
        let cell = self.cell(id)?;
        match cell.owner {
            Owner::Us if cell.epoch == epoch => Ok(cell),
            Owner::Opening if cell.epoch == epoch => {
                Err(Error::Busy(format!("{id} is being taken over; the epoch after this one is on its way")))
            }
            Owner::Releasing if cell.epoch == epoch => Err(Error::Busy(format!("{id} is being released"))),
            _ => Err(Error::Fenced { cell: id, epoch, current: cell.current() }),
        }
    }

    /// Whether a record of this length could be ordered, if there is room.
    pub(crate) fn check_append(&mut self, id: CellId, epoch: Epoch, len: usize) -> Result<(), Error> {
        self.check_running()?;
        self.owned(id, epoch)?;
        if len > RECORD_LEN_MAX { Err(Error::TooLarge { len, max: RECORD_LEN_MAX }) } else { Ok(()) }
    }

    /// Orders a record.
    pub(crate) fn append(&mut self, id: CellId, epoch: Epoch, bytes: Bytes) -> Result<Seq, Error> {
        self.check_append(id, epoch, bytes.len())?;
        let waiting = self.waiting_bytes;
        let cell = self.owned(id, epoch)?;
        let seq = cell.last.next();
        let record = Ordered { cell: id, epoch, seq, bytes };
        if waiting + record.cost() > WAITING_BYTES_MAX {
            return Err(Error::Busy(format!("{waiting} bytes wait for the database, of {WAITING_BYTES_MAX} at most")));
        }
        cell.last = seq;
        self.waiting_bytes += record.cost();
        self.queue.push_back(record);
        Ok(seq)
    }

    /// Whether `seq` may be waited for.
    pub(crate) fn check_ordered(&mut self, id: CellId, epoch: Epoch, seq: Seq) -> Result<(), Error> {
        let last = self.owned(id, epoch)?.last;
        if seq > last { Err(Error::NotOrdered { cell: id, seq, last }) } else { Ok(()) }
    }

    /// What became of a record that was ordered in `epoch`; none while that is open.
    pub(crate) fn outcome(&mut self, id: CellId, epoch: Epoch, seq: Seq) -> Option<Result<Receipt, Error>> {
        let stopped = self.stopped.clone();
        let cell = self.known(id);
        let in_our_time = epoch == cell.epoch || (epoch >= cell.unbroken && seq <= cell.began);
        if in_our_time && seq <= cell.durable {
            return Some(Ok(Receipt::new(id, epoch, seq)));
        }
        if let Some(why) = stopped {
            return Some(Err(why));
        }
        match cell.owner {
            Owner::Us | Owner::Opening | Owner::Releasing if epoch == cell.epoch => None,
            _ => Some(Err(Error::Fenced { cell: id, epoch, current: cell.current() })),
        }
    }

    /// Has `waker` woken when there may be an outcome.
    pub(crate) fn wait(&mut self, id: CellId, seq: Seq, waker: &Waker) {
        let waiters = &mut self.known(id).waiters;
        if !waiters.iter().any(|(at, known)| *at == seq && known.will_wake(waker)) {
            waiters.push((seq, waker.clone()));
        }
    }

    /// Has `waker` woken when all that is ordered in a cell by now may have its outcome.
    pub(crate) fn wait_for_all(&mut self, id: CellId, waker: &Waker) {
        let last = self.known(id).last;
        self.wait(id, last, waker);
    }

    /// Somebody waits: what is queued is to be sent. Whether there is anything to send.
    pub(crate) fn hurry(&mut self) -> bool {
        let news = !self.queue.is_empty() && !self.hurried;
        self.hurried |= news;
        news
    }

    /// The next records to be sent, if somebody waits for any. Cells in doubt send nothing.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        if !self.hurried || self.stopped.is_some() {
            return None;
        }
        let (mut batch, mut bytes, mut kept) = (Batch::default(), 0, VecDeque::new());
        let mut part_of = vec![None; self.cells.len()];
        while let Some(record) = self.queue.pop_front() {
            if self.known(record.cell).in_doubt {
                kept.push_back(record);
                continue;
            }
            let full = batch.records.len() >= BATCH_RECORDS_MAX || bytes + record.bytes.len() > BATCH_BYTES_MAX;
            if full && !batch.records.is_empty() {
                self.queue.push_front(record);
                break;
            }
            bytes += record.bytes.len();
            let at = *part_of[usize::from(record.cell.0)].get_or_insert_with(|| {
                let before = Seq(record.seq.0 - 1);
                batch.parts.push(Part { cell: record.cell, epoch: record.epoch, before, last: before });
                batch.parts.len() - 1
            });
            batch.parts[at].last = record.seq;
            self.sent.push(record.clone());
            batch.records.push(record);
        }
        while let Some(record) = kept.pop_back() {
            self.queue.push_front(record);
        }
        self.hurried = !self.queue.is_empty();
        // One order for all who lock cells.
        batch.parts.sort_by_key(|part| part.cell);
        (!batch.records.is_empty()).then_some(batch)
    }

    /// The server's answer to a batch: the cells whose part it has stored. The others are in doubt.
    pub(crate) fn answered(&mut self, batch: &Batch, stored: &[CellId]) {
        let stored: HashSet<&CellId> = stored.iter().collect();
        for part in &batch.parts {
            let cell = self.known(part.cell);
            if stored.contains(&part.cell) {
                cell.durable = cell.durable.max(part.last);
                cell.wake();
            } else {
                cell.in_doubt = true;
            }
        }
        self.forget_stored();
    }

    /// No answer comes any more to what was sent: everything in it is in doubt.
    pub(crate) fn unanswered(&mut self) {
        let cells: Vec<CellId> = self.sent.iter().map(|record| record.cell).collect();
        for cell in cells {
            self.known(cell).in_doubt = true;
        }
    }

    /// The server is to be asked about these cells, because somebody else may own them.
    pub(crate) fn doubt(&mut self, cells: &[CellId]) {
        for id in cells {
            let cell = self.known(*id);
            cell.in_doubt |= cell.owner == Owner::Us;
        }
    }

    /// The cells that the server has to be asked about before they go on, with the epoch to ask for.
    pub(crate) fn doubts(&self) -> Vec<(CellId, Epoch)> {
        let cells = (0u16..).zip(&self.cells);
        cells.filter(|(_, cell)| cell.in_doubt).map(|(id, cell)| (CellId(id), cell.epoch)).collect()
    }

    /// What the server says of the cells that were in doubt: what it holds is acknowledged, the rest is sent again, or
    /// refused if somebody else owns the cell by now.
    pub(crate) fn resolve(&mut self, statuses: &[Status]) {
        for status in statuses {
            if let Err(lost) = self.resolve_one(status) {
                self.stop(lost);
                return;
            }
        }
        self.forget_stored();
        let (again, sent): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|record| statuses.iter().any(|status| status.cell == record.cell));
        self.sent = sent;
        self.hurried |= !again.is_empty() || !self.queue.is_empty();
        for record in again.into_iter().rev() {
            self.queue.push_front(record);
        }
        for status in statuses {
            if !status.owned {
                self.drop_waiting(status.cell);
            }
        }
    }

    fn resolve_one(&mut self, status: &Status) -> Result<(), Error> {
        let cell = self.known(status.cell);
        cell.in_doubt = false;
        // Of what we wrote, only that is certain which is there; what was durable before and is gone was given up.
        let stored = if status.owned { Some(status.last) } else { status.own_last };
        let forgot_us = status.epoch < cell.epoch || (status.epoch == cell.epoch && !status.owned);
        if forgot_us || status.last < cell.durable {
            return Err(Error::Lost(format!(
                "{} was at record {} of epoch {} and is at record {} of epoch {} now; it may have failed over to a standby that \
                 was not synchronous",
                status.cell, cell.durable, cell.epoch.0, status.last, status.epoch.0
            )));
        }
        if let Some(stored) = stored {
            cell.durable = cell.durable.max(stored.min(cell.last));
        }
        if !status.owned {
            let fenced = Fenced { cell: status.cell, epoch: cell.epoch, current: status.epoch };
            cell.owner = Owner::Other(status.epoch);
            self.lose(fenced);
        }
        self.known(status.cell).wake();
        Ok(())
    }

    /// A cell is lost: whoever asks is told.
    pub(crate) fn lose(&mut self, fenced: Fenced) {
        self.lost.retain(|known| known.cell != fenced.cell);
        self.lost.push_back(fenced);
        self.wake_mourners();
    }

    /// Takes back what is not stored of a cell that is not ours any more.
    fn drop_waiting(&mut self, id: CellId) {
        let mut freed = 0;
        self.queue.retain(|record| {
            if record.cell == id {
                freed += record.cost();
            }
            record.cell != id
        });
        self.waiting_bytes -= freed;
    }

    fn forget_stored(&mut self) {
        let cells = &self.cells;
        let stored = |record: &mut Ordered| record.seq <= cells[usize::from(record.cell.0)].durable;
        let freed: usize = self.sent.extract_if(.., stored).map(|record| record.cost()).sum();
        self.waiting_bytes -= freed;
    }

    /// A takeover by this journal begins: nothing more is ordered in the cells until it ends. All of them or none.
    pub(crate) fn begin_open(&mut self, ids: &[CellId]) -> Result<(), Error> {
        self.check_running()?;
        for id in ids {
            match self.cell(*id)?.owner {
                Owner::Opening => return Err(Error::Busy(format!("{id} is being taken over already"))),
                Owner::Releasing => return Err(Error::Busy(format!("{id} is being released"))),
                Owner::Us | Owner::Other(_) => {}
            }
        }
        self.hurry();
        for id in ids {
            let cell = self.known(*id);
            if cell.owner == Owner::Us {
                cell.owner = Owner::Opening;
            }
        }
        Ok(())
    }

    /// Whether this journal owns a cell, and took it over after `epoch`.
    pub(crate) fn is_ours_since(&self, id: CellId, epoch: Epoch) -> bool {
        self.cells.get(usize::from(id.0)).is_some_and(|cell| cell.owner == Owner::Us && cell.epoch > epoch)
    }

    /// A release begins: nothing more is ordered in the cell.
    pub(crate) fn begin_release(&mut self, id: CellId, epoch: Epoch) -> Result<(), Error> {
        self.check_running()?;
        self.owned(id, epoch)?.owner = Owner::Releasing;
        self.hurry();
        Ok(())
    }

    /// Whether everything that was ordered in a cell has its outcome, and the server is not being asked about it: the
    /// answer would be about the epoch before.
    pub(crate) fn is_idle(&mut self, id: CellId) -> bool {
        let waits = self.known(id).in_doubt || self.queue.iter().chain(&self.sent).any(|record| record.cell == id);
        self.stopped.is_some() || !waits
    }

    /// The cell is nobody's now, or somebody else's, with this epoch.
    pub(crate) fn gone(&mut self, id: CellId, current: Epoch) {
        let cell = self.known(id);
        cell.owner = Owner::Other(current);
        cell.wake();
    }

    /// The takeover succeeded.
    pub(crate) fn opened(&mut self, id: CellId, epoch: Epoch, last: Seq, floor: Seq) {
        let cell = self.known(id);
        let unbroken = cell.owner == Owner::Opening && epoch == Epoch(cell.epoch.0 + 1);
        *cell = Cell {
            owner: Owner::Us,
            epoch,
            began: last,
            unbroken: if unbroken { cell.unbroken } else { epoch },
            last,
            durable: last,
            floor,
            floor_told: floor,
            in_doubt: false,
            waiters: std::mem::take(&mut cell.waiters),
        };
        // Who waits with an older epoch has an outcome now.
        for (_, waker) in std::mem::take(&mut cell.waiters) {
            waker.wake();
        }
    }

    /// The takeover or release failed. The server may have made it nonetheless, so it is asked.
    pub(crate) fn not_changed(&mut self, id: CellId) {
        let cell = self.known(id);
        if matches!(cell.owner, Owner::Opening | Owner::Releasing) {
            cell.owner = Owner::Us;
            cell.in_doubt = true;
        }
    }

    /// Notes that the records up to `through` are not needed any more; what is not durable is.
    pub(crate) fn truncate(&mut self, id: CellId, through: Seq) -> Result<(), Error> {
        let cell = self.cell(id)?;
        cell.floor = cell.floor.max(through.min(cell.durable));
        Ok(())
    }

    /// Up to where the records of a cell are given up.
    pub(crate) fn floor(&mut self, id: CellId) -> Seq {
        self.known(id).floor
    }

    /// The floors that the server does not know yet, of the cells that are ours.
    pub(crate) fn floors(&self) -> Vec<(CellId, Epoch, Seq)> {
        let news = |cell: &Cell| cell.owner == Owner::Us && cell.floor > cell.floor_told;
        let cells = (0u16..).zip(&self.cells).filter(|(_, cell)| news(cell));
        cells.map(|(id, cell)| (CellId(id), cell.epoch, cell.floor)).collect()
    }

    /// The server knows these floors now.
    pub(crate) fn floors_told(&mut self, floors: &[(CellId, Epoch, Seq)]) {
        for (id, epoch, floor) in floors {
            let cell = self.known(*id);
            if cell.epoch == *epoch {
                cell.floor_told = cell.floor_told.max(*floor);
            }
        }
    }

    /// The cells that this journal believes to own, with their epochs.
    pub(crate) fn ours(&self) -> Vec<(CellId, Epoch)> {
        let cells = (0u16..).zip(&self.cells).filter(|(_, cell)| cell.owner == Owner::Us);
        cells.map(|(id, cell)| (CellId(id), cell.epoch)).collect()
    }

    /// Whether anything waits for the server, sent or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Nothing can be made durable any more.
    pub(crate) fn stop(&mut self, why: Error) {
        self.stopped.get_or_insert(why);
        for cell in &mut self.cells {
            for (_, waker) in cell.waiters.drain(..) {
                waker.wake();
            }
        }
        self.wake_mourners();
    }

    /// Why nothing can be made durable any more.
    pub(crate) fn ended(&mut self, waker: &Waker) -> Option<Error> {
        let ended = self.stopped.clone();
        if ended.is_none() {
            self.mourn(waker);
        }
        ended
    }

    /// The next cell that somebody else was found to own.
    pub(crate) fn next_lost(&mut self, waker: &Waker) -> Option<Fenced> {
        let lost = self.lost.pop_front();
        if lost.is_none() {
            self.mourn(waker);
        }
        lost
    }

    fn mourn(&mut self, waker: &Waker) {
        if !self.mourners.iter().any(|known| known.will_wake(waker)) {
            self.mourners.push(waker.clone());
        }
    }

    fn wake_mourners(&mut self) {
        for waker in self.mourners.drain(..) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
