//! From a program to the plan that does it word by word.

use std::collections::BTreeMap;

use super::{Body, Caught, Does, Each, Estimate, Gives, Graph, Inputs, Items, Node, Placing, Plan, Port, Stage, Work};
use crate::{
    check::{Program, order},
    expr::Expr,
    ir::{self, In, Op},
    name::NodeName,
};

pub(super) fn lower(program: &Program) -> Plan {
    let draft = program.draft();
    let mut lowering = Lowering { program, graphs: Vec::new() };
    let root = lowering.graph("/graph", &draft.graph);
    Plan {
        id: String::new(),
        flow: draft.name.clone(),
        program: program.digest(),
        passes: Vec::new(),
        graphs: lowering.graphs,
        root,
        timeout_ms: draft.timeout_ms,
    }
}

struct Lowering<'a> {
    program: &'a Program,
    graphs: Vec<Graph>,
}

impl Lowering<'_> {
    fn graph(&mut self, at: &str, graph: &ir::Graph) -> usize {
        let (order, _) = order(graph);
        let index: BTreeMap<&NodeName, usize> = order.iter().enumerate().map(|(index, name)| (name, index)).collect();
        let port = |name: &NodeName| if name.is_input() { Port::Input } else { Port::Node(index[name]) };
        let nodes = order
            .iter()
            .map(|name| self.node(&format!("{at}/nodes/{name}"), name, &graph.nodes[name], &port))
            .collect();
        self.graphs.push(Graph { nodes, output: graph.output.as_ref().map(port) });
        self.graphs.len() - 1
    }

    fn node(&mut self, at: &str, name: &NodeName, node: &ir::Node, port: &dyn Fn(&NodeName) -> Port) -> Node {
        let caught = |this: &mut Self, index: usize, catch: &ir::Catch| Caught {
            errors: catch.errors.clone(),
            body: this.body(&format!("{at}/catch/{index}/body"), &catch.body, Gives::One),
        };
        Node {
            name: name.clone(),
            stands_for: vec![at.to_owned()],
            inputs: match &node.input {
                In::None => Inputs::None,
                In::One(from) => Inputs::One(port(from)),
                In::Many(from) => Inputs::Many(from.iter().map(|(name, from)| (name.clone(), port(from))).collect()),
            },
            after: node.after.iter().map(port).filter(|port| *port != Port::Input).collect(),
            work: self.work(&format!("{at}/do/{}", node.op.name()), &node.op),
            output: node.output.clone(),
            is_pure: self.program.facts(at).is_some_and(|facts| facts.effects.is_empty()),
            retry: node.retry.clone(),
            timeout_ms: node.timeout_ms,
            catch: node.catch.iter().enumerate().map(|(index, catch)| caught(self, index, catch)).collect(),
            compensate: node.compensate.as_ref().map(|body| self.body(&format!("{at}/compensate"), body, Gives::One)),
            placing: Placing {
                affinity: node.affinity.clone(),
                near_data: false,
                hardware: node.hardware.clone(),
                prefers: None,
                node: None,
                slo: node.slo.clone(),
            },
            estimate: Estimate::default(),
        }
    }

    fn body(&mut self, at: &str, body: &ir::Body, gives: Gives) -> Body {
        match body {
            ir::Body::Function(name) => {
                let does = Does::Function { name: name.clone(), input: Expr::default(), memo: false };
                Body::Chain(vec![Stage { gives, does }])
            }
            ir::Body::Expr(expr) => Body::Chain(vec![Stage { gives, does: Does::Expr(expr.clone()) }]),
            ir::Body::Graph(graph) => Body::Graph(self.graph(&format!("{at}/graph"), graph)),
        }
    }

    fn each(&mut self, at: &str, each: &ir::Each, gives: Gives) -> Work {
        Work::Each(Each {
            items: Items::Expr(each.items.clone()),
            input: each.input.clone(),
            body: self.body(&format!("{at}/body"), &each.body, gives),
            gives,
            combine: None,
            batch: 1,
            window: each.window,
            failures: each.failures.clone(),
        })
    }

    fn work(&mut self, at: &str, op: &Op) -> Work {
        match op {
            Op::Source(source) => Work::Source(source.clone()),
            Op::Call(call) => {
                let does = Does::Function { name: call.function.clone(), input: call.input.clone(), memo: false };
                Work::Chain(vec![Stage { gives: Gives::One, does }])
            }
            Op::Map(each) => self.each(at, each, Gives::One),
            Op::FlatMap(each) => self.each(at, each, Gives::Flat),
            Op::Filter(each) => self.each(at, each, Gives::Keep),
            Op::KeyBy(each) => self.each(at, each, Gives::Key),
            Op::Reduce(reduce) => Work::Reduce {
                items: reduce.items.clone(),
                by_key: reduce.by_key,
                associative: reduce.associative,
                body: self.body(&format!("{at}/body"), &reduce.body, Gives::One),
                window: reduce.window,
            },
            Op::Join(join) => Work::Join(join.clone()),
            Op::Iterate(iterate) => Work::Iterate {
                state: iterate.state.clone(),
                body: self.body(&format!("{at}/body"), &iterate.body, Gives::One),
                until: iterate.until.clone(),
                rounds_max: iterate.rounds_max,
                at_bound: iterate.at_bound,
            },
            Op::Branch(branch) => {
                let case = |(index, case): (usize, &ir::Case)| {
                    (case.when.clone(), self.body(&format!("{at}/cases/{index}/body"), &case.body, Gives::One))
                };
                let cases = branch.cases.iter().enumerate().map(case).collect();
                let otherwise = branch.otherwise.as_ref();
                Work::Branch {
                    cases,
                    otherwise: otherwise.map(|body| self.body(&format!("{at}/otherwise"), body, Gives::One)),
                }
            }
            Op::Parallel(parallel) => {
                let branch = |(name, body): (&NodeName, &ir::Body)| {
                    (name.clone(), self.body(&format!("{at}/branches/{name}"), body, Gives::One))
                };
                Work::Parallel(parallel.branches.iter().map(branch).collect())
            }
            Op::Ask(ask) => Work::Ask(ask.clone()),
            Op::Tell(tell) => Work::Tell(tell.clone()),
            Op::Wait(wait) => Work::Wait(wait.clone()),
            Op::Sink(sink) => Work::Sink(sink.clone()),
            Op::Subflow(subflow) => Work::Subflow(subflow.clone()),
            Op::Pass(pass) => Work::Pass(pass.value.clone()),
            Op::Fail(fail) => Work::Fail(fail.clone()),
            Op::Succeed(succeed) => Work::Succeed(succeed.value.clone()),
        }
    }
}
