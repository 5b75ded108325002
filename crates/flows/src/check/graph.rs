//! A graph: its edges, its order, its nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Facts, Found, read::escaped};
use crate::{
    check::nearest,
    ir::{Graph, In, Node},
    limits::{GRAPH_DEPTH_MAX, NAME_LEN_MAX},
    name::NodeName,
    schema::Schema,
};

impl Checker<'_> {
    /// Checks a graph that gets `given`, as far as that is known.
    pub(super) fn graph(&mut self, at: &str, graph: &Graph, given: Option<&Schema>, depth: usize) -> Found {
        self.nodes += graph.nodes.len();
        if depth > GRAPH_DEPTH_MAX {
            let what = format!("graphs are nested deeper than {GRAPH_DEPTH_MAX} levels");
            self.problem(at, what, "put a part into a subflow");
            return Found::default();
        }
        if let Some(Err(e)) = given.map(|given| graph.input.accepts(given)) {
            self.problem(
                &format!("{at}/input"),
                format!("its input does not fit: {e}"),
                "build what it needs with `input`, or correct the schema",
            );
        }
        let input = match given {
            Some(given) if graph.input.is_any() => given.clone(),
            _ => graph.input.clone(),
        };
        self.edges(at, graph);
        let (order, cycle) = order(graph);
        if !cycle.is_empty() {
            let names = cycle.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" -> ");
            let first = format!("{at}/nodes/{}", cycle[0]);
            self.problem(
                &first,
                format!("there is a cycle: {names} -> {}", cycle[0]),
                "break it, or make it the body of an `iterate`",
            );
        }
        let mut types = BTreeMap::from([(NodeName::input(), input)]);
        let mut all = Found::default();
        let rest = graph.nodes.keys().filter(|name| !order.contains(name)).cloned().collect::<Vec<_>>();
        for name in order.iter().chain(&rest) {
            let Some(node) = graph.nodes.get(name) else { continue };
            let found = self.node(&format!("{at}/nodes/{}", escaped(name.as_str())), node, &types, depth);
            all.effects.extend(found.effects);
            types.insert(name.clone(), found.output);
        }
        all.output = match &graph.output {
            Some(from) => types.remove(from).unwrap_or_default(),
            None => Schema::Null,
        };
        all
    }

    fn edges(&mut self, at: &str, graph: &Graph) {
        if graph.nodes.contains_key(NodeName::INPUT) {
            self.problem(&format!("{at}/nodes/input"), "`input` stands for the graph's input", "rename the node");
        }
        if let Some(from) = &graph.output {
            self.edge(&format!("{at}/output"), from, graph);
        }
        for (name, node) in &graph.nodes {
            let at = format!("{at}/nodes/{}", escaped(name.as_str()));
            for (edge, from) in node.input.edges() {
                let at = edge.map_or_else(|| format!("{at}/in"), |edge| format!("{at}/in/{}", escaped(edge)));
                if edge.is_some_and(|edge| edge.is_empty() || edge.len() > NAME_LEN_MAX) {
                    self.problem(&at, "this is no name of an input", format!("take 1 to {NAME_LEN_MAX} bytes"));
                }
                self.edge(&at, from, graph);
            }
            for from in &node.after {
                self.edge(&format!("{at}/after"), from, graph);
            }
        }
    }

    fn edge(&mut self, at: &str, from: &NodeName, graph: &Graph) {
        if from.is_input() || graph.nodes.contains_key(from) {
            return;
        }
        let near = nearest(from.as_str(), graph.nodes.keys().map(NodeName::as_str));
        let remedy = near
            .map_or_else(|| "name a node of this graph, or `input`".into(), |near| format!("did you mean `{near}`?"));
        self.problem(at, format!("there is no node `{from}` in this graph"), remedy);
    }

    fn node(&mut self, at: &str, node: &Node, types: &BTreeMap<NodeName, Schema>, depth: usize) -> Found {
        let of = |from: &NodeName| types.get(from).cloned().unwrap_or_default();
        let input = match &node.input {
            In::None => Schema::Null,
            In::One(from) => of(from),
            In::Many(from) => Schema::Record(from.iter().map(|(name, from)| (name.clone(), of(from))).collect()),
        };
        let mut found = self.op(&format!("{at}/do"), &node.op, &input, depth);
        if let Err(e) = node.output.accepts(&found.output) {
            self.problem(
                &format!("{at}/output"),
                format!("its value does not fit: {e}"),
                "correct the schema, or what gives the value",
            );
        }
        if !node.output.is_any() {
            found.output = node.output.clone();
        }
        let more = self.policies(at, node, &input, &found.output, depth);
        found.effects.extend(more.effects);
        if !node.catch.is_empty() {
            found.output = Schema::union([found.output, more.output]).unwrap_or_default();
        }
        if let Some(declared) = &node.effects {
            let undeclared = found.effects.difference(declared).map(|e| format!("{e:?}")).collect::<Vec<_>>();
            if !undeclared.is_empty() {
                let what = format!("it may do more than it declares: {}", undeclared.join(", "));
                self.problem(
                    &format!("{at}/effects"),
                    what,
                    "declare these as well, or call a function that has no such capability",
                );
            }
        }
        let facts = Facts { input, output: found.output.clone(), effects: found.effects.clone() };
        self.facts.insert(at.to_owned(), facts);
        found
    }
}

/// The nodes so that each comes behind those it needs, and a cycle, if there is one.
pub(crate) fn order(graph: &Graph) -> (Vec<NodeName>, Vec<NodeName>) {
    let needs = |node: &Node| -> BTreeSet<NodeName> {
        let edges = node.input.edges().map(|(_, from)| from).chain(&node.after);
        edges.filter(|from| graph.nodes.contains_key(*from)).cloned().collect()
    };
    let mut missing: BTreeMap<&NodeName, BTreeSet<NodeName>> =
        graph.nodes.iter().map(|(name, node)| (name, needs(node))).collect();
    let mut readers: BTreeMap<NodeName, Vec<&NodeName>> = BTreeMap::new();
    for (name, needed) in &missing {
        for from in needed {
            readers.entry(from.clone()).or_default().push(name);
        }
    }
    let mut order = Vec::new();
    let mut ready: BTreeSet<&NodeName> =
        missing.iter().filter(|(_, needed)| needed.is_empty()).map(|(name, _)| *name).collect();
    while let Some(name) = ready.pop_first() {
        missing.remove(name);
        order.push(name.clone());
        for reader in readers.get(name).into_iter().flatten() {
            if let Some(needed) = missing.get_mut(*reader) {
                needed.remove(name);
                if needed.is_empty() {
                    ready.insert(reader);
                }
            }
        }
    }
    // Each node that is left needs another that is left, so walking from need to need comes around.
    let mut way: Vec<NodeName> = Vec::new();
    let mut here = missing.keys().next().map(|name| (*name).clone());
    while let Some(name) = here {
        if let Some(start) = way.iter().position(|seen| *seen == name) {
            way.drain(..start);
            way.reverse();
            return (order, way);
        }
        here = missing.get(&name).and_then(|needed| needed.first()).cloned();
        way.push(name);
    }
    (order, Vec::new())
}
