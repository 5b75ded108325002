//! What is done to nodes, to their network, their disks and their database, and in which order: all of it drawn from a seed.

use std::{collections::VecDeque, fmt, str::FromStr, time::Duration};

use stride_sim::Chance;

use crate::wires::{Host, Wire};

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A node stands still (SIGSTOP) and goes on.
    Pause,
    /// A node is killed (SIGKILL) and starts again, now and then with nothing on its disk.
    Kill,
    /// A node is told to end (SIGTERM), so that it gives its cells away, and starts again.
    Stop,
    /// A node is cut off from the others, from the database, or from both. Clients still reach it.
    Partition,
    /// The same, but only what it sends is lost, or only what is sent to it.
    OneWay,
    /// A quarter of what a node sends and of what is sent to it is lost, in bursts.
    Loss,
    /// The disk of a node is full.
    Disk,
    /// The database is killed and starts again, or stands still and goes on.
    Database,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 8] =
        [Self::Pause, Self::Kill, Self::Stop, Self::Partition, Self::OneWay, Self::Loss, Self::Disk, Self::Database];

    /// Its name, as it is typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Loss => "loss",
            Self::Disk => "disk",
            Self::Database => "database",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no fault of that name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("there is no fault `{0}`; there are pause, kill, stop, partition, one-way, loss, disk and database")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) what: What,
    /// How long until it is undone.
    pub(crate) lasts: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Stopped(usize),
    Killed {
        node: usize,
        /// It comes back with an empty disk, as another node.
        lost: bool,
    },
    /// Asked to end.
    Ended(usize),
    Cut {
        node: usize,
        how: &'static str,
        wires: Vec<Wire>,
    },
    Lossy {
        node: usize,
        wires: Vec<Wire>,
    },
    FullDisk {
        node: usize,
        /// It is killed as well, and starts on the full disk.
        killed: bool,
    },
    DatabaseKilled,
    DatabaseStopped,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Stopped(node) => write!(f, "node {node} stands still")?,
            What::Killed { node, lost: false } => write!(f, "node {node} is killed")?,
            What::Killed { node, lost: true } => write!(f, "node {node} is killed and its disk is lost")?,
            What::Ended(node) => write!(f, "node {node} is told to end")?,
            What::Cut { node, how, .. } => write!(f, "node {node} {how}")?,
            What::Lossy { node, .. } => write!(f, "node {node} loses packets")?,
            What::FullDisk { node, killed: false } => write!(f, "the disk of node {node} is full")?,
            What::FullDisk { node, killed: true } => write!(f, "the disk of node {node} is full and it is killed")?,
            What::DatabaseKilled => f.write_str("the database is killed")?,
            What::DatabaseStopped => f.write_str("the database stands still")?,
        }
        write!(f, " for {:.1?}", self.lasts)
    }
}

/// What happens next, and next, without an end. Each step is one fault, or two at the same time on different nodes.
pub(crate) struct Schedule {
    kinds: Vec<Kind>,
    nodes: usize,
    chance: Chance,
    round: VecDeque<Kind>,
}

impl Schedule {
    /// Each kind comes once in each round, in an order that is drawn; a node that stands still is the first thing that happens, if it is
    /// among them: with reads under way it is what a lease is for.
    pub(crate) fn new(kinds: Vec<Kind>, nodes: usize, chance: Chance) -> Self {
        let mut schedule = Self { kinds, nodes, chance, round: VecDeque::new() };
        schedule.shuffle();
        if let Some(at) = schedule.round.iter().position(|kind| *kind == Kind::Pause) {
            schedule.round.swap(0, at);
        }
        schedule
    }

    fn shuffle(&mut self) {
        let mut left = self.kinds.clone();
        while !left.is_empty() {
            let at = below(&self.chance, left.len());
            self.round.push_back(left.swap_remove(at));
        }
    }

    fn draw(&mut self) -> Option<Kind> {
        if self.round.is_empty() {
            self.shuffle();
        }
        self.round.pop_front()
    }

    /// The next step; empty only if there are no faults to choose from.
    pub(crate) fn step(&mut self) -> Vec<Fault> {
        let Some(kind) = self.draw() else { return Vec::new() };
        let node = below(&self.chance, self.nodes);
        let mut step = vec![self.fault(kind, node)];
        if self.nodes > 2 && self.chance.hits(250) {
            // Not of the round: every kind still comes alone now and then.
            let mut kind = self.kinds[below(&self.chance, self.kinds.len())];
            let other = (node + 1 + below(&self.chance, self.nodes - 1)) % self.nodes;
            if step[0].kind == Kind::Disk && self.kinds.contains(&Kind::Kill) {
                // What the node has to take over from the other one wants to go to its disk.
                kind = Kind::Kill;
            }
            // There is one database.
            if kind != Kind::Database || step[0].kind != Kind::Database {
                step.push(self.fault(kind, other));
            }
        }
        step
    }

    fn fault(&self, kind: Kind, node: usize) -> Fault {
        // Shorter than a lease, and several times as long.
        let lasts = Duration::from_millis(300 + self.chance.below(6_200));
        let everybody = |node| self.to_peers(node).chain([(Host::Node(node), Host::Database)]);
        let what = match kind {
            Kind::Pause => What::Stopped(node),
            Kind::Kill => What::Killed { node, lost: self.chance.hits(250) },
            Kind::Stop => What::Ended(node),
            Kind::Disk => What::FullDisk { node, killed: self.chance.hits(500) },
            Kind::Loss => What::Lossy { node, wires: everybody(node).flat_map(both_ways).collect() },
            Kind::Database if self.chance.hits(500) => What::DatabaseKilled,
            Kind::Database => What::DatabaseStopped,
            Kind::Partition => {
                let (how, wires): (_, Vec<Wire>) = match self.chance.below(3) {
                    0 => ("is cut off from all but its clients", everybody(node).collect()),
                    1 => ("is cut off from the database", vec![(Host::Node(node), Host::Database)]),
                    _ => ("is cut off from the other nodes", self.to_peers(node).collect()),
                };
                What::Cut { node, how, wires: wires.into_iter().flat_map(both_ways).collect() }
            }
            Kind::OneWay => {
                let out: Vec<Wire> = everybody(node).collect();
                let of_database =
                    |wires: Vec<Wire>| wires.into_iter().filter(|wire| wire.1 == Host::Database).collect();
                let (how, wires): (_, Vec<Wire>) = match self.chance.below(4) {
                    0 => ("sends and is not heard", out),
                    1 => ("hears nothing and is heard", out.into_iter().map(turned).collect()),
                    2 => ("is not heard by the database", of_database(out)),
                    _ => ("does not hear the database", of_database(out).into_iter().map(turned).collect()),
                };
                What::Cut { node, how, wires }
            }
        };
        Fault { kind, what, lasts }
    }

    fn to_peers(&self, node: usize) -> impl Iterator<Item = Wire> + use<> {
        (0..self.nodes).filter(move |other| *other != node).map(move |other| (Host::Node(node), Host::Node(other)))
    }
}

fn turned((from, to): Wire) -> Wire {
    (to, from)
}

fn both_ways(wire: Wire) -> [Wire; 2] {
    [wire, turned(wire)]
}

/// One of so many.
pub(crate) fn below(chance: &Chance, count: usize) -> usize {
    usize::try_from(chance.below(count as u64)).expect("it is less than a usize")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn steps(seed: u64, kinds: &[Kind], count: usize) -> Vec<Vec<Fault>> {
        let mut schedule = Schedule::new(kinds.to_vec(), 3, Chance::seeded(seed));
        (0..count).map(|_| schedule.step()).collect()
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_one_something_else() {
        assert_eq!(steps(7, &Kind::ALL, 30), steps(7, &Kind::ALL, 30));
        assert_ne!(steps(7, &Kind::ALL, 30), steps(8, &Kind::ALL, 30));
    }

    #[test]
    fn a_node_stands_still_first_and_every_round_has_every_kind_once() {
        for seed in 0..50 {
            let steps = steps(seed, &Kind::ALL, 16);
            assert!(matches!(steps[0][0].what, What::Stopped(_)));
            for round in steps.chunks(8) {
                let kinds: BTreeSet<Kind> = round.iter().map(|step| step[0].kind).collect();
                assert_eq!(kinds.len(), 8);
            }
        }
    }

    #[test]
    fn only_what_was_asked_for_is_done_and_a_name_that_is_none_is_refused() {
        let few = [Kind::Kill, Kind::Loss];
        assert!(steps(1, &few, 20).iter().flatten().all(|fault| few.contains(&fault.kind)));
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        }
        assert!("flood".parse::<Kind>().unwrap_err().to_string().contains("flood"));
    }

    #[test]
    fn what_happens_at_the_same_time_happens_to_different_nodes() {
        let node = |fault: &Fault| match &fault.what {
            What::Stopped(node) | What::Ended(node) => Some(*node),
            What::Killed { node, .. }
            | What::Cut { node, .. }
            | What::Lossy { node, .. }
            | What::FullDisk { node, .. } => Some(*node),
            What::DatabaseKilled | What::DatabaseStopped => None,
        };
        let pairs: Vec<_> =
            (0..20).flat_map(|seed| steps(seed, &Kind::ALL, 30)).filter(|step| step.len() > 1).collect();
        assert!(pairs.len() > 50);
        assert!(pairs.iter().all(|pair| node(&pair[0]) != node(&pair[1])));
    }
}
