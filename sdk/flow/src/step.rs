//! A step, and what may be said of it.

use std::{cell::RefCell, marker::PhantomData, ops::Deref, panic::Location, rc::Rc, time::Duration};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    body::{IntoBody, Place},
    expr::Expr,
    flow::{Around, Body, Book, Flow, Node, Part},
    policy::{Retry, Slo, millis},
    schema::Schema,
};

/// Any step.
#[derive(Clone, Copy, Debug)]
pub struct Plain;
/// `map`, `flat_map`, `filter` and `key_by`.
#[derive(Clone, Copy, Debug)]
pub struct Over;
/// `reduce`.
#[derive(Clone, Copy, Debug)]
pub struct Fold;
/// `iterate`.
#[derive(Clone, Copy, Debug)]
pub struct Loop;
/// `branch`.
#[derive(Clone, Copy, Debug)]
pub struct Ways;
/// `parallel`.
#[derive(Clone, Copy, Debug)]
pub struct Several;

/// A step of a flow. It is also the value that it gives: an [`Expr`].
#[derive(Clone, Debug)]
pub struct Step<K = Plain> {
    flow: Flow,
    graph: usize,
    node: usize,
    value: Expr,
    /// What its bodies work on.
    pub(crate) on: Value,
    kind: PhantomData<K>,
}

impl<K> Deref for Step<K> {
    type Target = Expr;
    fn deref(&self) -> &Expr {
        &self.value
    }
}

impl<K> Serialize for Step<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<K> Step<K> {
    pub(crate) fn new(flow: &Flow, node: Node, on: Value) -> Self {
        let mut book = flow.book.borrow_mut();
        let (graph, node) = book.push(node);
        let value = Expr::node(book.id, graph, node);
        Self { flow: flow.clone(), graph, node, value, on, kind: PhantomData }
    }

    pub(crate) fn change(self, change: impl FnOnce(&mut Node)) -> Self {
        let book: &Rc<RefCell<Book>> = &self.flow.book;
        change(&mut book.borrow_mut().graphs[self.graph].nodes[self.node]);
        self
    }

    fn more(self, name: &'static str, part: Part) -> Self {
        self.change(|node| {
            node.more.insert(name, part);
        })
    }

    /// Adds to a list that is a field of the node.
    fn also(self, name: &'static str, part: Part) -> Self {
        self.change(|node| match node.more.entry(name).or_insert_with(|| Part::List(Vec::new())) {
            Part::List(parts) => parts.push(part),
            _ => unreachable!("it was made a list"),
        })
    }

    fn body<M>(
        &self,
        body: impl IntoBody<M>,
        around: Around,
        on: Option<Value>,
        at: &'static Location<'static>,
    ) -> Body {
        body.write(&self.flow, Place { around, on }, at).0
    }

    /// What it is called. Otherwise: like its function, or else its operator, with a number if there are several.
    pub fn named(self, name: &str) -> Self {
        self.change(|node| node.name = Some(name.to_owned()))
    }

    /// It begins when this step is done, and takes no value from it.
    #[track_caller]
    pub fn after(self, step: impl Serialize) -> Self {
        let step = Expr::of(&step).value().clone();
        self.change(|node| node.after.push(step))
    }

    /// What it is for, for people.
    pub fn title(self, title: &str) -> Self {
        self.more("title", Part::Plain(title.into()))
    }

    /// What its value looks like. It is held to that.
    pub fn gives(self, schema: Schema) -> Self {
        self.more("output", Part::Plain(schema.0))
    }

    /// All that it may do: `observe`, `read_objects`, `write_objects`, `message`, `network`. None: it is pure.
    pub fn effects<const N: usize>(self, effects: [&str; N]) -> Self {
        self.more("effects", Part::Plain(json!(effects.as_slice())))
    }

    /// When it is tried again. Of several the first that fits counts.
    pub fn retry(self, retry: Retry) -> Self {
        self.also("retry", Part::Plain(json!(retry)))
    }

    /// How long one attempt may take; over items, all of them.
    pub fn timeout(self, time: Duration) -> Self {
        self.more("timeout_ms", Part::Plain(millis(time).into()))
    }

    /// What happens instead once it has failed with one of these errors (`*`: any). The body gets `error`, `message` and `input`, and gives the value instead. Of several the first that
    /// fits counts.
    #[track_caller]
    pub fn catch<const N: usize, M>(self, errors: [&str; N], body: impl IntoBody<M>) -> Self {
        let body = self.body(body, Around::Node(".input"), None, Location::caller());
        let errors = Part::Plain(json!(errors.as_slice()));
        self.also("catch", Part::record([("errors", errors), ("body", Part::Body(body))]))
    }

    /// What undoes it if what is around it fails later. The body gets `input` and `result`.
    #[track_caller]
    pub fn compensate<M>(self, body: impl IntoBody<M>) -> Self {
        let body = self.body(body, Around::Node(".input"), None, Location::caller());
        self.more("compensate", Part::Body(body))
    }

    /// What it should be close to: `object:BUCKET/KEY` or `agent:TYPE/KEY`.
    #[track_caller]
    pub fn close_to(self, what: impl Serialize) -> Self {
        let what = Expr::of(&what).value().clone();
        self.more("affinity", Part::Expr(what))
    }

    /// The class of hardware that it needs, such as `gpu`.
    pub fn hardware(self, class: &str) -> Self {
        self.more("hardware", Part::Plain(class.into()))
    }

    /// What it promises.
    pub fn slo(self, slo: Slo) -> Self {
        self.more("slo", Part::Plain(json!(slo)))
    }

    fn option(self, name: &str, part: Part) -> Self {
        self.change(|node| {
            node.work.fields().insert(name.to_owned(), part);
        })
    }
}

impl Step<Over> {
    /// What the body gets for an item, built from `context("item")` (`index` and `value`) and values from around. Otherwise: the item, and what the body uses.
    #[track_caller]
    pub fn input(self, input: impl Serialize) -> Self {
        let input = Expr::of(&input).value().clone();
        let mut book = self.flow.book.borrow_mut();
        if let Some(Part::Body(Body::Graph(body))) = book.graphs[self.graph].nodes[self.node].work.fields().get("body")
        {
            let body = *body;
            book.graphs[body].around = Around::Closed("put it into `input`");
        }
        drop(book);
        self.option("input", Part::Expr(input))
    }

    /// How many items are in flight at most.
    pub fn window(self, window: u32) -> Self {
        self.option("window", Part::Plain(window.into()))
    }

    /// So many items may fail; they are left out.
    pub fn failures_max(self, count: u64) -> Self {
        self.failures("count_max", count.into())
    }

    /// So many of a hundred items may fail; they are left out.
    pub fn failures_percent_max(self, percent: f64) -> Self {
        self.failures("percent_max", percent.into())
    }

    fn failures(self, name: &str, limit: Value) -> Self {
        self.change(|node| {
            let failures = node.work.fields().entry("failures".to_owned()).or_insert(Part::Plain(Value::Null));
            failures.fields().insert(name.to_owned(), Part::Plain(limit));
        })
    }
}

impl Step<Fold> {
    /// Items are `{"key", "value"}`, and values are folded for each key.
    pub fn by_key(self) -> Self {
        self.option("by_key", Part::Plain(true.into()))
    }

    /// A fold of folds of neighbours is the fold of all, so it may be done in groups and early.
    pub fn associative(self) -> Self {
        self.option("associative", Part::Plain(true.into()))
    }

    /// How many groups are in flight at most.
    pub fn window(self, window: u32) -> Self {
        self.option("window", Part::Plain(window.into()))
    }
}

impl Step<Loop> {
    /// Whether that was the last round. The closure gets the new state; `context("previous")` is the one before, `context("round")` counts from 1. Without it: when
    /// the state no longer changes.
    #[track_caller]
    pub fn until<R: Serialize>(self, until: impl FnOnce(Expr) -> R) -> Self {
        let until = self.flow.lambda(Around::Closed("put it into the state"), until, Location::caller());
        self.option("until", Part::Of(until))
    }

    /// After the last round that it may have, it gives the last state. Otherwise it fails with `iterate_bound`.
    pub fn finish_at_bound(self) -> Self {
        self.option("at_bound", Part::Plain("finish".into()))
    }
}

impl Step<Ways> {
    /// One way: the first whose condition is true is taken. The closure gets what the branch works on.
    #[track_caller]
    pub fn case<M>(self, when: impl Serialize, body: impl IntoBody<M>) -> Self {
        let when = Part::Expr(Expr::of(&when).value().clone());
        let body = self.body(body, Around::Node(""), Some(self.on.clone()), Location::caller());
        let case = Part::record([("when", when), ("body", Part::Body(body))]);
        self.change(|node| match node.work.fields().entry("cases".to_owned()).or_insert(Part::List(Vec::new())) {
            Part::List(cases) => cases.push(case),
            _ => unreachable!("it was made a list"),
        })
    }

    /// The way if no condition is true. Without it the step fails with `no_case`.
    #[track_caller]
    pub fn otherwise<M>(self, body: impl IntoBody<M>) -> Self {
        let body = self.body(body, Around::Node(""), Some(self.on.clone()), Location::caller());
        self.option("otherwise", Part::Body(body))
    }
}

impl Step<Several> {
    /// One of the bodies. The closure gets what they all work on.
    #[track_caller]
    pub fn branch<M>(self, name: &str, body: impl IntoBody<M>) -> Self {
        let body = self.body(body, Around::Node(""), Some(self.on.clone()), Location::caller());
        self.change(|node| {
            let branches = node.work.fields().entry("branches".to_owned()).or_insert(Part::Plain(Value::Null));
            branches.fields().insert(name.to_owned(), Part::Body(body));
        })
    }
}
