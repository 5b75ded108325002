//! The other nodes of a cluster, as placement sees them: what they said last, and what was sent to them since.
//!
//! Always true: a node that has been silent for [`SILENT_MAX`] is no candidate. What is known here is old and may be wrong; so it
//! decides where work is sent, and never whether it may run there (see [`Functions::errand`](crate::Functions::errand)).
//! Not here: how nodes reach each other (see `node`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use bytesize::ByteSize;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stride_agents::NotDone;
use stride_data::{Piece, Sketch};
use stride_ids::{CellId, Failure, Name, ObjectName};
use stride_maps::Input;
use stride_placement::{
    Hardware, Holding, Input as Known, Label, Labels, Link, Load, Node, NodeId, Price, Reference, Request,
};
use stride_sim::Clock;

use crate::{explain::Datum, functions::Called, here::LINK_RATE};

/// How long a node is believed after its last report.
const SILENT_MAX: Duration = Duration::from_secs(2);
/// Of how many functions of a node it is remembered how long they run.
const FUNCTIONS_MAX: usize = 4_096;

/// The way to the other nodes.
pub trait Elsewhere: Send + Sync + 'static {
    /// Has a node run a function once. [`NotDone::NotHere`] says that nothing has begun there.
    fn run<'a>(&'a self, node: &'a NodeId, errand: Errand) -> BoxFuture<'a, Result<Called, NotDone>>;

    /// Has a node do work that is not a call of one function. What it says is for whoever made it; [`NotDone::NotHere`] is as
    /// above.
    fn work<'a>(&'a self, node: &'a NodeId, work: Bytes) -> BoxFuture<'a, Result<Bytes, NotDone>>;

    /// Asks a node to bring these into its caches, which it does in its own time, as far as it can.
    fn warm<'a>(&'a self, node: &'a NodeId, pieces: Vec<Piece>) -> BoxFuture<'a, Result<(), Failure>>;

    /// Which node has a cell, as far as is known.
    fn home(&self, cell: CellId) -> Option<NodeId>;
}

/// A call that is sent to another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Errand {
    /// Whose function.
    pub tenant: Name,
    /// In which component.
    pub component: Name,
    /// Which function.
    pub function: String,
    /// Of which version.
    pub version: String,
    /// What it gets.
    pub input: Input,
    /// Objects that it will read, beside its input.
    pub data: Vec<ObjectName>,
    /// What the node has to carry, whatever the function itself demands: keys and values.
    pub labels: BTreeSet<(String, String)>,
    /// The class of hardware that the node was to have.
    pub hardware: Option<Name>,
    /// The trace that the call is part of.
    pub trace: Option<String>,
}

/// What a node says of itself to the others, again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who says it.
    pub node: Name,
    /// It takes errands; one that is about to end does not.
    pub is_open: bool,
    /// What it carries: keys and values.
    pub labels: BTreeSet<(String, String)>,
    /// What it has.
    pub hardware: BTreeSet<Name>,
    /// What one of its cores costs.
    pub price: u64,
    /// How many cores it has.
    pub cores: u32,
    /// How many calls it has accepted.
    pub accepted: u32,
    /// How long they will still run, summed up.
    pub work: Duration,
    /// How long functions run on it, of those that ran since it said so last.
    pub ran: Vec<Ran>,
    /// What is in its caches, if that is news.
    pub sketch: Option<Sketch>,
}

/// How long a function runs on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Whose function.
    pub tenant: Name,
    /// Which: `component/function`, in the version that ran last.
    pub function: String,
    /// The mean, in which the newest calls count most.
    pub run: Duration,
}

/// See the module.
pub(crate) struct Others {
    pub(crate) elsewhere: Arc<dyn Elsewhere>,
    picture: Mutex<Picture>,
    clock: Clock,
}

#[derive(Default)]
struct Picture {
    /// Nodes alone: what they hold is in their sketches.
    nodes: Known,
    sketches: BTreeMap<NodeId, Sketch>,
    ran: BTreeMap<NodeId, BTreeMap<(Name, String), Duration>>,
    heard: BTreeMap<NodeId, Duration>,
    /// Up to when time has passed in it.
    at: Duration,
}

impl Others {
    pub(crate) fn new(elsewhere: Arc<dyn Elsewhere>, clock: Clock) -> Self {
        let picture = Picture { at: clock.now(), ..Picture::default() };
        Self { elsewhere, picture: Mutex::new(picture), clock }
    }

    /// Takes a node's newer report.
    pub(crate) fn heard(&self, report: Report) {
        let now = self.clock.now();
        let id = NodeId(report.node.clone());
        let mut picture = self.picture.lock();
        picture.pass(now);
        if !report.is_open {
            return picture.forget(&id);
        }
        if let Some(sketch) = report.sketch {
            picture.sketches.insert(id.clone(), sketch);
        }
        let ran = picture.ran.entry(id.clone()).or_default();
        for Ran { tenant, function, run } in report.ran {
            // Who deploys thousands of functions is told of the first ones.
            if ran.len() < FUNCTIONS_MAX || ran.contains_key(&(tenant.clone(), function.clone())) {
                ran.insert((tenant, function), run);
            }
        }
        let node = Node {
            slots: report.cores,
            // Whether a function is full is what the node says when it is asked: each of them has a bound of its own.
            accepted_max: u32::MAX,
            load: Load { accepted: report.accepted, work: report.work },
            link: Link { rate: LINK_RATE, waiting: ByteSize(0) },
            labels: report.labels.iter().filter_map(|(key, value)| Label::new(key, value).ok()).collect(),
            hardware: report.hardware.into_iter().map(Hardware).collect(),
            price: Price(report.price),
        };
        picture.nodes.set_node(id.clone(), node);
        picture.heard.insert(id, now);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        let mut picture = self.picture.lock();
        picture.pass(self.clock.now());
        picture.heard.len()
    }

    /// How long a function runs on those that said so, each with the hardware that it has.
    pub(crate) fn ran(&self, tenant: &Name, function: &str) -> Vec<(BTreeSet<Hardware>, Duration)> {
        let mut picture = self.picture.lock();
        picture.pass(self.clock.now());
        let key = (tenant.clone(), function.to_owned());
        let on = |(id, node): (&NodeId, &Node)| Some((node.hardware.clone(), *picture.ran.get(id)?.get(&key)?));
        picture.nodes.nodes().filter_map(on).collect()
    }

    /// Adds them, except some, and what each of them has of the data.
    pub(crate) fn onto(&self, known: &mut Known, data: &[Datum], left_out: &BTreeSet<NodeId>) {
        let mut picture = self.picture.lock();
        picture.pass(self.clock.now());
        for (id, node) in picture.nodes.nodes().filter(|(id, _)| !left_out.contains(id)) {
            known.set_node(id.clone(), node.clone());
            let Some(sketch) = picture.sketches.get(id) else { continue };
            for datum in data {
                let holding = Holding { here: ByteSize(datum.bytes_in(sketch)), coming: ByteSize(0) };
                known.set_holding(&datum.reference.datum, id, holding);
            }
        }
    }

    /// Which chunks of a datum a node did not say that it has.
    pub(crate) fn missing(&self, id: &NodeId, datum: &Datum) -> Vec<u64> {
        let picture = self.picture.lock();
        let has = |print| picture.sketches.get(id).is_some_and(|sketch| sketch.has(print));
        (0..).zip(&datum.chunks).filter(|(_, (print, _))| !has(*print)).map(|(chunk, _)| chunk).collect()
    }

    /// What will be true of a node that work was sent to, until it says more.
    pub(crate) fn sent(&self, id: &NodeId, run: Duration, data: &[Datum]) {
        let mut picture = self.picture.lock();
        let Picture { nodes, sketches, .. } = &mut *picture;
        nodes.assume(&Request { run, ..Request::default() }, id);
        let sketch = sketches.entry(id.clone()).or_default();
        for Datum { reference: Reference { datum, size, .. }, chunks, .. } in data {
            let missing: u64 = chunks.iter().filter(|(print, _)| !sketch.has(*print)).map(|(_, len)| len).sum();
            if missing > 0 {
                nodes.assume_copy(datum, ByteSize(missing.min(size.0)), id);
                // Only what it does to the link is wanted: the sketch says what is there.
                nodes.set_holding(datum, id, Holding::default());
            }
            chunks.iter().for_each(|(print, _)| sketch.add(*print));
        }
    }

    /// Sends nothing more to a node until it says something.
    pub(crate) fn lost(&self, id: &NodeId) {
        self.picture.lock().forget(id);
    }
}

impl Picture {
    fn pass(&mut self, now: Duration) {
        self.nodes.elapse(now.saturating_sub(self.at));
        self.at = now;
        let is_silent = |heard: &Duration| now.saturating_sub(*heard) > SILENT_MAX;
        let silent: Vec<NodeId> =
            self.heard.iter().filter(|(_, heard)| is_silent(heard)).map(|(id, _)| id.clone()).collect();
        silent.iter().for_each(|id| self.forget(id));
    }

    /// Not its caches, nor how long functions run: it tells of those only if they are news, and may only have been unreachable.
    fn forget(&mut self, id: &NodeId) {
        self.nodes.remove_node(id);
        self.heard.remove(id);
    }
}

/// Labels as they travel.
pub(crate) fn pairs(labels: &Labels) -> BTreeSet<(String, String)> {
    labels.iter().map(|label| (label.key().to_owned(), label.value().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Elsewhere for Nobody {
        fn run<'a>(&'a self, _: &'a NodeId, _: Errand) -> BoxFuture<'a, Result<Called, NotDone>> {
            Box::pin(async { Err(NotDone::NotHere) })
        }

        fn work<'a>(&'a self, _: &'a NodeId, _: Bytes) -> BoxFuture<'a, Result<Bytes, NotDone>> {
            Box::pin(async { Err(NotDone::NotHere) })
        }

        fn warm<'a>(&'a self, _: &'a NodeId, _: Vec<Piece>) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Ok(()) })
        }

        fn home(&self, _: CellId) -> Option<NodeId> {
            None
        }
    }

    fn report(node: &str, accepted: u32) -> Report {
        Report {
            node: Name::new(node).unwrap(),
            is_open: true,
            labels: [("region".to_owned(), "eu".to_owned())].into(),
            hardware: BTreeSet::new(),
            price: 0,
            cores: 2,
            accepted,
            work: Duration::from_secs(10) * accepted,
            ran: Vec::new(),
            sketch: None,
        }
    }

    fn accepted(others: &Others) -> Vec<(String, u32)> {
        let mut known = Known::default();
        others.onto(&mut known, &[], &BTreeSet::new());
        known.nodes().map(|(id, node)| (id.to_string(), node.load.accepted)).collect()
    }

    #[test]
    fn who_is_silent_is_gone_and_what_was_sent_counts_until_the_next_report() {
        let clock = Clock::manual();
        let others = Others::new(Arc::new(Nobody), clock.clone());
        others.heard(report("a", 1));
        others.heard(report("b", 0));
        let a = NodeId(Name::new("a").unwrap());
        others.sent(&a, Duration::from_secs(10), &[]);
        assert_eq!(accepted(&others), [("a".to_owned(), 2), ("b".to_owned(), 0)]);
        others.heard(report("a", 1));
        assert_eq!((accepted(&others)[0].1, others.count()), (1, 2));
        clock.advance(SILENT_MAX);
        others.heard(report("b", 3));
        clock.advance(Duration::from_millis(1));
        assert_eq!(accepted(&others), [("b".to_owned(), 3)]);
        others.heard(Report { is_open: false, ..report("b", 3) });
        assert_eq!((accepted(&others), others.count()), (vec![], 0));
    }

    #[test]
    fn who_could_not_be_reached_is_left_out_until_it_says_something() {
        let others = Others::new(Arc::new(Nobody), Clock::manual());
        others.heard(report("a", 1));
        others.lost(&NodeId(Name::new("a").unwrap()));
        assert!(accepted(&others).is_empty());
        others.heard(report("a", 1));
        assert_eq!(others.count(), 1);
    }
}
