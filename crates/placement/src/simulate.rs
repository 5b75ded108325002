//! A simulated cluster under load, to compare ways of placing: how many bytes they move, and how long work waits.
//!
//! What is modelled: requests that arrive at random and read one or two data of skewed popularity; nodes with slots, one queue in
//! order of arrival, one link and a cache of bounded size that drops the least recently used; data that comes from
//! outside the cluster; a share of it labelled for half of the nodes. Fetching begins when a request is accepted, and its slot is
//! kept while the data is not there.
//!
//! What who places may know: every planner takes a share of the requests and sees what the nodes report, each once in an interval.
//! In between it adds what it placed
//! itself and lets time pass, and knows nothing of what the other planners did. It expects the mean run time, not the one that
//! comes. Only [`Bound`] knows everything.
//!
//! Always true: the same settings and the same seed give the same requests to all policies, and the same outcome.

mod bound;
mod machine;
mod planner;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytesize::ByteSize;

use crate::{Demand, Reference};
use machine::Machine;
use planner::Planner;
use workload::Workload;

pub use bound::Bound;

/// A way of placing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Any node that may hold the data.
    Random,
    /// The node with the least accepted work, of those that may hold the data; any of them if several have.
    LeastLoaded,
    /// What this crate plans.
    Stride,
    /// The same, but with no copies made ahead.
    WithoutReplication,
    /// What this crate plans if it is not told what the nodes hold nor what the requests read.
    WithoutLocality,
}

impl Policy {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::LeastLoaded => "least loaded",
            Self::Stride => "stride",
            Self::WithoutReplication => "stride, no replication",
            Self::WithoutLocality => "stride, no locality",
        }
    }
}

/// A cluster and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many nodes.
    pub nodes: usize,
    /// How many data there are for each node.
    pub data_per_node: usize,
    /// How many requests there are for each node.
    pub requests_per_node: usize,
    /// Slots of a node.
    pub slots: u32,
    /// The mean size of a datum; they lie between a quarter of it and seven quarters.
    pub size_mean: ByteSize,
    /// A node's cache, in data of mean size.
    pub cache_data: u64,
    /// What a node's link carries in a second.
    pub link: ByteSize,
    /// The mean run time. Run times are exponential.
    pub run_mean: Duration,
    /// How much of all slots' time the runs take, in percent; moving data comes on top.
    pub busy_percent: u32,
    /// The exponent of the popularity: the `k`th datum is asked for in proportion to `1 / k^skew`.
    pub skew: f64,
    /// How many requests of a hundred read a second datum.
    pub second_percent: u64,
    /// How many data of a hundred carry a label that only every other node carries.
    pub labelled_percent: u64,
    /// How many planners share the requests.
    pub planners: usize,
    /// How often a node reports.
    pub report_every: Duration,
}

impl Settings {
    /// A cluster of this many nodes, as the tables in the documentation have it.
    pub fn cluster(nodes: usize) -> Self {
        Self {
            nodes,
            data_per_node: 20,
            requests_per_node: 1_000,
            slots: 8,
            size_mean: ByteSize::mib(16),
            cache_data: 60,
            link: ByteSize::mib(1_200),
            run_mean: Duration::from_millis(200),
            busy_percent: 70,
            skew: 1.0,
            second_percent: 30,
            labelled_percent: 20,
            planners: 4,
            report_every: Duration::from_millis(200),
        }
    }
}

/// What came of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What all links carried.
    pub moved: ByteSize,
    /// From the arrival of a request to when it runs with its data at hand, sorted.
    waits: Vec<Duration>,
    /// The part of that which is waiting for a slot, sorted by itself.
    queued: Vec<Duration>,
    /// How many copies were made ahead.
    pub copies: u64,
}

impl Outcome {
    /// The wait that this many of a thousand requests do not exceed.
    pub fn wait(&self, per_mille: usize) -> Duration {
        quantile(&self.waits, per_mille)
    }

    /// The wait for a slot alone that this many of a thousand requests do not exceed.
    pub fn queued(&self, per_mille: usize) -> Duration {
        quantile(&self.queued, per_mille)
    }
}

fn quantile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1000).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

/// Lets the requests of this seed arrive at a cluster whose caches are empty.
pub fn run(settings: Settings, policy: Policy, seed: u64) -> Outcome {
    let workload = Workload::new(settings, seed);
    let mut machines: Vec<Machine> = (0..settings.nodes).map(|_| Machine::new(settings)).collect();
    let mut planners: Vec<Planner> =
        (0..settings.planners).map(|i| Planner::new(policy, &workload, seed ^ (i as u64 + 1))).collect();
    let mut outcome = Outcome { moved: ByteSize(0), waits: Vec::new(), queued: Vec::new(), copies: 0 };
    // The reports of the nodes are spread over the interval.
    let between_reports = settings.report_every / settings.nodes as u32;
    let (mut reports, mut report_at) = (0, Duration::ZERO);

    for arrival in workload.arrivals() {
        while report_at <= arrival.at {
            let reporter = reports % settings.nodes;
            let report = machines[reporter].report(report_at, &workload);
            for planner in &mut planners {
                planner.learn(report_at, reporter, &report, &workload);
            }
            reports += 1;
            if reports % settings.nodes == 0 && policy == Policy::Stride {
                let demands = demands(&machines, report_at, &workload);
                for copy in planners[0].copies(&demands) {
                    let (to, datum) = (workload.node_index(&copy.to), workload.datum_index(&copy.datum));
                    assert!(workload.may_hold(datum, to), "a copy of {} to {} violates a label", copy.datum, copy.to);
                    machines[to].copy(report_at, datum, &workload);
                    outcome.copies += 1;
                }
            }
            report_at += between_reports;
        }
        let node = planners[arrival.planner].place(arrival, &workload);
        assert!(arrival.reads.iter().all(|d| workload.may_hold(*d, node)), "{policy:?} violates a label");
        let (wait, queued) = machines[node].accept(arrival, &workload);
        outcome.waits.push(wait);
        outcome.queued.push(queued);
    }
    outcome.moved = ByteSize(machines.iter().map(Machine::moved).sum());
    outcome.waits.sort_unstable();
    outcome.queued.sort_unstable();
    outcome
}

/// The work that waits, by what it reads, as the nodes would report it.
fn demands(machines: &[Machine], now: Duration, workload: &Workload) -> Vec<Demand> {
    let mut waiting = BTreeMap::<usize, Duration>::new();
    for datum in machines.iter().flat_map(|machine| machine.waited_for(now)) {
        *waiting.entry(datum).or_default() += workload.settings().run_mean;
    }
    let demand = |(datum, waiting)| {
        let Reference { datum, size, labels } = workload.reference(datum);
        Demand { datum, size, labels, hardware: BTreeSet::new(), waiting }
    };
    waiting.into_iter().map(demand).collect()
}
