//! What a plan is expected to take, from what the catalog knows and, where it knows nothing, from round numbers; and what a run took.
//!
//! Not here: anything that decides by itself. Estimates choose batches and hardware; a wrong one costs time and never a result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Body, Does, Each, Gives, Graph, Items, Plan, Port, Stage, Work};
use crate::{catalog::Function, expr::Expr, value};

/// What is assumed of a value, a call and a list of which nothing is known.
const BYTES: u64 = 1_024;
pub(super) const MICROS: u64 = 1_000;
const ITEMS: u64 = 100;
/// Lines that are read where they lie come in parts of so many bytes, of lines of so many.
const PART_BYTES: u64 = 1 << 20;
const LINE_BYTES: u64 = 128;
/// How many values of one key are expected to meet in one call.
const FOLDED: u64 = 8;

/// What a node is expected to take in one run of its graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The values it gives: 1, or the items of a list.
    pub items: u64,
    /// Commands to call something.
    pub calls: u64,
    /// Of what it takes.
    pub bytes_in: u64,
    /// Of what it gives to others.
    pub bytes_out: u64,
    /// Of functions, summed up.
    pub micros: u64,
}

/// What a node took in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Commands to call something that were answered.
    pub calls: u64,
    /// Of what these took.
    pub bytes_in: u64,
    /// Of what these gave.
    pub bytes_out: u64,
    /// From command to answer, summed up.
    pub millis: u64,
}

/// What nodes took, by their place in the plan: `graph/name`.
pub type Measures = BTreeMap<String, Measure>;

pub(super) fn fill(plan: &mut Plan, functions: &BTreeMap<String, Function>) {
    for index in 0..plan.graphs.len() {
        let mut graph = std::mem::take(&mut plan.graphs[index]);
        fill_graph(&mut graph, plan, functions);
        plan.graphs[index] = graph;
    }
}

/// Bodies come before the graphs around them, so that what is inside is known.
fn fill_graph(graph: &mut Graph, plan: &Plan, functions: &BTreeMap<String, Function>) {
    for index in 0..graph.nodes.len() {
        let given = graph.nodes[index].inputs.ports().into_iter().map(|port| match port {
            Port::Input => (1, BYTES),
            Port::Node(at) => (graph.nodes[at].estimate.items, graph.nodes[at].estimate.bytes_out),
        });
        let (items, bytes) =
            given.fold((0, 0), |(items, bytes), (i, b)| (u64::max(items, i), u64::saturating_add(bytes, b)));
        let node = &graph.nodes[index];
        let from = Given { items, bytes, hardware: node.placing.class(), plan, functions };
        graph.nodes[index].estimate = from.work(&node.work);
    }
}

struct Given<'a> {
    items: u64,
    bytes: u64,
    hardware: Option<&'a str>,
    plan: &'a Plan,
    functions: &'a BTreeMap<String, Function>,
}

/// What one value becomes: how many, of how many bytes each, after how long.
#[derive(Clone, Copy)]
struct Flow {
    items: u64,
    bytes: u64,
    micros: u64,
}

impl Given<'_> {
    fn work(&self, work: &Work) -> Estimate {
        let one = |bytes_out: u64, calls: u64, micros: u64| Estimate {
            items: 1,
            calls,
            bytes_in: self.bytes,
            bytes_out,
            micros,
        };
        match work {
            Work::Source(crate::ir::Source::Value(expr)) => {
                let (items, bytes) = self.list(expr);
                Estimate { items, bytes_out: bytes, ..Estimate::default() }
            }
            Work::Source(crate::ir::Source::Lines(_)) => {
                let items = ITEMS * (PART_BYTES / LINE_BYTES);
                Estimate { items, calls: 1, bytes_in: 0, bytes_out: items * LINE_BYTES, micros: 0 }
            }
            Work::Source(_) => Estimate { items: ITEMS, calls: 1, bytes_in: 0, bytes_out: ITEMS * 128, micros: 0 },
            Work::Chain(stages) => {
                let flow = self.chain(stages, self.bytes);
                one(flow.bytes, u64::from(stages.iter().any(Stage::is_call)), flow.micros)
            }
            Work::Each(each) => self.each(each),
            Work::Reduce { items, body, by_key, .. } => {
                let (items, bytes) = self.list(items);
                let flow = self.body(body, bytes);
                let keys = if *by_key { (items / FOLDED).max(1) } else { 1 };
                let bytes_out = if *by_key { bytes / items.max(1) * keys } else { flow.bytes };
                Estimate { items: keys, calls: keys, bytes_in: bytes, bytes_out, micros: flow.micros * keys }
            }
            Work::Join(_) => {
                Estimate { items: self.items, calls: 0, bytes_in: self.bytes, bytes_out: self.bytes, micros: 0 }
            }
            Work::Iterate { body, .. } => {
                let flow = self.body(body, self.bytes);
                one(flow.bytes, 10, flow.micros.saturating_mul(10))
            }
            Work::Branch { cases, otherwise } => {
                let bodies = cases.iter().map(|(_, body)| body).chain(otherwise);
                let flows: Vec<Flow> = bodies.map(|body| self.body(body, self.bytes)).collect();
                let most = |of: fn(&Flow) -> u64| flows.iter().map(of).max().unwrap_or_default();
                one(most(|flow| flow.bytes), 1, most(|flow| flow.micros))
            }
            Work::Parallel(branches) => {
                let flows: Vec<Flow> = branches.iter().map(|(_, body)| self.body(body, self.bytes)).collect();
                one(flows.iter().map(|f| f.bytes).sum(), branches.len() as u64, flows.iter().map(|f| f.micros).sum())
            }
            Work::Ask(_) | Work::Subflow(_) => one(BYTES, 1, MICROS),
            Work::Tell(_) | Work::Sink(_) => one(64, 1, MICROS),
            Work::Wait(_) => one(self.bytes, 1, 0),
            Work::Pass(expr) | Work::Succeed(expr) => one(self.size(expr), 0, 0),
            Work::Fail(_) => one(0, 0, 0),
        }
    }

    fn each(&self, each: &Each) -> Estimate {
        let (items, bytes) = match &each.items {
            Items::Expr(expr) => self.list(expr),
            // References to parts, not what is in them.
            Items::Parts(_) => (ITEMS, ITEMS * 128),
        };
        let of = if matches!(each.items, Items::Parts(_)) { PART_BYTES } else { bytes / items.max(1) };
        let flow = match &each.body {
            Body::Chain(stages) => self.chain(stages, of),
            Body::Graph(_) => self.body(&each.body, of),
        };
        let batch = u64::from(each.batch.max(1));
        let mut given = items.saturating_mul(flow.items);
        if each.combine.is_some() {
            given = (given / FOLDED / batch.min(8)).max(1);
        }
        Estimate {
            items: given,
            calls: items.div_ceil(batch),
            bytes_in: bytes,
            bytes_out: given.saturating_mul(flow.bytes),
            micros: items.saturating_mul(flow.micros),
        }
    }

    fn list(&self, expr: &Expr) -> (u64, u64) {
        match expr {
            Expr::Literal(list) => (list.as_array().map_or(1, Vec::len) as u64, value::size(list) as u64),
            _ if self.items > 1 => (self.items, self.bytes),
            _ => (ITEMS, ITEMS * 128),
        }
    }

    fn size(&self, expr: &Expr) -> u64 {
        match expr {
            Expr::Literal(value) => value::size(value) as u64,
            _ => self.bytes.max(1),
        }
    }

    fn body(&self, body: &Body, bytes: u64) -> Flow {
        match body {
            Body::Chain(stages) => self.chain(stages, bytes),
            Body::Graph(index) => {
                let Some(graph) = self.plan.graphs.get(*index) else { return Flow { items: 1, bytes, micros: 0 } };
                let micros = graph.nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.estimate.micros));
                let bytes = match graph.output {
                    Some(Port::Node(at)) => graph.nodes[at].estimate.bytes_out,
                    Some(Port::Input) => bytes,
                    None => 4,
                };
                Flow { items: 1, bytes, micros }
            }
        }
    }

    fn chain(&self, stages: &[Stage], bytes: u64) -> Flow {
        let mut flow = Flow { items: 1, bytes, micros: 0 };
        for stage in stages {
            let gives = match &stage.does {
                Does::Function { name, .. } => {
                    let function = self.functions.get(name);
                    let micros = function.map_or(MICROS, |function| micros(function, self.hardware));
                    flow.micros = flow.micros.saturating_add(micros.saturating_mul(flow.items));
                    function.and_then(|function| function.bytes_out).unwrap_or(flow.bytes)
                }
                Does::Expr(expr) => match expr {
                    Expr::Literal(value) => value::size(value) as u64,
                    _ => flow.bytes,
                },
                Does::Lines => flow.bytes,
            };
            match (stage.gives, &stage.does) {
                (Gives::Flat, Does::Lines) => flow = Flow { items: flow.bytes / LINE_BYTES, bytes: LINE_BYTES, ..flow },
                (Gives::Flat, _) => flow = Flow { items: flow.items.saturating_mul(4), bytes: gives / 4, ..flow },
                (Gives::Keep, _) => flow.items = flow.items.div_ceil(2),
                (Gives::Key, _) => flow.bytes += 24,
                (Gives::One, _) => flow.bytes = gives,
            }
        }
        flow
    }
}

/// How long a call takes on this class of hardware.
pub(super) fn micros(function: &Function, hardware: Option<&str>) -> u64 {
    let on = |class: &str| function.micros.iter().find(|(known, _)| known == class).map(|(_, micros)| *micros);
    on(hardware.unwrap_or_default()).or_else(|| on("")).unwrap_or(MICROS)
}

impl Stage {
    /// Whether it needs somebody outside of the expression evaluator.
    pub fn is_call(&self) -> bool {
        !matches!(self.does, Does::Expr(_))
    }
}
