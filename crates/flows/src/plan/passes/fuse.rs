//! `fuse`: pure neighbours become one step. A chain of calls runs in one place without a commit between them; operators over the same items become one
//! walk over them; a body that is a graph of one step becomes that step.
//!
//! Only what is pure, whose value nobody else reads, and of which nothing is said that one step could not keep. Expressions that look at the run stay, since a fused step has another id.

use crate::plan::{Body, Does, Each, Gives, Graph, Inputs, Items, Node, Plan, Port, Stage, Work};

pub(super) fn run(plan: &mut Plan) {
    // Bodies come before the graphs around them.
    for index in 0..plan.graphs.len() {
        let mut graph = std::mem::take(&mut plan.graphs[index]);
        for node in &mut graph.nodes {
            inline(node, plan);
        }
        while let Some((first, second)) = neighbours(&graph) {
            fuse(&mut graph, first, second);
        }
        plan.graphs[index] = graph;
    }
}

/// Two nodes that can be one.
fn neighbours(graph: &Graph) -> Option<(usize, usize)> {
    (0..graph.nodes.len()).find_map(|second| {
        let Inputs::One(Port::Node(first)) = graph.nodes[second].inputs else { return None };
        (graph.readers(Port::Node(first)) == [second] && graph.output != Some(Port::Node(first))).then_some(())?;
        can_fuse(&graph.nodes[first], &graph.nodes[second]).then_some((first, second))
    })
}

fn can_fuse(first: &Node, second: &Node) -> bool {
    let both = first.is_pure && second.is_pure && first.is_plain() && second.is_plain();
    let same = first.retry == second.retry
        && first.placing == second.placing
        && first.output.is_any()
        && second.after.is_empty();
    both && same
        && match (&first.work, &second.work) {
            (Work::Each(first), Work::Each(second)) => can_walk_together(first, second),
            (a, b) => chain(a).zip(chain(b)).is_some_and(|(a, b)| !looks_at_run(&a) && !looks_at_run(&b)),
        }
}

fn can_walk_together(first: &Each, second: &Each) -> bool {
    let (Body::Chain(a), Body::Chain(b)) = (&first.body, &second.body) else { return false };
    let whole = matches!(&second.items, Items::Expr(expr) if expr.is_input()) && second.input.is_none();
    let strict = first.failures == second.failures && first.failures == Default::default();
    whole && strict && first.combine.is_none() && !looks_at_run(a) && !looks_at_run(b)
}

/// A node as stages, if it is one step.
fn chain(work: &Work) -> Option<Vec<Stage>> {
    match work {
        Work::Chain(stages) => Some(stages.clone()),
        Work::Pass(expr) => Some(vec![Stage { gives: Gives::One, does: Does::Expr(expr.clone()) }]),
        _ => None,
    }
}

fn looks_at_run(stages: &[Stage]) -> bool {
    stages.iter().any(|stage| match &stage.does {
        Does::Function { input, .. } => input.reads_context(),
        Does::Expr(expr) => expr.reads_context(),
        Does::Lines => false,
    })
}

fn fuse(graph: &mut Graph, first: usize, second: usize) {
    let before = graph.nodes[first].clone();
    let after = &mut graph.nodes[second];
    after.work = match (before.work, &after.work) {
        (Work::Each(mut walk), Work::Each(then)) => {
            if let (Body::Chain(stages), Body::Chain(more)) = (&mut walk.body, &then.body) {
                stages.extend(more.iter().cloned());
            }
            walk.window = walk.window.min(then.window);
            Work::Each(walk)
        }
        (a, b) => Work::Chain([chain(&a), chain(b)].into_iter().flatten().flatten().collect()),
    };
    after.stands_for = [before.stands_for, std::mem::take(&mut after.stands_for)].concat();
    after.inputs = before.inputs;
    after.after = before.after;
    graph.remove(first, Port::Input);
}

/// Bodies that are graphs of one step become that step.
fn inline(node: &mut Node, plan: &Plan) {
    let replace = |body: &mut Body, gives: Gives| {
        if let Body::Graph(index) = body
            && let Some(stages) = one_step(&plan.graphs[*index], gives)
        {
            *body = Body::Chain(stages);
        }
    };
    match &mut node.work {
        Work::Each(each) => replace(&mut each.body, each.gives),
        Work::Reduce { body, .. } | Work::Iterate { body, .. } => replace(body, Gives::One),
        Work::Branch { cases, otherwise } => {
            cases.iter_mut().map(|(_, body)| body).chain(otherwise).for_each(|body| replace(body, Gives::One));
        }
        Work::Parallel(branches) => branches.iter_mut().for_each(|(_, body)| replace(body, Gives::One)),
        _ => {}
    }
}

fn one_step(graph: &Graph, gives: Gives) -> Option<Vec<Stage>> {
    let [node] = graph.nodes.as_slice() else { return None };
    let whole = node.inputs == Inputs::One(Port::Input) && graph.output == Some(Port::Node(0));
    let plain = node.is_pure
        && node.is_plain()
        && node.retry.is_empty()
        && node.output.is_any()
        && node.placing == Default::default();
    let mut stages = chain(&node.work).filter(|stages| whole && plain && !looks_at_run(stages))?;
    match (gives, stages.as_mut_slice()) {
        (Gives::One, _) => Some(stages),
        // Of several stages, the last would decide over what the one before it gave, and not over the item.
        (_, [only]) => {
            only.gives = gives;
            Some(stages)
        }
        (Gives::Flat, [.., last]) => {
            last.gives = gives;
            Some(stages)
        }
        _ => None,
    }
}
