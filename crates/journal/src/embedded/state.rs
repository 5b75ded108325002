//! What the frames of a log add up to: per cell its epoch, its last record, and where its records lie.
//!
//! Always true: a cell's records have consecutive positions and the epoch that the cell had at that point; a checkpoint
//! agrees with what came before it. Whatever breaks this is refused with the reason.

use std::collections::VecDeque;

use stride_ids::{CellId, Epoch, Seq};

use super::format::{Header, Kind, Position, u64_at};

const CHECKPOINT_CELL_LEN: usize = 16;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) payload_len: u32,
}

/// One cell, as the log knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) epoch: Epoch,
    pub(crate) last: Seq,
    /// The retained records, the last of which is `last`.
    pub(crate) index: VecDeque<Entry>,
}

impl Cell {
    /// The position before the first retained record.
    pub(crate) fn floor(&self) -> Seq {
        Seq(self.last.0 - self.index.len() as u64)
    }

    /// Where a retained record lies.
    pub(crate) fn entry(&self, seq: Seq) -> Option<Entry> {
        let nth = seq.0.checked_sub(self.floor().0 + 1)?;
        self.index.get(usize::try_from(nth).ok()?).copied()
    }
}

/// All cells of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells(pub(crate) Vec<Cell>);

impl Cells {
    pub(crate) fn new(cells: u16) -> Self {
        Self(vec![Cell::default(); usize::from(cells)])
    }

    /// The payload length of a checkpoint of so many cells.
    pub(crate) fn checkpoint_len(cells: usize) -> usize {
        cells * CHECKPOINT_CELL_LEN
    }

    /// The payload of a checkpoint of this moment.
    pub(crate) fn checkpoint(&self) -> Vec<u8> {
        self.0.iter().flat_map(|cell| [cell.epoch.0, cell.last.0]).flat_map(u64::to_le_bytes).collect()
    }

    pub(crate) fn get_mut(&mut self, cell: CellId) -> Option<&mut Cell> {
        self.0.get_mut(usize::from(cell.0))
    }

    /// Takes the next frame of the log in. `payload` is without whitening, and only looked at for checkpoints.
    pub(crate) fn accept(&mut self, header: &Header, payload: &[u8]) -> Result<(), String> {
        match header.kind {
            Kind::Checkpoint => self.accept_checkpoint(payload),
            Kind::Roll | Kind::Seal => Ok(()),
            Kind::Epoch => {
                let cell = self.known(header)?;
                if header.epoch <= cell.epoch || header.seq != cell.last {
                    return Err(format!("{} is taken over out of order", header.cell));
                }
                cell.epoch = header.epoch;
                Ok(())
            }
            Kind::Record => {
                let cell = self.known(header)?;
                if header.seq != cell.last.next() {
                    return Err(format!("{} goes from record {} to {}", header.cell, cell.last, header.seq));
                }
                if header.epoch != cell.epoch {
                    return Err(format!("{} is at epoch {}, the record at {}", header.cell, cell.epoch, header.epoch));
                }
                cell.last = header.seq;
                cell.index.push_back(Entry { position: header.position, payload_len: header.payload_len });
                Ok(())
            }
        }
    }

    fn known(&mut self, header: &Header) -> Result<&mut Cell, String> {
        let cells = self.0.len();
        self.get_mut(header.cell).ok_or_else(|| format!("{} is not one of the log's {cells} cells", header.cell))
    }

    /// The first checkpoint of a log sets the state, every later one must agree with it.
    fn accept_checkpoint(&mut self, payload: &[u8]) -> Result<(), String> {
        if self.0.is_empty() {
            let cells = payload.chunks_exact(CHECKPOINT_CELL_LEN).map(|at| Cell {
                epoch: Epoch(u64_at(at, 0)),
                last: Seq(u64_at(at, 8)),
                index: VecDeque::new(),
            });
            self.0 = cells.collect();
            return Ok(());
        }
        if self.checkpoint() == payload {
            Ok(())
        } else {
            Err("the checkpoint contradicts the records before it".into())
        }
    }
}
