//! Replication: which hot data is copied to which nodes, so that what waits for it can run in more places.
//!
//! Always true: a copy is only made where labels and hardware let the work run that waits for it; at most [`COPIES_MAX`] at a time, one to a
//! node; and only if the work that waits is done sooner by [`PAYS_MIN`] times what the copying takes.
//! Not here: the first copy, which the work brings with it (see `plan`), and dropping copies, which caches do by themselves.

use std::{cmp::Reverse, collections::BTreeSet, num::NonZeroU64, time::Duration};

use bytesize::ByteSize;

use crate::{
    id::{DatumId, Hardware, Labels, NodeId},
    input::{Input, Node},
    time,
};

/// How many copies one round makes. The next round sees what they did.
pub const COPIES_MAX: usize = 16;

/// How often a copy has to pay for itself. What waits now has often found another node before the copy is there: in the simulation,
/// copies that pay once move more bytes and shorten no wait.
pub const PAYS_MIN: u32 = 8;

/// Work that waits for a slot of a node that holds its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The datum it reads.
    pub datum: DatumId,
    /// How large that is.
    pub size: ByteSize,
    /// What a node must carry to hold it, and for the work.
    pub labels: Labels,
    /// What the work cannot run without.
    pub hardware: BTreeSet<Hardware>,
    /// How long the waiting work will run, summed up.
    pub waiting: Duration,
}

/// A copy to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Of what.
    pub datum: DatumId,
    /// Where it goes.
    pub to: NodeId,
    /// How many bytes travel.
    pub moves: ByteSize,
    /// How long they travel.
    pub takes: Duration,
    /// How much sooner the waiting work is done.
    pub saves: Duration,
}

/// The copies that pay, the most waited-for data first.
pub fn replicate(input: &Input, demands: &[Demand]) -> Vec<Copy> {
    let mut hottest: Vec<&Demand> = demands.iter().collect();
    hottest.sort_by_key(|d| (Reverse(d.waiting), &d.datum));
    let mut taken = BTreeSet::new();
    let mut copies = Vec::new();
    for demand in hottest {
        if copies.len() == COPIES_MAX {
            break;
        }
        let copy = best_copy(input, demand, &taken);
        taken.extend(copy.iter().map(|c| c.to.clone()));
        copies.extend(copy);
    }
    copies
}

fn best_copy(input: &Input, demand: &Demand, taken: &BTreeSet<NodeId>) -> Option<Copy> {
    let whole = |id| input.holding(&demand.datum, id).missing_of(demand.size).0 == 0;
    let holders = input.holders(&demand.datum).filter(|(id, _)| whole(id));
    let holders = Crew::of(holders.filter_map(|(id, _)| input.node(id)))?;
    let may_run =
        |node: &Node| demand.labels.missing_from(&node.labels).is_none() && demand.hardware.is_subset(&node.hardware);
    let candidates = input.nodes().filter(|(id, node)| !taken.contains(id) && !whole(id) && may_run(node));
    let copies = candidates.filter_map(|(id, node)| {
        let moves = input.holding(&demand.datum, id).missing_of(demand.size);
        let takes = time::at_rate(node.link.waiting.0.saturating_add(moves.0), NonZeroU64::new(node.link.rate.0)?);
        // No more work can go over than waits for this datum, however idle the node is.
        let saves = holders.done().checked_sub(holders.with(node)?.done())?.min(demand.waiting);
        (saves > takes.saturating_mul(PAYS_MIN)).then(|| Copy {
            datum: demand.datum.clone(),
            to: id.clone(),
            moves,
            takes,
            saves,
        })
    });
    // Of those that gain the same, the first by name.
    copies.min_by_key(|copy| (Reverse(copy.saves - copy.takes), copy.to.clone()))
}

/// Nodes that could share work.
#[derive(Clone, Copy)]
struct Crew {
    slots: NonZeroU64,
    work: Duration,
}

impl Crew {
    fn of<'a>(mut nodes: impl Iterator<Item = &'a Node>) -> Option<Self> {
        let first = loop {
            let node = nodes.next()?;
            if let Some(slots) = NonZeroU64::new(u64::from(node.slots)) {
                break Self { slots, work: node.load.work };
            }
        };
        Some(nodes.fold(first, |crew, node| crew.with(node).unwrap_or(crew)))
    }

    /// With one more, unless it runs nothing.
    fn with(self, node: &Node) -> Option<Self> {
        let slots = NonZeroU64::new(u64::from(node.slots))?;
        Some(Self { slots: self.slots.saturating_add(slots.get()), work: self.work.saturating_add(node.load.work) })
    }

    /// When all their work is done, if it is shared well.
    fn done(self) -> Duration {
        time::scale(self.work, 1, self.slots)
    }
}
