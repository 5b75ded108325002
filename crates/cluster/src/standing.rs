//! How much of the cells each node has, as [`assign`](crate::assign) counts: for somebody who asks why a cell is where it is. Pure.

use std::collections::BTreeMap;

use crate::{NodeName, World, assign::weights};

/// What a node has of all cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which node.
    pub node: NodeName,
    /// Whether it may be given cells.
    pub is_open: bool,
    /// Its cores: how much it is to have, against the others.
    pub cores: u32,
    /// How many cells it is to own.
    pub cells: usize,
    /// How much state those have, in bytes, as their owners said last.
    pub bytes: u64,
    /// How busy those keep cores, in thousandths of one, as their owners said last.
    pub busy: u64,
    /// What it has against what would be its share: 1 is even, and more than a tenth off makes cells move. None for a node that is to
    /// have nothing.
    pub fill: Option<f64>,
}

/// All nodes that live, by name.
pub fn standings(world: &World) -> Vec<Standing> {
    let weights = weights(world);
    let mut has: BTreeMap<&NodeName, (usize, u64, u64, u64)> = BTreeMap::new();
    for (row, weight) in world.cells.iter().zip(&weights) {
        if let Some(wanted) = &row.wanted {
            let (cells, bytes, busy, load) = has.entry(&wanted.node).or_default();
            *cells += 1;
            *bytes = bytes.saturating_add(row.bytes);
            *busy += u64::from(row.busy);
            *load += weight;
        }
    }
    let open_cores: u64 =
        world.nodes.values().filter(|node| node.is_open()).map(|node| u64::from(node.spec.cores.max(1))).sum();
    let total: u64 = weights.iter().sum();
    let living = world.nodes.values().filter(|node| !node.dead);
    let standing = living.map(|node| {
        let (cells, bytes, busy, load) = has.get(&node.spec.name).copied().unwrap_or_default();
        let share = total as f64 * f64::from(node.spec.cores.max(1)) / open_cores as f64;
        let fill = (node.is_open() && share > 0.0).then(|| load as f64 / share);
        Standing {
            node: node.spec.name.clone(),
            is_open: node.is_open(),
            cores: node.spec.cores,
            cells,
            bytes,
            busy,
            fill,
        }
    });
    standing.collect()
}
