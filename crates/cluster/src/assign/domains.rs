//! Which nodes each cell may be on: those that carry most of the labels that it demands, so all of them if one node does.
//!
//! Always true: there is a node for each cell, and what nobody carries keeps a cell from nowhere. So one label that no node has does not
//! undo the others, and agents whose data may be nowhere go on as they are: somewhere, and refused the data.

use std::collections::BTreeMap;

use stride_ids::CellId;

use crate::{Labels, NodeSpec, tables::CellRow};

/// Nodes that some cells may be on, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Domain(pub(super) usize);

/// The domains of all cells. Where nothing is demanded there is one.
pub(super) struct Domains {
    /// Of each domain, whether each node is in it.
    members: Vec<Vec<bool>>,
    /// By cell.
    of: Vec<Domain>,
}

impl Domains {
    pub(super) fn new(cells: &[CellRow], nodes: &[&NodeSpec]) -> Self {
        let mut members: Vec<Vec<bool>> = Vec::new();
        let mut known = BTreeMap::new();
        let mut domain = |labels| {
            let fit = fit(labels, nodes);
            Domain(members.iter().position(|other| *other == fit).unwrap_or_else(|| {
                members.push(fit);
                members.len() - 1
            }))
        };
        let of = cells.iter().map(|row| *known.entry(&row.labels).or_insert_with(|| domain(&row.labels))).collect();
        Self { members, of }
    }

    /// Where a cell may be.
    pub(super) fn of(&self, cell: CellId) -> Domain {
        self.of[usize::from(cell.0)]
    }

    /// Whether its cells may be on a node.
    pub(super) fn has(&self, domain: Domain, node: usize) -> bool {
        self.members[domain.0][node]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Domain> + use<> {
        (0..self.members.len()).map(Domain)
    }
}

/// Which nodes lack the fewest of some labels.
fn fit(labels: &Labels, nodes: &[&NodeSpec]) -> Vec<bool> {
    let lacking: Vec<usize> = nodes.iter().map(|node| node.lacks(labels).count()).collect();
    let fewest = lacking.iter().min();
    lacking.iter().map(|count| Some(count) == fewest).collect()
}
