//! From JSON to a draft. Reading stops at its first mistake, so when there is one, nodes are read one by one, each without the graphs inside of it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};

use super::{Problem, Problems, nearest};
use crate::{
    ir::{Draft, Graph, Node},
    limits::{FLOW_BYTES_MAX, JSON_DEPTH_MAX, PROBLEMS_MAX},
    name::NodeName,
    value::is_deeper_than,
};

pub(super) fn read(text: &[u8]) -> Result<Draft, Problems> {
    let whole = |what: String, remedy: &str| Problems(vec![Problem { at: String::new(), what, remedy: remedy.into() }]);
    if text.len() > FLOW_BYTES_MAX {
        return Err(whole(
            format!("{} bytes are too many", text.len()),
            "a flow has at most 2 MiB; put a part into a subflow",
        ));
    }
    let value: Value =
        serde_json::from_slice(text).map_err(|e| whole(format!("this is no JSON: {e}"), "correct it at that line"))?;
    if is_deeper_than(&value, JSON_DEPTH_MAX) {
        return Err(whole("it is nested too deep".into(), "put a part into a subflow"));
    }
    let Err(first) = decode::<Draft>("", &value) else {
        return serde_json::from_value(value).map_err(|e| whole(e.to_string(), "correct it"));
    };
    let mut problems = Vec::new();
    let mut outer = value;
    if let Some(graph) = outer.get_mut("graph") {
        read_graph("/graph", graph, &mut problems);
        *graph = json!({ "nodes": {} });
    }
    problems.extend(decode::<Draft>("", &outer).err());
    if problems.is_empty() {
        problems.push(first);
    }
    problems.truncate(PROBLEMS_MAX);
    Err(Problems(problems))
}

fn read_graph(at: &str, graph: &mut Value, problems: &mut Vec<Problem>) {
    if let Some(Value::Object(nodes)) = graph.get_mut("nodes") {
        for (name, node) in std::mem::take(nodes) {
            let at = format!("{at}/nodes/{}", escaped(&name));
            if let Err(e) = NodeName::new(&name) {
                problems.push(Problem { at: at.clone(), what: e.to_string(), remedy: "rename it".into() });
            }
            read_node(&at, node, problems);
        }
    }
    problems.extend(decode::<Graph>(at, graph).err());
}

fn read_node(at: &str, mut node: Value, problems: &mut Vec<Problem>) {
    for pointer in bodies(&node) {
        if let Some(graph) = node.pointer_mut(&format!("{pointer}/graph")).filter(|graph| graph.is_object()) {
            read_graph(&format!("{at}{pointer}/graph"), graph, problems);
            *graph = json!({ "nodes": {} });
        }
    }
    problems.extend(decode::<Node>(at, &node).err());
}

/// Where a node has bodies.
fn bodies(node: &Value) -> Vec<String> {
    let mut found = vec!["/compensate".to_owned()];
    for (index, _) in list(node.get("catch")).iter().enumerate() {
        found.push(format!("/catch/{index}/body"));
    }
    let empty = Map::new();
    for (op, fields) in node.get("do").and_then(Value::as_object).unwrap_or(&empty) {
        let at = format!("/do/{}", escaped(op));
        found.extend([format!("{at}/body"), format!("{at}/otherwise")]);
        found.extend((0..list(fields.get("cases")).len()).map(|index| format!("{at}/cases/{index}/body")));
        let branches = fields.get("branches").and_then(Value::as_object).unwrap_or(&empty);
        found.extend(branches.keys().map(|name| format!("{at}/branches/{}", escaped(name))));
    }
    found
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn decode<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let what = e.inner().to_string();
        Problem { at: format!("{at}{}", pointer(e.path())), remedy: remedy(&what), what }
    })
}

/// What serde says of an unknown name is the name and then all that it knows, in backquotes.
fn remedy(what: &str) -> String {
    let names: Vec<&str> = what.split('`').skip(1).step_by(2).collect();
    match names.as_slice() {
        [name, known @ ..] if what.starts_with("unknown") => match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "remove it, or see docs/flows.md for what there is".into(),
        },
        _ => "see docs/flows.md for its form".into(),
    }
}

fn pointer(path: &Path) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escaped(key)),
        Segment::Enum { variant } => format!("/{}", escaped(variant)),
        Segment::Unknown => String::new(),
    };
    path.iter().map(part).collect()
}

pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
