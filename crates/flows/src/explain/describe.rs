//! A node in words.

use crate::{
    expr::Expr,
    ir::{self, Sink, Source, Wait},
    plan::{Body, Does, Each, Gives, Graph, Inputs, Items, Node, Port, Stage, Work},
};

fn shown(expr: &Expr) -> String {
    match expr.to_template() {
        serde_json::Value::String(text) => short(&text),
        other => short(&other.to_string()),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= 32 { text.to_owned() } else { text.chars().take(31).chain(['…']).collect() }
}

fn objects(objects: &ir::Objects) -> String {
    format!("{}/{}", shown(&objects.bucket), shown(&objects.prefix))
}

/// What a node does.
pub(super) fn does(node: &Node) -> String {
    match &node.work {
        Work::Source(Source::Value(expr)) => format!("source {}", shown(expr)),
        Work::Source(Source::Objects(from)) => format!("source objects {}", objects(from)),
        Work::Source(Source::Lines(from)) => format!("source lines {}", objects(from)),
        Work::Source(Source::Topic(topic)) => format!("source topic {}", shown(&topic.topic)),
        Work::Chain(stages) => format!("call {}", chain(stages)),
        Work::Each(each) => walk(each),
        Work::Reduce { by_key, body: of, .. } => format!("reduce {}{}", body(of), if *by_key { " by key" } else { "" }),
        Work::Join(join) => format!("join {} = {}", shown(&join.left.key), shown(&join.right.key)),
        Work::Iterate { body: of, rounds_max, .. } => format!("iterate {}, {rounds_max} rounds at most", body(of)),
        Work::Branch { cases, otherwise } => {
            let ways = cases.iter().map(|(_, of)| of).chain(otherwise).map(body).collect::<Vec<_>>();
            format!("branch {}", ways.join(" | "))
        }
        Work::Parallel(branches) => {
            format!("parallel {}", branches.iter().map(|(_, of)| body(of)).collect::<Vec<_>>().join(" & "))
        }
        Work::Ask(ask) => format!("ask {}/{} {}", ask.agent, shown(&ask.key), ask.method),
        Work::Tell(tell) => format!("tell {}/{} {}", tell.agent, shown(&tell.key), tell.method),
        Work::Wait(Wait::Event(event)) => format!("wait for event {}", shown(&event.name)),
        Work::Wait(Wait::Timer(_)) => "wait for a time".into(),
        Work::Wait(Wait::Approval(_)) => "wait for approval".into(),
        Work::Sink(Sink::Object(object)) => format!("sink object {}/{}", shown(&object.bucket), shown(&object.key)),
        Work::Sink(Sink::Topic(topic)) => format!("sink topic {}", shown(&topic.topic)),
        Work::Subflow(subflow) => format!("subflow {}", subflow.flow),
        Work::Pass(expr) => format!("pass {}", shown(expr)),
        Work::Fail(fail) => format!("fail {}", shown(&fail.error)),
        Work::Succeed(expr) => format!("succeed {}", shown(expr)),
    }
}

fn walk(each: &Each) -> String {
    let mut text = match &each.body {
        Body::Chain(stages) => chain(stages),
        Body::Graph(index) => format!("{} graph {index}", verb(each.gives)),
    };
    if let Items::Parts(from) = &each.items {
        text = format!("at parts of {}: {text}", objects(from));
    }
    if let Some(combine) = &each.combine {
        text += &format!(", combined by {}{}", chain(&combine.stages), if combine.by_key { " by key" } else { "" });
    }
    if each.batch > 1 {
        text += &format!(", {} at a time", each.batch);
    }
    text
}

fn verb(gives: Gives) -> &'static str {
    match gives {
        Gives::One => "map",
        Gives::Flat => "flat_map",
        Gives::Keep => "filter",
        Gives::Key => "key_by",
    }
}

fn chain(stages: &[Stage]) -> String {
    let stage = |stage: &Stage| {
        let what = match &stage.does {
            Does::Function { name, .. } => name.clone(),
            Does::Expr(expr) => shown(expr),
            Does::Lines => return "lines".to_owned(),
        };
        if stage.gives == Gives::One { what } else { format!("{} {what}", verb(stage.gives)) }
    };
    stages.iter().map(stage).collect::<Vec<_>>().join(" > ")
}

fn body(body: &Body) -> String {
    match body {
        Body::Chain(stages) => chain(stages),
        Body::Graph(index) => format!("graph {index}"),
    }
}

/// What else holds for it.
pub(super) fn notes(node: &Node) -> String {
    let mut notes = Vec::new();
    if is_memoised(node) {
        notes.push("memoised".to_owned());
    }
    if node.placing.near_data {
        notes.push("where the data is".to_owned());
    }
    notes.extend(node.placing.affinity.as_ref().map(|expr| format!("close to {}", shown(expr))));
    notes.extend(node.placing.hardware.as_ref().map(|class| format!("on {class}")));
    notes.extend(node.placing.prefers.as_ref().map(|class| format!("best on {class}")));
    notes.extend(node.placing.node.as_ref().map(|name| format!("at node {name}")));
    if !node.retry.is_empty() {
        notes.push("retried".to_owned());
    }
    if !node.catch.is_empty() {
        notes.push("caught".to_owned());
    }
    if node.compensate.is_some() {
        notes.push("compensated".to_owned());
    }
    notes.join(", ")
}

fn is_memoised(node: &Node) -> bool {
    let stages = match &node.work {
        Work::Chain(stages) => stages,
        Work::Each(Each { body: Body::Chain(stages), .. }) | Work::Reduce { body: Body::Chain(stages), .. } => stages,
        _ => return false,
    };
    stages.iter().any(|stage| matches!(stage.does, Does::Function { memo: true, .. }))
}

/// Whose values it takes, and for whom it waits.
pub(super) fn from(graph: &Graph, node: &Node) -> String {
    let names = |ports: &[Port]| ports.iter().map(|of| port(graph, *of)).collect::<Vec<_>>().join(", ");
    let mut text = match &node.inputs {
        Inputs::None => String::new(),
        inputs => format!("<- {}", names(&inputs.ports())),
    };
    if !node.after.is_empty() {
        text += &format!("{}after {}", if text.is_empty() { "" } else { ", " }, names(&node.after));
    }
    text
}

pub(super) fn port(graph: &Graph, port: Port) -> String {
    match port {
        Port::Input => "input".into(),
        Port::Node(at) => graph.nodes[at].name.to_string(),
    }
}
