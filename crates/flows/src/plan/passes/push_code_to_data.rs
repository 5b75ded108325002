//! `push_code_to_data`: what works on objects runs where they lie. Lines are read there, so that what comes out of the work travels, and not the lines.

use crate::{
    ir::{Failures, Source},
    plan::{Body, Does, Gives, Graph, Inputs, Items, Plan, Port, Stage, Work},
};

pub(super) fn run(plan: &mut Plan) {
    for graph in &mut plan.graphs {
        while let Some((source, each)) = lines(graph) {
            push(graph, source, each);
        }
        for index in 0..graph.nodes.len() {
            let reads_objects = graph.nodes[index].inputs.ports().into_iter().any(|port| match port {
                Port::Node(at) => matches!(graph.nodes[at].work, Work::Source(Source::Objects(_))),
                Port::Input => false,
            });
            let node = &mut graph.nodes[index];
            let works = matches!(node.work, Work::Each(_) | Work::Chain(_));
            node.placing.near_data |= works && reads_objects && node.placing.affinity.is_none();
        }
    }
}

/// A source of lines and the one walk over them.
fn lines(graph: &Graph) -> Option<(usize, usize)> {
    (0..graph.nodes.len()).find_map(|index| {
        let node = &graph.nodes[index];
        let (Inputs::One(Port::Node(from)), Work::Each(each)) = (&node.inputs, &node.work) else { return None };
        let source = &graph.nodes[*from];
        let whole = matches!(&each.items, Items::Expr(expr) if expr.is_input()) && each.input.is_none();
        // An item is a part then, so what fails or is tried again would be a part, too.
        let strict = each.failures == Failures::default() && node.retry.is_empty() && node.is_plain() && node.is_pure;
        let can = matches!(source.work, Work::Source(Source::Lines(_))) && matches!(each.body, Body::Chain(_));
        let alone = graph.readers(Port::Node(*from)) == [index] && graph.output != Some(Port::Node(*from));
        let quiet = source.is_plain() && source.retry.is_empty() && source.output.is_any() && node.after.is_empty();
        (whole && strict && can && alone && quiet && !reads_index(&each.body)).then_some((*from, index))
    })
}

/// Whether what is done with an item depends on which of the lines it is.
fn reads_index(body: &Body) -> bool {
    let Body::Chain(stages) = body else { return true };
    stages.iter().any(|stage| match &stage.does {
        Does::Function { input, .. } => input.reads_context(),
        Does::Expr(expr) => expr.reads_context(),
        Does::Lines => false,
    })
}

fn push(graph: &mut Graph, source: usize, index: usize) {
    let before = graph.nodes[source].clone();
    let node = &mut graph.nodes[index];
    if let (Work::Each(each), Work::Source(Source::Lines(objects))) = (&mut node.work, before.work) {
        each.items = Items::Parts(objects);
        if let Body::Chain(stages) = &mut each.body {
            stages.insert(0, Stage { gives: Gives::Flat, does: Does::Lines });
        }
    }
    node.placing.near_data = true;
    node.stands_for.splice(0..0, before.stands_for);
    node.inputs = before.inputs;
    node.after = before.after;
    graph.remove(source, Port::Input);
}
