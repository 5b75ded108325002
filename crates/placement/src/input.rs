//! What a plan is made from: what is known of the nodes, and what the work needs.
//!
//! Always true: an [`Input`] knows no holding of a node it does not know, and none of zero bytes.
//! What is known may be old. [`Input::assume`] adds what its caller has placed since, so that one caller does not send
//! everything to the node that reported last.
//! Not here: who gathers it. Data that nobody holds comes from outside, over the link of the node that needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    time::Duration,
};

use bytesize::ByteSize;

use crate::{
    id::{DatumId, Hardware, Labels, NodeId},
    time,
};

/// What an hour of one slot costs, in a unit that is the same for all nodes. Zero: it is there anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub u64);

/// What an hour of waiting costs whoever sent the request, in the unit of [`Price`]. It turns prices into time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DelayCost(pub NonZeroU64);

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// What a node has accepted and not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many pieces of work, running or waiting.
    pub accepted: u32,
    /// How long they will still run, summed up.
    pub work: Duration,
}

/// The way by which data comes to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What it carries.
    pub rate: Rate,
    /// What it will carry before anything new.
    pub waiting: ByteSize,
}

/// One node, as it was when it last said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// How many pieces of work run at the same time.
    pub slots: u32,
    /// How many it accepts, the running ones among them.
    pub accepted_max: u32,
    /// What it has accepted.
    pub load: Load,
    /// How data comes to it.
    pub link: Link,
    /// What it carries.
    pub labels: Labels,
    /// What it has.
    pub hardware: BTreeSet<Hardware>,
    /// What it costs.
    pub price: Price,
}

impl Node {
    /// How long new work is expected to wait for a slot.
    ///
    /// If all slots are taken: until as many of the accepted have ended as are ahead, plus one. A free slot counts for
    /// something as well, the more the fewer there are, because reports are old and others place work too: when the
    /// work arrives, the last free slot is often gone.
    pub fn wait(&self) -> Duration {
        let (slots, accepted) = (u64::from(self.slots), u64::from(self.load.accepted));
        let ahead = accepted.saturating_sub(slots) + 1;
        match NonZeroU64::new(slots * accepted.max(slots)) {
            Some(parts) => time::scale(self.load.work, ahead, parts),
            None => Duration::ZERO,
        }
    }
}

/// How much of a datum a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Stored or cached there.
    pub here: ByteSize,
    /// On its way, so waiting in the node's [`Link`].
    pub coming: ByteSize,
}

impl Holding {
    /// What still has to be sent for, of `size` bytes.
    pub fn missing_of(self, size: ByteSize) -> ByteSize {
        ByteSize(size.0.saturating_sub(self.here.0).saturating_sub(self.coming.0))
    }
}

/// A datum that work reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Which one.
    pub datum: DatumId,
    /// How much of it is read.
    pub size: ByteSize,
    /// What a node must carry to hold it.
    pub labels: Labels,
}

/// Work that looks for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What it reads.
    pub references: Vec<Reference>,
    /// What it cannot run without.
    pub hardware: BTreeSet<Hardware>,
    /// How long it is expected to run, with its data at hand.
    pub run: Duration,
    /// How prices count against time. `None`: they do not.
    pub delay_cost: Option<DelayCost>,
    /// Where it is now. `None`: on its way to whichever node it will be.
    pub origin: Option<Origin>,
    /// The node that is to be preferred among those that are equally good, if there is one.
    pub home: Option<NodeId>,
}

/// Where a request is before it is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node that was asked.
    pub node: NodeId,
    /// How long the request itself takes to any other.
    pub hop: Duration,
}

/// The nodes, and what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    nodes: BTreeMap<NodeId, Known>,
    holders: BTreeMap<DatumId, BTreeMap<NodeId, Holding>>,
}

/// A node, and for how long it has said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    node: Node,
    /// The time since the report, less what was counted as work that ended.
    silent: Duration,
}

impl Input {
    /// Adds a node, or takes its newer report.
    pub fn set_node(&mut self, id: NodeId, node: Node) {
        self.nodes.insert(id, Known { node, silent: Duration::ZERO });
    }

    /// Forgets a node that is gone, with all that it held.
    pub fn remove_node(&mut self, id: &NodeId) {
        self.nodes.remove(id);
        self.holders.retain(|_, holders| {
            holders.remove(id);
            !holders.is_empty()
        });
    }

    /// Takes a node's newer report of what changes all the time. A node that is not known stays unknown.
    pub fn set_load(&mut self, id: &NodeId, load: Load, link_waiting: ByteSize) {
        if let Some(known) = self.nodes.get_mut(id) {
            known.node.load = load;
            known.node.link.waiting = link_waiting;
            known.silent = Duration::ZERO;
        }
    }

    /// Says how much of a datum a node holds now. A node that is not known holds nothing.
    pub fn set_holding(&mut self, datum: &DatumId, id: &NodeId, holding: Holding) {
        if holding == Holding::default() || !self.nodes.contains_key(id) {
            if let Some(holders) = self.holders.get_mut(datum) {
                holders.remove(id);
                if holders.is_empty() {
                    self.holders.remove(datum);
                }
            }
        } else {
            self.holders.entry(datum.clone()).or_default().insert(id.clone(), holding);
        }
    }

    /// The nodes, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().map(|(id, known)| (id, &known.node))
    }

    /// One node.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id).map(|known| &known.node)
    }

    /// Who holds any of a datum.
    pub fn holders(&self, datum: &DatumId) -> impl Iterator<Item = (&NodeId, Holding)> {
        self.holders.get(datum).into_iter().flatten().map(|(id, holding)| (id, *holding))
    }

    /// How much of a datum a node holds.
    pub fn holding(&self, datum: &DatumId, id: &NodeId) -> Holding {
        self.holders.get(datum).and_then(|holders| holders.get(id)).copied().unwrap_or_default()
    }

    /// What will be true if this much time passes and nobody reports: slots work, and links carry.
    pub fn elapse(&mut self, time: Duration) {
        for known in self.nodes.values_mut() {
            known.elapse(time);
        }
    }

    /// What will be true of the node once it has accepted the request, until its next report says more.
    pub fn assume(&mut self, request: &Request, id: &NodeId) {
        let Some(Known { node, .. }) = self.nodes.get_mut(id) else { return };
        node.load.accepted = node.load.accepted.saturating_add(1);
        node.load.work = node.load.work.saturating_add(request.run);
        for reference in &request.references {
            self.assume_copy(&reference.datum, reference.size, id);
        }
    }

    /// What will be true of the node once it has sent for the datum, until its next report says more.
    pub fn assume_copy(&mut self, datum: &DatumId, size: ByteSize, id: &NodeId) {
        let mut holding = self.holding(datum, id);
        let missing = holding.missing_of(size);
        if let Some(Known { node, .. }) = self.nodes.get_mut(id) {
            node.link.waiting.0 = node.link.waiting.0.saturating_add(missing.0);
        }
        holding.coming.0 = holding.coming.0.saturating_add(missing.0);
        self.set_holding(datum, id, holding);
    }
}

impl Known {
    fn elapse(&mut self, time: Duration) {
        let Self { node: Node { slots, load, link, .. }, silent } = self;
        if link.waiting.0 > 0 {
            let carried = u128::from(link.rate.0) * time.as_nanos() / 1_000_000_000;
            link.waiting.0 = link.waiting.0.saturating_sub(u64::try_from(carried).unwrap_or(u64::MAX));
        }
        let running = load.accepted.min(*slots);
        let each = load.work.checked_div(load.accepted).unwrap_or_default();
        if running == 0 || each.is_zero() {
            *silent = Duration::ZERO;
            return;
        }
        *silent = silent.saturating_add(time);
        if silent.saturating_mul(running) < each {
            return;
        }
        let done = silent.as_nanos().saturating_mul(u128::from(running)) / each.as_nanos();
        let done = u32::try_from(done).unwrap_or(u32::MAX).min(load.accepted);
        load.accepted -= done;
        load.work = load.work.saturating_sub(each * done);
        *silent = silent.saturating_sub(each * done / running);
    }
}
