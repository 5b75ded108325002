//! From what was written to the artefact: names, edges, and paths from where a value is used to where it comes from.
//!
//! A step's input is one value, or a record of several by the names of their nodes. A body that uses values from around it gets them through its node.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    panic::Location,
};

use serde_json::{Map, Value, json};

use crate::{
    expr::{Marked, Ref, marked, segment},
    flow::{Around, Body, Book, Graph, Node, Output, Part},
    mistake::{Mistake, Mistakes},
};

pub(crate) fn render(book: &Book) -> Result<Value, Mistakes> {
    let writer = Writer {
        book,
        names: book.graphs.iter().map(names).collect(),
        captured: captured(book),
        nodes: RefCell::default(),
        mistakes: RefCell::new(book.mistakes.clone()),
    };
    writer.unique();
    let mut artefact: Map<String, Value> =
        book.fields.iter().map(|(name, v)| ((*name).to_owned(), v.clone())).collect();
    artefact.insert("graph".into(), writer.graph(0));
    let mut mistakes = writer.mistakes.into_inner();
    if mistakes.is_empty() {
        return Ok(Value::Object(artefact));
    }
    mistakes.sort();
    mistakes.dedup();
    Err(Mistakes(mistakes))
}

struct Writer<'a> {
    book: &'a Book,
    /// Of the nodes of each graph.
    names: Vec<Vec<String>>,
    /// What each graph uses from around it.
    captured: Vec<BTreeSet<Ref>>,
    /// The node of each graph that is being written, and its sources.
    nodes: RefCell<BTreeMap<usize, BTreeSet<Source>>>,
    mistakes: RefCell<Vec<Mistake>>,
}

/// Where a node takes a value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Input,
    Node(usize),
}

/// Names that were given stay; the others are numbered where they would meet.
fn names(graph: &Graph) -> Vec<String> {
    let mut taken: BTreeSet<String> = graph.nodes.iter().filter_map(|node| node.name.clone()).collect();
    taken.insert("input".into());
    let mut name = |node: &Node| {
        node.name.clone().unwrap_or_else(|| {
            let base = node.base.clone();
            let mut names = std::iter::once(base.clone()).chain((2..).map(|n: u32| format!("{base}-{n}")));
            let free = names.find(|name| !taken.contains(name)).unwrap_or(base);
            taken.insert(free.clone());
            free
        })
    };
    graph.nodes.iter().map(&mut name).collect()
}

/// What each graph uses from around it. Bodies have larger numbers than what is around them.
fn captured(book: &Book) -> Vec<BTreeSet<Ref>> {
    let mut all = vec![BTreeSet::new(); book.graphs.len()];
    for index in (0..book.graphs.len()).rev() {
        let graph = &book.graphs[index];
        let mut found = BTreeSet::new();
        for node in &graph.nodes {
            found.extend(refs_of(node, &all));
        }
        if let Output::Expr(value) = &graph.output {
            refs(value, &mut found);
        }
        all[index] = found.iter().filter(|at| at.graph != index).map(Ref::whole).collect();
    }
    all
}

fn refs_of(node: &Node, captured: &[BTreeSet<Ref>]) -> BTreeSet<Ref> {
    let mut found = BTreeSet::new();
    part_refs(&node.work, captured, &mut found);
    node.more.values().for_each(|part| part_refs(part, captured, &mut found));
    node.uses.iter().for_each(|value| refs(value, &mut found));
    found
}

fn part_refs(part: &Part, captured: &[BTreeSet<Ref>], found: &mut BTreeSet<Ref>) {
    match part {
        Part::Plain(_) => {}
        Part::Expr(value) | Part::Input(value) | Part::Body(Body::Function(_, Some(value))) => refs(value, found),
        Part::Body(Body::Function(_, None)) => {}
        Part::Body(Body::Graph(graph)) | Part::Of(graph) => found.extend(captured[*graph].iter().cloned()),
        Part::Record(fields) => fields.values().for_each(|part| part_refs(part, captured, found)),
        Part::List(parts) => parts.iter().for_each(|part| part_refs(part, captured, found)),
    }
}

fn refs(value: &Value, found: &mut BTreeSet<Ref>) {
    match (marked(value), value) {
        (Some(Marked::Ref(at)), _) => {
            found.insert(at);
        }
        (Some(Marked::Apply(_, arguments)), _) => arguments.iter().for_each(|argument| refs(argument, found)),
        (Some(_), _) => {}
        (None, Value::Array(items)) => items.iter().for_each(|item| refs(item, found)),
        (None, Value::Object(fields)) => fields.values().for_each(|field| refs(field, found)),
        (None, _) => {}
    }
}

impl Writer<'_> {
    fn mistake(&self, at: &Location<'_>, what: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake::at(at, what));
    }

    fn unique(&self) {
        for (graph, names) in self.book.graphs.iter().zip(&self.names) {
            let mut seen = BTreeSet::new();
            for (node, name) in graph.nodes.iter().zip(names) {
                if !seen.insert(name) {
                    self.mistake(
                        node.at,
                        format!("there are two steps of the name `{name}`: give one another with `named`"),
                    );
                }
                let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if !is_plain || name.is_empty() || name.len() > 64 || name == "input" {
                    let what = format!(
                        "`{name}` is no name of a step: take 1 to 64 of a-z, A-Z, 0-9, `_` and `-`, and not `input`"
                    );
                    self.mistake(node.at, what);
                }
            }
        }
    }

    fn graph(&self, index: usize) -> Value {
        let graph = &self.book.graphs[index];
        let mut written = Map::new();
        if let Some(schema) = &graph.schema {
            let handed = self.handed(index);
            let schema = if handed.is_empty() {
                schema.0.clone()
            } else {
                let mut fields: Map<String, Value> = handed.into_values().map(|name| (name, "any".into())).collect();
                fields.insert("item".into(), schema.0.clone());
                json!({ "record": fields })
            };
            written.insert("input".into(), schema);
        }
        let mut nodes = Map::new();
        for (node, name) in self.names[index].iter().enumerate() {
            nodes.insert(name.clone(), self.node(index, node));
        }
        written.insert("nodes".into(), Value::Object(nodes));
        match &graph.output {
            Output::Nothing | Output::Expr(_) => None,
            Output::Input => written.insert("output".into(), "input".into()),
            Output::Node(node) => written.insert("output".into(), self.names[index][*node].clone().into()),
        };
        Value::Object(written)
    }

    fn node(&self, graph: usize, index: usize) -> Value {
        let node = &self.book.graphs[graph].nodes[index];
        let source = |at: &Ref| match at.node {
            Some(node) if at.graph == graph => Source::Node(node),
            _ => Source::Input,
        };
        let sources: BTreeSet<Source> = refs_of(node, &self.captured).iter().map(source).collect();
        self.nodes.borrow_mut().insert(graph, sources.clone());
        let mut written =
            Map::from_iter([("do".to_owned(), json!({ (node.op): self.part(graph, node.at, &node.work) }))]);
        let name = |source: &Source| Value::from(self.source(graph, *source));
        match sources.len() {
            0 => None,
            1 => written.insert("in".into(), sources.iter().map(name).next().unwrap_or_default()),
            _ => {
                let named = sources.iter().map(|source| (self.source(graph, *source).to_owned(), name(source)));
                written.insert("in".into(), Value::Object(named.collect()))
            }
        };
        let after: BTreeSet<String> = node.after.iter().filter_map(|after| self.after(graph, node, after)).collect();
        if !after.is_empty() {
            written.insert("after".into(), json!(after));
        }
        for (field, part) in &node.more {
            written.insert((*field).to_owned(), self.part(graph, node.at, part));
        }
        Value::Object(written)
    }

    fn after(&self, graph: usize, node: &Node, after: &Value) -> Option<String> {
        match marked(after) {
            Some(Marked::Ref(Ref { flow, graph: of, node: Some(of_node), .. }))
                if flow == self.book.id && of == graph =>
            {
                Some(self.names[graph][of_node].clone())
            }
            Some(Marked::Wrong(what, at)) => {
                self.mistakes.borrow_mut().push(Mistake { at, what });
                None
            }
            _ => {
                self.mistake(node.at, "`after` takes a step of the same graph");
                None
            }
        }
    }

    fn source(&self, graph: usize, source: Source) -> &str {
        match source {
            Source::Input => "input",
            // One that is not there is of another flow, which is told where it is used.
            Source::Node(node) => self.names[graph].get(node).map_or("", String::as_str),
        }
    }

    fn part(&self, graph: usize, at: &Location<'_>, part: &Part) -> Value {
        match part {
            Part::Plain(value) => value.clone(),
            Part::Expr(value) | Part::Input(value) => self.in_node(graph, at, value),
            Part::List(parts) => parts.iter().map(|part| self.part(graph, at, part)).collect(),
            Part::Record(fields) => self.record(graph, at, fields),
            Part::Body(Body::Function(name, None)) => json!({ "function": name }),
            Part::Body(Body::Function(name, Some(on))) => match self.in_node(graph, at, on) {
                Value::String(all) if all == "$" => json!({ "function": name }),
                given => {
                    let call = json!({ "do": { "call": { "function": name, "input": given } }, "in": "input" });
                    json!({ "graph": { "nodes": { "call": call }, "output": "call" } })
                }
            },
            Part::Body(Body::Graph(body)) => match &self.book.graphs[*body].output {
                Output::Expr(value) => json!({ "expr": self.in_graph(*body, at, value) }),
                Output::Nothing if self.book.graphs[*body].nodes.is_empty() => json!({ "expr": null }),
                _ => json!({ "graph": self.graph(*body) }),
            },
            Part::Of(body) => match &self.book.graphs[*body].output {
                Output::Expr(value) => self.in_graph(*body, at, value),
                _ => Value::Null,
            },
        }
    }

    fn record(&self, graph: usize, at: &Location<'_>, fields: &BTreeMap<String, Part>) -> Value {
        let mut written = Map::new();
        for (name, part) in fields {
            let value = self.part(graph, at, part);
            let is_all = value == "$" || (value.is_null() && self.nodes.borrow()[&graph].is_empty());
            if !(matches!(part, Part::Input(_)) && is_all) {
                written.insert(name.clone(), value);
            }
            if let Part::Body(Body::Graph(body)) = part {
                let handed = self.handed(*body);
                if !handed.is_empty() {
                    let path = |at: &Ref| self.resolve_in_node(graph, at).unwrap_or_default();
                    let mut input: Map<String, Value> =
                        handed.iter().map(|(at, name)| (name.clone(), format!("${}", path(at)).into())).collect();
                    input.insert("item".into(), "$$.item.value".into());
                    written.insert("input".into(), Value::Object(input));
                }
            }
        }
        Value::Object(written)
    }

    /// What is handed in to the body of something over items beside the item, and as what.
    fn handed(&self, body: usize) -> BTreeMap<Ref, String> {
        let mut names = BTreeMap::new();
        if self.book.graphs[body].around != Around::Item {
            return names;
        }
        let mut taken = BTreeSet::from(["item".to_owned()]);
        for at in &self.captured[body] {
            let base = at.node.and_then(|node| self.names.get(at.graph)?.get(node)).map_or("input", String::as_str);
            let mut free = std::iter::once(base.to_owned()).chain((2..).map(|n: u32| format!("{base}_{n}")));
            let name = free.find(|name| !taken.contains(name)).unwrap_or_default();
            taken.insert(name.clone());
            names.insert(at.clone(), name);
        }
        names
    }

    /// Where a value is in the input of the node of this graph that is being written.
    fn resolve_in_node(&self, graph: usize, at: &Ref) -> Result<String, String> {
        let (source, path) = match at.node {
            Some(node) if at.graph == graph => (Source::Node(node), at.path.clone()),
            _ => (Source::Input, self.resolve(graph, at)?),
        };
        let is_one = self.nodes.borrow().get(&graph).is_some_and(|sources| sources.len() == 1);
        Ok(if is_one { path } else { segment(self.source(graph, source)) + &path })
    }

    /// Where a value is in the input of this graph.
    fn resolve(&self, graph: usize, at: &Ref) -> Result<String, String> {
        let here = &self.book.graphs[graph];
        if at.graph == graph {
            if let Some(what) = here.schema.as_ref().and_then(|schema| schema.refuses(&at.path)) {
                return Err(what);
            }
            let is_beside_others = !self.handed(graph).is_empty();
            return Ok(if is_beside_others { format!(".item{}", at.path) } else { at.path.clone() });
        }
        let Some(parent) = here.parent else {
            return Err("this value belongs to another body and cannot be used here".into());
        };
        match here.around {
            Around::Item => {
                let name = self.handed(graph).remove(&at.whole()).unwrap_or_default();
                // Whether it can be had there is found out where the node is written.
                self.resolve_in_node(parent, at)?;
                Ok(segment(&name) + &at.path)
            }
            Around::Node(prefix) => Ok(format!("{prefix}{}", self.resolve_in_node(parent, at)?)),
            Around::Closed(remedy) => Err(format!("this body does not see values from around it: {remedy}")),
        }
    }

    fn in_node(&self, graph: usize, at: &Location<'_>, value: &Value) -> Value {
        self.template(at, value, &|at| self.resolve_in_node(graph, at))
    }

    fn in_graph(&self, graph: usize, at: &Location<'_>, value: &Value) -> Value {
        self.template(at, value, &|at| self.resolve(graph, at))
    }

    fn template(&self, at: &Location<'_>, value: &Value, path: &dyn Fn(&Ref) -> Result<String, String>) -> Value {
        match (marked(value), value) {
            (Some(Marked::Ref(of)), _) if of.flow != self.book.id => {
                self.mistake(at, "this value belongs to another flow and cannot be used here");
                Value::Null
            }
            (Some(Marked::Ref(of)), _) => match path(&of) {
                Ok(path) => format!("${path}").into(),
                Err(what) => {
                    self.mistake(at, what);
                    Value::Null
                }
            },
            (Some(Marked::Context(path)), _) => format!("$${path}").into(),
            (Some(Marked::Apply(name, arguments)), _) => {
                let arguments: Value = arguments.iter().map(|argument| self.template(at, argument, path)).collect();
                json!({ (format!("${name}")): arguments })
            }
            (Some(Marked::Literal(value)), _) => quoted(&value),
            (Some(Marked::Wrong(what, at)), _) => {
                self.mistakes.borrow_mut().push(Mistake { at, what });
                Value::Null
            }
            (None, Value::Array(items)) => items.iter().map(|item| self.template(at, item, path)).collect(),
            (None, Value::Object(fields)) if fields.keys().any(|name| is_reserved(name)) => {
                let mut inside = BTreeSet::new();
                refs(value, &mut inside);
                if !inside.is_empty() {
                    self.mistake(at, "a record with values of the flow in it has no field that begins with `$`: use a function of `functions`");
                }
                quoted(value)
            }
            (None, Value::Object(fields)) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.template(at, value, path)))
                .collect::<Map<_, _>>()
                .into(),
            (None, plain) => quoted(plain),
        }
    }
}

/// Whether a field's name means something in a template. Bytes and references are values.
fn is_reserved(name: &str) -> bool {
    name.starts_with('$') && name != "$bytes" && name != "$object"
}

/// Data as a template that means it.
fn quoted(data: &Value) -> Value {
    if is_plain(data) { data.clone() } else { json!({ "$literal": data }) }
}

fn is_plain(data: &Value) -> bool {
    match data {
        Value::String(text) => !text.starts_with('$'),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields.iter().all(|(name, value)| !is_reserved(name) && is_plain(value)),
        _ => true,
    }
}
