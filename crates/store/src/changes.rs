//! Which rows of a cell changed after which record, for whoever exports only what is new. Kept in memory, so after a start
//! nothing is known of what came before; and bounded, so of a cell that changed too much nothing is known either.

use std::collections::BTreeMap;

use stride_ids::{CellId, Seq};

use crate::{key, staged::Generation};

pub(crate) struct Changes {
    /// How many rows of a cell are remembered at most.
    rows_max: usize,
    cells: Vec<Changed>,
}

/// What changed in a cell.
#[derive(Default)]
struct Changed {
    /// Whatever changed after this record is in `rows`.
    after: Seq,
    /// Rows by encoded key, with the position that the cell had when they came.
    rows: BTreeMap<Vec<u8>, Seq>,
}

impl Changes {
    /// None are known yet of cells that are at these positions.
    pub(crate) fn new(rows_max: usize, positions: impl Iterator<Item = Seq>) -> Self {
        Self { rows_max, cells: positions.map(|after| Changed { after, rows: BTreeMap::new() }).collect() }
    }

    pub(crate) fn note(&mut self, generation: &Generation) {
        for row in generation.changed() {
            let Some(cell) = key::cell_of(row) else { continue };
            let Some(at) = generation.positions.get(&cell) else { continue };
            let changed = &mut self.cells[usize::from(cell.0)];
            changed.rows.insert(row.clone(), *at);
            if changed.rows.len() > self.rows_max {
                *changed = Changed { after: *at, rows: BTreeMap::new() };
            }
        }
    }

    /// The rows that changed after a record, in order; none if that is not known.
    pub(crate) fn since(&self, cell: CellId, since: Seq) -> Option<Vec<Vec<u8>>> {
        let changed = &self.cells[usize::from(cell.0)];
        let newer = changed.rows.iter().filter(|(_, at)| **at > since);
        (changed.after <= since).then(|| newer.map(|(row, _)| row.clone()).collect())
    }

    /// Nobody will ask for what changed before this.
    pub(crate) fn forget(&mut self, cell: CellId, up_to: Seq) {
        let changed = &mut self.cells[usize::from(cell.0)];
        changed.rows.retain(|_, at| *at > up_to);
        changed.after = changed.after.max(up_to);
    }

    /// The cell was brought to a position in another way than record by record.
    pub(crate) fn restart(&mut self, cell: CellId, at: Seq) {
        self.cells[usize::from(cell.0)] = Changed { after: at, rows: BTreeMap::new() };
    }
}
