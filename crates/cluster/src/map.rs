//! Where requests for a cell go.

use std::collections::BTreeMap;

use stride_ids::{CellId, Epoch};

use crate::{NodeName, NodeRow};

/// Who owns what, and where they are, as this node saw it last. It may be old: who is asked and does not own a cell says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// By number.
    pub cells: Vec<Place>,
    /// All nodes, also those that are dead.
    pub nodes: BTreeMap<NodeName, NodeRow>,
}

/// Who owns a cell, and who is to own it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The cell's epoch.
    pub epoch: Epoch,
    /// A living node, if one owns it.
    pub owner: Option<NodeName>,
    /// Who is to own it.
    pub wanted: Option<NodeName>,
}

impl Map {
    /// The living node that owns a cell.
    pub fn owner(&self, cell: CellId) -> Option<&NodeRow> {
        self.nodes.get(self.place(cell)?.owner.as_ref()?)
    }

    /// Who owns a cell, and who is to.
    pub fn place(&self, cell: CellId) -> Option<&Place> {
        self.cells.get(usize::from(cell.0))
    }

    /// The nodes that live.
    pub fn living(&self) -> impl Iterator<Item = &NodeRow> {
        self.nodes.values().filter(|node| !node.dead)
    }
}
