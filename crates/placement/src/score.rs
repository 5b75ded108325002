//! The score of a candidate: how long it would take there, in parts that add up, or why it may not be there.
//!
//! Always true: a candidate that holds more of the data never scores worse, one with more load never better.
//! Labels are looked at before anything else, so no score exists where they forbid the work.
//!
//! Everything is time, so the parts can be added without weights that somebody would have to tune.

use std::{fmt, num::NonZeroU64, time::Duration};

use bytesize::ByteSize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    id::{DatumId, Hardware, Label, NodeId},
    input::{Holding, Input, Node, Request},
    time,
};

/// How good a candidate is: the lower, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// Moving what the node does not hold, and what its link carries before; and the request itself, if it is elsewhere.
    pub fetch: Duration,
    /// Waiting for a slot.
    pub wait: Duration,
    /// What it costs there, as the time that the caller would wait to save it.
    pub price: Duration,
    /// The bytes among those that the request refers to that the node holds.
    pub here: ByteSize,
}

impl Score {
    /// What candidates are compared by.
    pub fn total(&self) -> Duration {
        self.fetch.saturating_add(self.wait).saturating_add(self.price)
    }
}

/// Why a node may not take the work. They come in this order, from what never changes to what passes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The data may not be there.
    Label {
        /// The datum that demands it.
        datum: DatumId,
        /// What the node does not carry.
        missing: Label,
    },
    /// The node has not what the work cannot run without.
    Hardware {
        /// What it lacks.
        missing: Hardware,
    },
    /// The node runs nothing.
    NoSlots,
    /// The node does not hold everything, and nothing can come to it.
    NoLink,
    /// The node has accepted all that it accepts.
    Full {
        /// How much that is.
        accepted: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { datum, missing } => write!(f, "lacks {missing}, which {datum} demands"),
            Self::Hardware { missing } => write!(f, "has no {missing}"),
            Self::NoSlots => f.write_str("has no slots"),
            Self::NoLink => f.write_str("lacks data, and has no bandwidth to fetch it"),
            Self::Full { accepted } => write!(f, "full: {accepted} accepted"),
        }
    }
}

/// What came out for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The work may run there.
    Scored(Score),
    /// It may not.
    Refused(Reason),
}

/// A node that was considered. All nodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub node: NodeId,
    /// What came out.
    pub verdict: Verdict,
}

/// All nodes, the best first, the refused ones last.
///
/// Among equal scores more bytes win, then the request's home, and then a hash of the node and of the largest datum. So candidates that are equal,
/// such as idle nodes of which none holds the data, are taken in another order for every datum, but by everyone in the same: those
/// who plan without knowing of each other bring a datum to the same node. A request that refers to no bytes stays where it is.
pub fn rank(input: &Input, request: &Request) -> Vec<Candidate> {
    let seed = match request.references.iter().max_by_key(|r| (r.size, &r.datum)) {
        Some(largest) => xxh3_64_with_seed(largest.datum.as_str().as_bytes(), 0),
        None => 0,
    };
    // Nodes and holders come in the same order, so they are walked side by side instead of looked up.
    let mut holders: Vec<_> = request.references.iter().map(|r| input.holders(&r.datum).peekable()).collect();
    let mut candidates = Vec::new();
    let has_bytes = request.references.iter().any(|reference| reference.size.0 > 0);
    let is_at = |id: &NodeId| request.origin.as_ref().is_some_and(|origin| origin.node == *id);
    for (id, node) in input.nodes() {
        let held = holders.iter_mut().map(|holders| holders.next_if(|(holder, _)| *holder == id));
        let held = held.map(|holder| holder.map(|(_, holding)| holding).unwrap_or_default());
        candidates.push(Candidate { node: id.clone(), verdict: judge(request, node, is_at(id), held) });
    }
    candidates.sort_by_cached_key(|candidate| {
        let (total, unheld) = match &candidate.verdict {
            Verdict::Scored(score) => (Some(score.total()), u64::MAX - score.here.0),
            Verdict::Refused(_) => (None, 0),
        };
        let leaves = !has_bytes && !is_at(&candidate.node);
        let strange = request.home.as_ref().is_some_and(|home| *home != candidate.node);
        let drawn = xxh3_64_with_seed(candidate.node.0.as_str().as_bytes(), seed);
        (total.is_none(), total, unheld, leaves, strange, drawn)
    });
    candidates
}

/// `held` has what the node holds of every reference.
fn judge(request: &Request, node: &Node, is_at: bool, held: impl Iterator<Item = Holding>) -> Verdict {
    let (mut here, mut missing, mut coming) = (0_u64, 0_u64, false);
    for (reference, holding) in request.references.iter().zip(held) {
        here = here.saturating_add(holding.here.min(reference.size).0);
        missing = missing.saturating_add(holding.missing_of(reference.size).0);
        coming |= holding.here < reference.size && holding.coming.0 > 0;
    }
    if let Some(reason) = forbidden(request, node) {
        return Verdict::Refused(reason);
    }
    let travels = if missing > 0 || coming { node.link.waiting.0.saturating_add(missing) } else { 0 };
    let fetch = match NonZeroU64::new(node.link.rate.0) {
        Some(rate) => time::at_rate(travels, rate),
        None if missing > 0 => return Verdict::Refused(Reason::NoLink),
        None => Duration::ZERO,
    };
    let hop = request.origin.as_ref().filter(|_| !is_at).map_or(Duration::ZERO, |origin| origin.hop);
    if node.load.accepted >= node.accepted_max {
        return Verdict::Refused(Reason::Full { accepted: node.load.accepted });
    }
    let price = match request.delay_cost {
        Some(cost) => time::scale(request.run, node.price.0, cost.0),
        None => Duration::ZERO,
    };
    Verdict::Scored(Score { fetch: fetch.saturating_add(hop), wait: node.wait(), price, here: ByteSize(here) })
}

/// What keeps the work from the node whatever it holds and however idle it is.
fn forbidden(request: &Request, node: &Node) -> Option<Reason> {
    for reference in &request.references {
        if let Some(missing) = reference.labels.missing_from(&node.labels) {
            return Some(Reason::Label { datum: reference.datum.clone(), missing: missing.clone() });
        }
    }
    if let Some(missing) = request.hardware.difference(&node.hardware).next() {
        return Some(Reason::Hardware { missing: missing.clone() });
    }
    (node.slots == 0).then_some(Reason::NoSlots)
}
