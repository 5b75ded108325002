//! The flow that is being written: graphs in one list, the innermost that is open takes the next step.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::Write,
    panic::Location,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    expr::{Expr, Marked, marked},
    mistake::{Mistake, Mistakes},
    policy::{Slo, millis},
    render,
    schema::Schema,
};

/// A flow. Cheap to clone; all clones are the same flow.
#[derive(Clone, Debug)]
pub struct Flow {
    pub(crate) book: Rc<RefCell<Book>>,
}

/// All that was written so far.
#[derive(Debug)]
pub(crate) struct Book {
    /// Which of the flows of this process, so that a value of another one is told.
    pub(crate) id: u64,
    pub(crate) fields: BTreeMap<&'static str, Value>,
    /// The first is the flow's own. A body has a larger number than the graph around it.
    pub(crate) graphs: Vec<Graph>,
    pub(crate) open: Vec<usize>,
    pub(crate) mistakes: Vec<Mistake>,
}

/// A graph, or the body of a node.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) parent: Option<usize>,
    pub(crate) around: Around,
    pub(crate) schema: Option<Schema>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) output: Output,
}

/// How a body gets at values from around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Around {
    /// They are handed in beside the item.
    Item,
    /// They are in the input of the node, which is this part of the body's input.
    Node(&'static str),
    /// Not at all. What to do instead.
    Closed(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) enum Output {
    Nothing,
    Input,
    Node(usize),
    /// Of a body without nodes.
    Expr(Value),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Option<String>,
    /// What it is called if nobody says so.
    pub(crate) base: String,
    pub(crate) at: &'static Location<'static>,
    pub(crate) op: &'static str,
    pub(crate) work: Part,
    pub(crate) more: BTreeMap<&'static str, Part>,
    pub(crate) after: Vec<Value>,
    /// What it takes without naming it in an expression of its own.
    pub(crate) uses: Vec<Value>,
}

/// A piece of a node.
#[derive(Debug)]
pub(crate) enum Part {
    Plain(Value),
    Expr(Value),
    /// An expression that is left out if it is the whole input.
    Input(Value),
    Body(Body),
    /// An expression with an input of its own: a graph without nodes.
    Of(usize),
    Record(BTreeMap<String, Part>),
    List(Vec<Part>),
}

#[derive(Debug)]
pub(crate) enum Body {
    /// A function, and what it gets, if that is not all.
    Function(String, Option<Value>),
    Graph(usize),
}

impl Part {
    pub(crate) fn record<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Record(fields.into_iter().map(|(name, part)| (name.to_owned(), part)).collect())
    }

    /// The fields of a record: those of the operator, for what is said of it later.
    pub(crate) fn fields(&mut self) -> &mut BTreeMap<String, Self> {
        if !matches!(self, Self::Record(_)) {
            *self = Self::Record(BTreeMap::new());
        }
        match self {
            Self::Record(fields) => fields,
            _ => unreachable!("it was made a record"),
        }
    }
}

impl Graph {
    fn new(parent: Option<usize>, around: Around) -> Self {
        Self { parent, around, schema: None, nodes: Vec::new(), output: Output::Nothing }
    }
}

impl Flow {
    /// A flow of this name: letters, digits, `_` and `-`.
    pub fn new(name: &str) -> Self {
        static FLOWS: AtomicU64 = AtomicU64::new(0);
        let book = Book {
            id: FLOWS.fetch_add(1, Ordering::Relaxed),
            fields: BTreeMap::from([("version", json!(1)), ("name", json!(name))]),
            graphs: vec![Graph::new(None, Around::Node(""))],
            open: vec![0],
            mistakes: Vec::new(),
        };
        Self { book: Rc::new(RefCell::new(book)) }
    }

    fn field(self, name: &'static str, value: Value) -> Self {
        self.book.borrow_mut().fields.insert(name, value);
        self
    }

    /// What it is for, for people.
    pub fn title(self, title: &str) -> Self {
        self.field("title", title.into())
    }

    /// What is not done by then fails with `timeout`.
    pub fn timeout(self, time: Duration) -> Self {
        self.field("timeout_ms", millis(time).into())
    }

    /// What the whole run promises.
    pub fn slo(self, slo: Slo) -> Self {
        self.field("slo", json!(slo))
    }

    /// The input, and what it looks like. Within a body: that of the body.
    pub fn input(&self, schema: Schema) -> Expr {
        let mut book = self.book.borrow_mut();
        let graph = book.here();
        book.graphs[graph].schema = Some(schema);
        Expr::input_of(book.id, graph)
    }

    /// What the flow gives: a step, or anything that is built from what steps give.
    #[track_caller]
    pub fn output(&self, value: impl Serialize) {
        let value = Expr::of(&value);
        self.book.borrow_mut().close(value.value(), Location::caller());
    }

    /// The artefact, or all that is wrong.
    pub fn json(&self) -> Result<Value, Mistakes> {
        render::render(&self.book.borrow())
    }

    /// Prints the artefact, or, to standard error, all that is wrong; then the program ends with status 1.
    pub fn print(&self) {
        let written = match self.json() {
            Ok(artefact) => writeln!(std::io::stdout(), "{artefact:#}"),
            Err(mistakes) => {
                let _ = writeln!(std::io::stderr(), "{mistakes}");
                std::process::exit(1);
            }
        };
        if written.is_err() {
            // Nobody reads it.
            std::process::exit(1);
        }
    }

    /// An expression with an input of its own.
    pub(crate) fn lambda<R: Serialize>(
        &self,
        around: Around,
        lambda: impl FnOnce(Expr) -> R,
        at: &'static Location<'static>,
    ) -> usize {
        let graph = self.open(around);
        let result = Expr::made_at(at, &lambda(self.input_of(graph)));
        self.close(result.value(), at);
        let has_nodes = !self.book.borrow().graphs[graph].nodes.is_empty();
        if has_nodes {
            let what = "here stands an expression, and no step can be made";
            self.book.borrow_mut().mistakes.push(Mistake::at(at, what));
        }
        graph
    }

    /// The input of one of its graphs.
    pub(crate) fn input_of(&self, graph: usize) -> Expr {
        Expr::input_of(self.book.borrow().id, graph)
    }

    pub(crate) fn open(&self, around: Around) -> usize {
        let mut book = self.book.borrow_mut();
        let parent = book.here();
        book.graphs.push(Graph::new(Some(parent), around));
        let graph = book.graphs.len() - 1;
        book.open.push(graph);
        graph
    }

    pub(crate) fn close(&self, result: &Value, at: &'static Location<'static>) {
        let mut book = self.book.borrow_mut();
        book.close(result, at);
        book.open.pop();
    }
}

impl Book {
    /// The innermost graph that is open.
    pub(crate) fn here(&self) -> usize {
        self.open.last().copied().unwrap_or_default()
    }

    pub(crate) fn push(&mut self, node: Node) -> (usize, usize) {
        let graph = self.here();
        self.graphs[graph].nodes.push(node);
        (graph, self.graphs[graph].nodes.len() - 1)
    }

    /// Makes a value the output of the innermost graph.
    fn close(&mut self, result: &Value, at: &'static Location<'static>) {
        let graph = self.here();
        let (is_body, is_item) = (graph != 0, self.graphs[graph].around == Around::Item);
        let output = match marked(result) {
            None if result.is_null() => Output::Nothing,
            Some(Marked::Ref(from)) if from.is_all_of(self.id, graph) && from.node.is_some() => {
                from.node.map_or(Output::Nothing, Output::Node)
            }
            _ if is_body && self.graphs[graph].nodes.is_empty() => Output::Expr(result.clone()),
            Some(Marked::Ref(from)) if from.is_all_of(self.id, graph) && !is_item => Output::Input,
            _ => {
                let work = Part::record([("value", Part::Input(result.clone()))]);
                let (_, node) = self.push(Node::new("output", "pass", work, at));
                Output::Node(node)
            }
        };
        self.graphs[graph].output = output;
    }
}

impl Node {
    pub(crate) fn new(base: &str, op: &'static str, work: Part, at: &'static Location<'static>) -> Self {
        let (more, after, uses) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { name: None, base: base.to_owned(), at, op, work, more, after, uses }
    }
}
