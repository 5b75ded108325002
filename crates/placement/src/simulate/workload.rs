//! What is asked of a simulated cluster, made once from a seed: the data, and the requests in the order in which they arrive.

use std::time::Duration;

use bytesize::ByteSize;
use stride_ids::Name;
use stride_sim::Chance;

use super::Settings;
use crate::{DatumId, Label, Labels, NodeId, Reference, Request};

/// One request.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) at: Duration,
    pub(super) reads: Vec<usize>,
    /// What nobody knows before it ran.
    pub(super) runs: Duration,
    pub(super) planner: usize,
}

#[derive(Debug)]
pub(super) struct Workload {
    settings: Settings,
    label: Label,
    nodes: Vec<NodeId>,
    data: Vec<Reference>,
    arrivals: Vec<Arrival>,
}

impl Workload {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        let chance = Chance::seeded(seed);
        let name = |text: &str| Name::new(text).expect("it is a name");
        let label = Label::new("region", "eu").expect("it is a label");
        let data: Vec<Reference> = (0..settings.nodes * settings.data_per_node)
            .map(|i| Reference {
                datum: DatumId::new(&format!("data/{i:06}")).expect("it is a name"),
                size: ByteSize(settings.size_mean.0 / 4 + chance.below(settings.size_mean.0 * 3 / 2)),
                labels: chance.hits(settings.labelled_percent * 10).then(|| label.clone()).into_iter().collect(),
            })
            .collect();
        let popularity = Popularity::new(data.len(), settings.skew);
        let slots = settings.nodes as f64 * f64::from(settings.slots);
        let pause = settings.run_mean.as_secs_f64() * 100.0 / (slots * f64::from(settings.busy_percent));
        let mut at = Duration::ZERO;
        let arrivals = (0..settings.nodes * settings.requests_per_node).map(|_| {
            at += Duration::from_secs_f64(pause * exponential(&chance));
            let mut reads = vec![popularity.draw(&chance)];
            if chance.hits(settings.second_percent * 10) {
                reads.push(popularity.draw(&chance));
                reads.dedup();
            }
            let runs = settings.run_mean.mul_f64(exponential(&chance));
            Arrival { at, reads, runs, planner: chance.below(settings.planners as u64) as usize }
        });
        let arrivals = arrivals.collect();
        let nodes = (0..settings.nodes).map(|i| NodeId(name(&format!("n{i:03}")))).collect();
        Self { settings, label, nodes, data, arrivals }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    pub(super) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub(super) fn reference(&self, datum: usize) -> Reference {
        self.data[datum].clone()
    }

    pub(super) fn datum(&self, datum: usize) -> &DatumId {
        &self.data[datum].datum
    }

    pub(super) fn size(&self, datum: usize) -> u64 {
        self.data[datum].size.0
    }

    /// What a planner is told of a request.
    pub(super) fn request(&self, arrival: &Arrival) -> Request {
        let references = arrival.reads.iter().map(|datum| self.reference(*datum)).collect();
        Request { references, run: self.settings.run_mean, ..Request::default() }
    }

    /// What the node carries.
    pub(super) fn labels(&self, node: usize) -> Labels {
        node.is_multiple_of(2).then(|| self.label.clone()).into_iter().collect()
    }

    /// Said without the code under test.
    pub(super) fn may_hold(&self, datum: usize, node: usize) -> bool {
        self.data[datum].labels.iter().next().is_none() || node.is_multiple_of(2)
    }

    pub(super) fn node_index(&self, id: &NodeId) -> usize {
        self.nodes.binary_search(id).expect("planners know no other nodes")
    }

    pub(super) fn datum_index(&self, id: &DatumId) -> usize {
        self.data.binary_search_by(|r| r.datum.cmp(id)).expect("planners know no other data")
    }
}

/// Zipf's law over the data, the first being the most popular.
struct Popularity(Vec<f64>);

impl Popularity {
    fn new(count: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let next = |k: usize| {
            sum += (k as f64).powf(-skew);
            sum
        };
        Self((1..=count).map(next).collect())
    }

    fn draw(&self, chance: &Chance) -> usize {
        let all = self.0.last().copied().unwrap_or_default();
        let drawn = uniform(chance) * all;
        self.0.partition_point(|sum| *sum <= drawn).min(self.0.len() - 1)
    }
}

/// Above zero, below one.
fn uniform(chance: &Chance) -> f64 {
    ((chance.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// With the mean one.
fn exponential(chance: &Chance) -> f64 {
    -uniform(chance).ln()
}
