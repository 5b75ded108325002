//! Who is to own what. Pure: the same world gives the same answer, and a world that has taken the answer gives none.
//!
//! A cell weighs one, as much again as its state is of the average (of 64 MiB at least), and as much again as it is busy of what a cell
//! could be if all cores were. So many cells are spread by their number, a few large ones by their size, and work counts the more the less
//! room there is for it: in an idle cluster it moves nothing. A node is full in relation to its cores. Cells of nodes that may not have any go first, to
//! whoever is emptiest; then, only if somebody is off by more than a tenth and more than a cell, cells go from the fullest
//! node to the emptiest while that makes them clearly more even. Both ends of such a move are less full than the giver
//! was, so this ends; and when it has ended nothing is clearly uneven, so it has come to rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use stride_ids::CellId;

use crate::{NodeName, World, tables::CellRow};

/// The weight of a cell whose state is not counted.
const CELL: u64 = 1_000;
/// So much state makes a cell weigh twice as much, if the average is not more: less is nothing that has to be spread, and
/// sizes that are not known yet are no reason to move anything.
const BYTES_MIN: u128 = 64 << 20;
/// The state of a single cell weighs at most so many times the average, or it would empty its node.
const HEAVY_MAX: u64 = 8;
/// A cell is at most so busy, in thousandths of a core: no machine has more.
const BUSY_MAX: u32 = 1_000_000;

/// A cell is to be owned by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The cell.
    pub cell: CellId,
    /// Who is to own it.
    pub to: NodeName,
    /// Why.
    pub why: Why,
}

/// Why a cell is to be owned by a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It owns it already, and nobody had decided.
    Owned,
    /// Somebody asked for it.
    Pinned,
    /// Nobody was to own it.
    Unassigned,
    /// Who was to own it is dead or has left.
    Gone(NodeName),
    /// Who was to own it is draining.
    Draining(NodeName),
    /// It is emptier than that one.
    Even(NodeName),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned => f.write_str("it owned it already"),
            Self::Pinned => f.write_str("somebody asked for it"),
            Self::Unassigned => f.write_str("it was nobody's"),
            Self::Gone(from) => write!(f, "{from} is gone"),
            Self::Draining(from) => write!(f, "{from} is draining"),
            Self::Even(from) => write!(f, "{from} had more to do"),
        }
    }
}

/// What has to change so that all cells have an owner who can have them, and all nodes about as much as their cores are worth. Of cells
/// that have an owner who can have them, at most `moves_max` are moved.
pub fn assign(world: &World, moves_max: usize) -> Vec<Change> {
    let Some(mut plan) = Plan::of(world) else { return Vec::new() };
    plan.place_homeless(world);
    if plan.is_uneven() {
        plan.even_out(moves_max);
    }
    plan.changes(world)
}

/// A node that may have cells.
struct Node<'a> {
    name: &'a NodeName,
    cores: u64,
    load: u64,
    /// Those that may be moved, by weight.
    movable: BTreeSet<(u64, CellId)>,
}

impl Node<'_> {
    /// How full it would be with so much.
    fn fill(&self, load: u64) -> u64 {
        load * CELL / self.cores
    }
}

struct Plan<'a> {
    nodes: Vec<Node<'a>>,
    /// By how full they are.
    order: BTreeSet<(u64, usize)>,
    weights: Vec<u64>,
    /// Who has which cell, and why.
    homes: Vec<Option<(usize, Option<Why>)>>,
    homeless: Vec<CellId>,
}

impl<'a> Plan<'a> {
    /// As it is now; none if no node may have cells.
    fn of(world: &'a World) -> Option<Self> {
        let open = world.nodes.values().filter(|node| node.is_open());
        let nodes: Vec<Node<'_>> = open
            .map(|node| Node {
                name: &node.spec.name,
                cores: u64::from(node.spec.cores.max(1)),
                load: 0,
                movable: BTreeSet::new(),
            })
            .collect();
        if nodes.is_empty() {
            return None;
        }
        let weights = weights(world);
        let mut plan =
            Self { nodes, order: BTreeSet::new(), weights, homes: vec![None; world.cells.len()], homeless: Vec::new() };
        plan.settle(world);
        plan.order = plan.nodes.iter().enumerate().map(|(at, node)| (node.fill(node.load), at)).collect();
        Some(plan)
    }

    /// Leaves every cell where it is to be, or where it is, if it may be there.
    fn settle(&mut self, world: &World) {
        let by_name: BTreeMap<&NodeName, usize> =
            self.nodes.iter().enumerate().map(|(at, node)| (node.name, at)).collect();
        let living = world.nodes.values().filter(|node| !node.dead);
        let owners: BTreeMap<_, _> = living.map(|node| (node.spec.incarnation, &node.spec.name)).collect();
        for (cell, row) in (0u16..).map(CellId).zip(&world.cells) {
            let open = |name: &NodeName| by_name.get(name).copied();
            let (pin, wanted) = (row.pin.as_ref().and_then(open), row.wanted.as_ref());
            if let Some(at) = pin {
                self.give(cell, at, Some(Why::Pinned), true);
            } else if let Some(at) = wanted.and_then(|wanted| open(&wanted.node)) {
                self.give(cell, at, None, false);
            } else if let Some(at) =
                row.holder.filter(|_| wanted.is_none()).and_then(|holder| open(owners.get(&holder)?))
            {
                self.give(cell, at, Some(Why::Owned), false);
            } else {
                self.homeless.push(cell);
            }
        }
    }

    fn weight(&self, cell: CellId) -> u64 {
        self.weights[usize::from(cell.0)]
    }

    fn give(&mut self, cell: CellId, at: usize, why: Option<Why>, pinned: bool) {
        let weight = self.weight(cell);
        let node = &mut self.nodes[at];
        node.load += weight;
        if !pinned {
            node.movable.insert((weight, cell));
        }
        self.homes[usize::from(cell.0)] = Some((at, why));
    }

    /// Gives the cells that nobody can have as it is to the emptiest, the heaviest first.
    fn place_homeless(&mut self, world: &World) {
        let mut homeless = std::mem::take(&mut self.homeless);
        homeless.sort_by_key(|cell| (std::cmp::Reverse(self.weight(*cell)), *cell));
        for cell in homeless {
            let Some((fill, at)) = self.order.pop_first() else { return };
            debug_assert_eq!(fill, self.nodes[at].fill(self.nodes[at].load));
            self.give(cell, at, Some(why_homeless(world, &world.cells[usize::from(cell.0)])), false);
            self.order.insert((self.nodes[at].fill(self.nodes[at].load), at));
        }
    }

    /// How much all cells weigh on the average.
    fn average(&self) -> u64 {
        self.weights.iter().sum::<u64>() / (self.weights.len() as u64).max(1)
    }

    /// Whether somebody is off by more than a tenth, and by more than a cell.
    fn is_uneven(&self) -> bool {
        let (load, cores) =
            self.nodes.iter().fold((0, 0), |(load, cores), node| (load + node.load, cores + node.cores));
        let average = self.average();
        self.nodes.iter().any(|node| {
            let target =
                u64::try_from(u128::from(load) * u128::from(node.cores) / u128::from(cores)).unwrap_or(u64::MAX);
            let off = node.load.abs_diff(target);
            off * 10 > target && off > average
        })
    }

    fn even_out(&mut self, moves_max: usize) {
        // What is gained has to be worth a move.
        let least = self.average() / 2;
        for _ in 0..moves_max {
            let Some((from, to, weight, cell)) = self.best_move(least) else { return };
            for at in [from, to] {
                self.order.remove(&(self.nodes[at].fill(self.nodes[at].load), at));
            }
            self.nodes[from].load -= weight;
            self.nodes[from].movable.remove(&(weight, cell));
            let why = Why::Even(self.nodes[from].name.clone());
            self.give(cell, to, Some(why), false);
            for at in [from, to] {
                self.order.insert((self.nodes[at].fill(self.nodes[at].load), at));
            }
        }
    }

    /// The cell to move to the emptiest node: of the fullest from which one can be moved. The largest that does not make it
    /// fuller than who gives it, or else the smallest, if that still leaves it clearly less full than that one was.
    fn best_move(&self, least: u64) -> Option<(usize, usize, u64, CellId)> {
        let &(_, to) = self.order.first()?;
        let receiver = &self.nodes[to];
        for &(_, from) in self.order.iter().rev() {
            let giver = &self.nodes[from];
            if from == to || giver.fill(giver.load) <= receiver.fill(receiver.load + least) {
                return None;
            }
            let gap = giver.load * receiver.cores - receiver.load * giver.cores;
            let equal = gap / (giver.cores + receiver.cores);
            let largest = giver.movable.range(..=(equal, CellId(u16::MAX))).next_back();
            let Some(&(weight, cell)) = largest.or_else(|| giver.movable.first()) else { continue };
            if receiver.fill(receiver.load + weight) + giver.fill(least) < giver.fill(giver.load) {
                return Some((from, to, weight, cell));
            }
        }
        None
    }

    fn changes(self, world: &World) -> Vec<Change> {
        let cells = (0u16..).map(CellId).zip(self.homes).zip(&world.cells);
        let changed = cells.filter_map(|((cell, home), row)| {
            let (at, why) = home?;
            let to = self.nodes[at].name;
            let same = row.wanted.as_ref().is_some_and(|wanted| wanted.node == *to);
            (!same).then(|| Change { cell, to: to.clone(), why: why.unwrap_or(Why::Unassigned) })
        });
        changed.collect()
    }
}

fn why_homeless(world: &World, row: &CellRow) -> Why {
    match &row.wanted {
        None => Why::Unassigned,
        Some(wanted) => match world.nodes.get(&wanted.node) {
            Some(node) if !node.dead => Why::Draining(wanted.node.clone()),
            _ => Why::Gone(wanted.node.clone()),
        },
    }
}

/// How much each cell weighs.
pub(crate) fn weights(world: &World) -> Vec<u64> {
    let cells = &world.cells;
    let total: u128 = cells.iter().map(|cell| u128::from(cell.bytes)).sum();
    let average = (total / (cells.len() as u128).max(1)).max(BYTES_MIN);
    let open = world.nodes.values().filter(|node| node.is_open());
    let cores: u64 = open.map(|node| u64::from(node.spec.cores.max(1))).sum::<u64>().max(1);
    // A thousandth of a core, of what would be a cell's if all cores were busy.
    let per_busy = cells.len() as u64 * CELL / cores;
    let weight = |cell: &CellRow| {
        let of_average = u128::from(cell.bytes) * u128::from(CELL) / average;
        let state = u64::try_from(of_average).unwrap_or(u64::MAX).min(HEAVY_MAX * CELL);
        CELL + state + u64::from(cell.busy.min(BUSY_MAX)) * per_busy / 1_000
    };
    cells.iter().map(weight).collect()
}

#[cfg(test)]
mod tests;
