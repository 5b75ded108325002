//! Who places in the simulation: one of several, each with its own and somewhat old picture of the nodes.

use std::time::Duration;

use bytesize::ByteSize;
use stride_sim::Chance;

use super::{
    Policy,
    machine::Report,
    workload::{Arrival, Workload},
};
use crate::{Copy, DatumId, Demand, Input, Link, Load, Node, NodeId, Price, Rate, Request, plan, replicate};

pub(super) struct Planner {
    policy: Policy,
    chance: Chance,
    input: Input,
    now: Duration,
}

impl Planner {
    pub(super) fn new(policy: Policy, workload: &Workload, seed: u64) -> Self {
        let settings = workload.settings();
        let mut input = Input::default();
        for (i, id) in workload.nodes().iter().enumerate() {
            let node = Node {
                slots: settings.slots,
                accepted_max: u32::MAX,
                load: Load::default(),
                link: Link { rate: Rate(settings.link.0), waiting: ByteSize(0) },
                labels: workload.labels(i),
                hardware: Default::default(),
                price: Price(0),
            };
            input.set_node(id.clone(), node);
        }
        Self { policy, chance: Chance::seeded(seed), input, now: Duration::ZERO }
    }

    fn elapse_until(&mut self, now: Duration) {
        self.input.elapse(now.saturating_sub(self.now));
        self.now = now;
    }

    /// Takes what a node reports.
    pub(super) fn learn(&mut self, now: Duration, node: usize, report: &Report, workload: &Workload) {
        self.elapse_until(now);
        let id = &workload.nodes()[node];
        self.input.set_load(id, report.load, report.link_waiting);
        if matches!(self.policy, Policy::Stride | Policy::WithoutReplication) {
            for (datum, holding) in &report.holdings {
                self.input.set_holding(workload.datum(*datum), id, *holding);
            }
        }
    }

    /// The node for a request.
    pub(super) fn place(&mut self, arrival: &Arrival, workload: &Workload) -> usize {
        self.elapse_until(arrival.at);
        let mut request = workload.request(arrival);
        if self.policy == Policy::WithoutLocality {
            for reference in &mut request.references {
                reference.size = ByteSize(0);
                // Not even the name, which would bring the same datum to the same node among equals.
                let anonymous = format!("data/{}", self.chance.next_u64());
                reference.datum = DatumId::new(&anonymous).expect("it is a name");
            }
        }
        let chosen = match self.policy {
            Policy::Random => self.any(&self.allowed(&request)),
            Policy::LeastLoaded => {
                let mut allowed = self.allowed(&request);
                let least = allowed.iter().map(|(_, load)| *load).min();
                allowed.retain(|(_, load)| Some(*load) == least);
                self.any(&allowed)
            }
            Policy::Stride | Policy::WithoutReplication | Policy::WithoutLocality => {
                plan(&self.input, &request, &self.chance).expect("some node may take every request").node().clone()
            }
        };
        self.input.assume(&request, &chosen);
        workload.node_index(&chosen)
    }

    /// What to copy where. It is known from now on.
    pub(super) fn copies(&mut self, demands: &[Demand]) -> Vec<Copy> {
        let copies = replicate(&self.input, demands);
        for copy in &copies {
            self.input.assume_copy(&copy.datum, copy.moves, &copy.to);
        }
        copies
    }

    fn allowed(&self, request: &Request) -> Vec<(&NodeId, u32)> {
        let may = |node: &Node| request.references.iter().all(|r| r.labels.missing_from(&node.labels).is_none());
        self.input.nodes().filter(|(_, node)| may(node)).map(|(id, node)| (id, node.load.accepted)).collect()
    }

    fn any(&self, nodes: &[(&NodeId, u32)]) -> NodeId {
        nodes[self.chance.below(nodes.len() as u64) as usize].0.clone()
    }
}
