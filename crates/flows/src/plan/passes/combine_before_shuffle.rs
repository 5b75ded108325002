//! `combine_before_shuffle`: what one call gives is folded before it travels, so that a key goes over once for a call and not once for an item.
//!
//! Only a fold that is declared `associative` and is pure.

use crate::plan::{Body, Combine, Graph, Inputs, Plan, Port, Work};

pub(super) fn run(plan: &mut Plan) {
    for graph in &mut plan.graphs {
        for index in 0..graph.nodes.len() {
            if let Some((from, combine)) = fold(graph, index)
                && let Work::Each(each) = &mut graph.nodes[from].work
            {
                each.combine = Some(combine);
            }
        }
    }
}

fn fold(graph: &Graph, index: usize) -> Option<(usize, Combine)> {
    let node = &graph.nodes[index];
    let Work::Reduce { items, by_key, associative: true, body: Body::Chain(stages), .. } = &node.work else {
        return None;
    };
    let Inputs::One(Port::Node(from)) = node.inputs else { return None };
    let Work::Each(each) = &graph.nodes[from].work else { return None };
    let port = Port::Node(from);
    let alone = graph.readers(port) == [index] && graph.output != Some(port);
    let pure = node.is_pure && graph.nodes[from].output.is_any() && !graph.nodes[from].catch.iter().any(|_| true);
    let can = items.is_input() && matches!(each.body, Body::Chain(_)) && each.combine.is_none();
    (alone && pure && can).then(|| (from, Combine { by_key: *by_key, stages: stages.clone() }))
}
