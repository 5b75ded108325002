//! Who is to own what. Pure: the same world gives the same answer, and a world that has taken the answer gives none.
//!
//! A cell weighs one, as much again as its state is of the average (of 64 MiB at least), and as much again as it is busy of what a cell
//! could be if all cores were. So many cells are spread by their number, a few large ones by their size, and work counts the more the less
//! room there is for it: in an idle cluster it moves nothing. A node is full in relation to its cores. Where labels allow a cell to be is
//! its domain (see `domains`). Cells of nodes that may not have any go first, to whoever is emptiest in their domain; then those that are
//! outside of theirs, in the same way; then, only if somebody in a domain is off by more than a tenth and more than a cell, its cells go
//! from the fullest node to the emptiest while that makes them clearly more even. Both ends of such a move are less full than the giver
//! was, so this ends; and when it has ended nothing is clearly uneven, so it has come to rest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, btree_set},
    fmt,
};

use stride_ids::CellId;

use self::domains::{Domain, Domains};
use crate::{NodeName, NodeSpec, World, tables::CellRow};

mod domains;

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
    /// Its agents use data that demands labels, and that one carries fewer of them.
    Labels(NodeName),
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
            Self::Labels(from) => write!(f, "{from} lacks labels that its agents' data demands"),
            Self::Even(from) => write!(f, "{from} had more to do"),
        }
    }
}

/// What has to change so that all cells have an owner who can have them, where their labels are, and all nodes about as much as their cores
/// are worth. Of cells that have an owner who can have them, at most `moves_max` are moved, those to their labels first.
pub fn assign(world: &World, moves_max: usize) -> Vec<Change> {
    let Some(mut plan) = Plan::of(world) else { return Vec::new() };
    plan.place_homeless(world);
    let moved = plan.bring_to_labels(moves_max);
    plan.even_out(moves_max - moved);
    plan.changes(world)
}

/// A node that may have cells.
struct Node<'a> {
    spec: &'a NodeSpec,
    cores: u64,
    load: u64,
    /// Those that may be moved, by where they may be and by weight.
    movable: BTreeSet<(Domain, u64, CellId)>,
}

impl Node<'_> {
    /// How full it would be with so much.
    fn fill(&self, load: u64) -> u64 {
        load * CELL / self.cores
    }

    /// Those of a domain that may be moved and weigh so much at most, by weight.
    fn movable(&self, domain: Domain, weight_max: u64) -> btree_set::Range<'_, (Domain, u64, CellId)> {
        self.movable.range((domain, 0, CellId(0))..=(domain, weight_max, CellId(u16::MAX)))
    }
}

struct Plan<'a> {
    nodes: Vec<Node<'a>>,
    domains: Domains,
    /// The nodes of each domain, by how full they are.
    orders: Vec<BTreeSet<(u64, usize)>>,
    weights: Vec<u64>,
    /// Who has which cell, and why.
    homes: Vec<Option<(usize, Option<Why>)>>,
    homeless: Vec<CellId>,
}

/// A cell that is to go from one node to another.
struct Move {
    cell: CellId,
    from: usize,
    to: usize,
}

impl<'a> Plan<'a> {
    /// As it is now; none if no node may have cells.
    fn of(world: &'a World) -> Option<Self> {
        let open: Vec<&NodeSpec> = world.nodes.values().filter(|node| node.is_open()).map(|node| &node.spec).collect();
        if open.is_empty() {
            return None;
        }
        let node =
            |spec: &&'a NodeSpec| Node { spec, cores: u64::from(spec.cores.max(1)), load: 0, movable: BTreeSet::new() };
        let domains = Domains::new(&world.cells, &open);
        let order = |domain| (0..open.len()).filter(|at| domains.has(domain, *at)).map(|at| (0, at)).collect();
        let mut plan = Self {
            nodes: open.iter().map(node).collect(),
            orders: domains.all().map(order).collect(),
            domains,
            weights: weights(world),
            homes: vec![None; world.cells.len()],
            homeless: Vec::new(),
        };
        plan.settle(world);
        Some(plan)
    }

    /// Leaves every cell where it is to be, or where it is, if that node may have cells.
    fn settle(&mut self, world: &World) {
        let by_name: BTreeMap<&NodeName, usize> =
            self.nodes.iter().enumerate().map(|(at, node)| (&node.spec.name, at)).collect();
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
        if !pinned {
            self.nodes[at].movable.insert((self.domains.of(cell), weight, cell));
        }
        self.homes[usize::from(cell.0)] = Some((at, why));
        self.set_load(at, self.nodes[at].load + weight);
    }

    fn carry_out(&mut self, Move { cell, from, to }: &Move, why: fn(NodeName) -> Why) {
        let weight = self.weight(*cell);
        self.nodes[*from].movable.remove(&(self.domains.of(*cell), weight, *cell));
        self.set_load(*from, self.nodes[*from].load - weight);
        self.give(*cell, *to, Some(why(self.nodes[*from].spec.name.clone())), false);
    }

    fn set_load(&mut self, at: usize, load: u64) {
        let node = &mut self.nodes[at];
        let (before, now) = (node.fill(node.load), node.fill(load));
        node.load = load;
        for order in &mut self.orders {
            if order.remove(&(before, at)) {
                order.insert((now, at));
            }
        }
    }

    /// The nodes that the cells of a domain may be on, the emptiest first.
    fn members(&self, domain: Domain) -> impl DoubleEndedIterator<Item = usize> {
        self.orders[domain.0].iter().map(|(_, at)| *at)
    }

    fn emptiest(&self, cell: CellId) -> Option<usize> {
        self.members(self.domains.of(cell)).next()
    }

    /// Gives the cells that nobody can have as it is to the emptiest, the heaviest first.
    fn place_homeless(&mut self, world: &World) {
        let mut homeless = std::mem::take(&mut self.homeless);
        homeless.sort_by_key(|cell| (Reverse(self.weight(*cell)), *cell));
        for cell in homeless {
            let Some(at) = self.emptiest(cell) else { return };
            self.give(cell, at, Some(why_homeless(world, &world.cells[usize::from(cell.0)])), false);
        }
    }

    /// Brings cells that are outside of their domain into it, the heaviest first, and says how many that were.
    fn bring_to_labels(&mut self, moves_max: usize) -> usize {
        let mut strays = self.strays();
        strays.sort_unstable();
        strays.truncate(moves_max);
        for (_, cell, from) in &strays {
            if let Some(to) = self.emptiest(*cell) {
                self.carry_out(&Move { cell: *cell, from: *from, to }, Why::Labels);
            }
        }
        strays.len()
    }

    /// The cells that are outside of their domain, and where they are.
    fn strays(&self) -> Vec<(Reverse<u64>, CellId, usize)> {
        let mut strays = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let outside = node.movable.iter().filter(|(domain, ..)| !self.domains.has(*domain, at));
            strays.extend(outside.map(|(_, weight, cell)| (Reverse(*weight), *cell, at)));
        }
        strays
    }

    /// How much all cells weigh on the average.
    fn average(&self) -> u64 {
        self.weights.iter().sum::<u64>() / (self.weights.len() as u64).max(1)
    }

    /// Evens out one domain after another. What moves in one makes room in others, so that goes on until nothing moves.
    fn even_out(&mut self, mut moves_max: usize) {
        loop {
            let before = moves_max;
            for domain in self.domains.all() {
                moves_max -= self.even_out_within(domain, moves_max);
            }
            if moves_max == before {
                return;
            }
        }
    }

    /// Says how many cells it has moved.
    fn even_out_within(&mut self, domain: Domain, moves_max: usize) -> usize {
        if !self.is_uneven(domain) {
            return 0;
        }
        // What is gained has to be worth a move.
        let least = self.average() / 2;
        for moved in 0..moves_max {
            let Some(best) = self.best_move(domain, least) else { return moved };
            self.carry_out(&best, Why::Even);
        }
        moves_max
    }

    /// Whether somebody is off by more than a tenth, and by more than a cell. Whoever is fullest of what is not the domain's, or is pinned
    /// there, can give nothing and says nothing about the others.
    fn is_uneven(&self, domain: Domain) -> bool {
        let fullest_first = self.members(domain).rev().map(|at| &self.nodes[at]);
        let nodes: Vec<_> = fullest_first.skip_while(|node| node.movable(domain, u64::MAX).next().is_none()).collect();
        let (load, cores) = nodes.iter().fold((0, 0), |(load, cores), node| (load + node.load, cores + node.cores));
        let average = self.average();
        nodes.iter().any(|node| {
            let target =
                u64::try_from(u128::from(load) * u128::from(node.cores) / u128::from(cores)).unwrap_or(u64::MAX);
            let off = node.load.abs_diff(target);
            off * 10 > target && off > average
        })
    }

    /// The cell to move to the emptiest node: of the fullest from which one can be moved. The largest that does not make it
    /// fuller than who gives it, or else the smallest, if that still leaves it clearly less full than that one was.
    fn best_move(&self, domain: Domain, least: u64) -> Option<Move> {
        let to = self.members(domain).next()?;
        let receiver = &self.nodes[to];
        for from in self.members(domain).rev() {
            let giver = &self.nodes[from];
            if from == to || giver.fill(giver.load) <= receiver.fill(receiver.load + least) {
                return None;
            }
            let gap = giver.load * receiver.cores - receiver.load * giver.cores;
            let equal = gap / (giver.cores + receiver.cores);
            let largest = giver.movable(domain, equal).next_back();
            let Some(&(_, weight, cell)) = largest.or_else(|| giver.movable(domain, u64::MAX).next()) else { continue };
            if receiver.fill(receiver.load + weight) + giver.fill(least) < giver.fill(giver.load) {
                return Some(Move { cell, from, to });
            }
        }
        None
    }

    fn changes(self, world: &World) -> Vec<Change> {
        let cells = (0u16..).map(CellId).zip(self.homes).zip(&world.cells);
        let changed = cells.filter_map(|((cell, home), row)| {
            let (at, why) = home?;
            let to = &self.nodes[at].spec.name;
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
