//! `memoise`: a pure function may answer from memory, and two pure nodes that do the same with the same are one.

use crate::plan::{Body, Does, Graph, Node, Plan, Port, Stage, Work};

pub(super) fn run(plan: &mut Plan) {
    for graph in &mut plan.graphs {
        while let Some((first, second)) = twins(graph) {
            let names = std::mem::take(&mut graph.nodes[second].stands_for);
            graph.nodes[first].stands_for.extend(names);
            graph.remove(second, Port::Node(first));
        }
        for node in graph.nodes.iter_mut().filter(|node| node.is_pure) {
            chains(node).into_iter().flatten().for_each(remember);
        }
    }
}

fn twins(graph: &Graph) -> Option<(usize, usize)> {
    let all = 0..graph.nodes.len();
    all.clone().find_map(|second| {
        let node = &graph.nodes[second];
        let calls = matches!(&node.work, Work::Chain(stages) if stages.iter().any(Stage::is_call));
        let plain = node.is_pure && node.is_plain() && calls;
        all.clone().take(second).find(|first| plain && is_twin(&graph.nodes[*first], node)).map(|first| (first, second))
    })
}

fn is_twin(first: &Node, second: &Node) -> bool {
    let (a, b) = (first, second);
    let same = a.work == b.work && a.inputs == b.inputs && a.after == b.after && a.output == b.output;
    same && a.is_pure && a.is_plain() && a.retry == b.retry && a.placing == b.placing
}

fn chains(node: &mut Node) -> Vec<&mut Vec<Stage>> {
    match &mut node.work {
        Work::Chain(stages) => vec![stages],
        Work::Each(each) => match &mut each.body {
            Body::Chain(stages) => vec![stages],
            Body::Graph(_) => Vec::new(),
        },
        Work::Reduce { body: Body::Chain(stages), .. } | Work::Iterate { body: Body::Chain(stages), .. } => {
            vec![stages]
        }
        _ => Vec::new(),
    }
}

fn remember(stage: &mut Stage) {
    if let Does::Function { memo, .. } = &mut stage.does {
        *memo = true;
    }
}
