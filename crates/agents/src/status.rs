//! How far the cells of a node are: in the journal, on disk, and in the store.

use std::{sync::Arc, time::Duration};

use stride_ids::{Address, CellId, Epoch, Seq};

use crate::{cell::Cell, cells::Inside, engine::Engine};

/// How far a cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellStatus {
    /// Which cell.
    pub cell: CellId,
    /// The epoch that its owner writes with; it rises with every takeover.
    pub epoch: Epoch,
    /// Its last record, durable or not.
    pub last: Seq,
    /// The last record that is known to be durable.
    pub durable: Seq,
    /// The last record that is in the store. After a crash it may be an older one, up to the last checkpoint.
    pub stored: Seq,
    /// How long this node took to take it over.
    pub recovered_in: Duration,
}

impl CellStatus {
    /// How many records are in the journal only, so that a takeover would replay them.
    pub fn tail(&self) -> u64 {
        self.last.0.saturating_sub(self.stored.0)
    }
}

impl Engine {
    /// How far every cell of this node is, in their order.
    pub fn cells(&self) -> Vec<CellStatus> {
        let status = |cell: &Arc<Cell>| CellStatus {
            cell: cell.id,
            epoch: cell.epoch,
            // In this order, so that no number is ahead of the one that it follows.
            stored: self.store.position(cell.id),
            durable: cell.receipt().seq(),
            last: cell.tail.lock().last,
            recovered_in: cell.recovered_in,
        };
        self.cells.owned().iter().map(status).collect()
    }

    /// The cells of this node, with the epoch of each.
    pub fn owned(&self) -> Vec<(CellId, Epoch)> {
        self.cells.owned().iter().map(|cell| (cell.id, cell.epoch)).collect()
    }

    /// How busy the turns of each cell of this node keep a core, in thousandths; none where that is not known yet.
    pub fn busy(&self) -> Vec<(CellId, Option<u32>)> {
        let now = self.clock.now();
        self.cells.owned().iter().map(|cell| (cell.id, cell.pace.lock().busy(now))).collect()
    }

    /// How many cells there are, on all nodes.
    pub fn cell_count(&self) -> u16 {
        self.settings.cells
    }

    /// Whether a cell is here and not about to leave: what is about it can be answered.
    pub fn serves(&self, cell: CellId) -> bool {
        self.cells.get(cell).is_some_and(|cell| Inside::enter(cell, false).is_some())
    }

    /// Whether the cell of an agent is here.
    pub fn is_here(&self, agent: &Address) -> bool {
        self.cell_of(agent).is_some()
    }
}
