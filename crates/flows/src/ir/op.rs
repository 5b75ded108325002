//! What nodes do. One struct per operator; `docs/flows.md` has an example of each.

mod data;

use std::collections::BTreeMap;

pub use data::{
    Each, Filter, FlatMap, Join, JoinKind, KeyBy, Map, ObjectSink, Objects, Reduce, Side, Sink, Source, Topic,
    TopicSink,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Graph;
use crate::{expr::Expr, name::NodeName};

/// What a node does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Brings data in from outside: a collection of items.
    Source(Source),
    /// Calls a function once.
    Call(Call),
    /// Every item becomes one.
    Map(Map),
    /// Every item becomes the items of a list.
    FlatMap(FlatMap),
    /// Keeps the items for which the body is true.
    Filter(Filter),
    /// Every item becomes `{"key", "value"}`; the body gives the key, a string.
    KeyBy(KeyBy),
    /// Folds items into one value, or into one for each key.
    Reduce(Reduce),
    /// Brings together the items of two lists that have the same key.
    Join(Join),
    /// Does the body again and again.
    Iterate(Iterate),
    /// Does one of several bodies.
    Branch(Branch),
    /// Does several bodies side by side. Its value is the record of theirs.
    Parallel(Parallel),
    /// Asks an agent and takes its reply.
    Ask(Ask),
    /// Tells an agent: done when that is durable. Its value is null.
    Tell(Tell),
    /// Waits.
    Wait(Wait),
    /// Brings a value out.
    Sink(Sink),
    /// Runs another flow and takes its value.
    Subflow(Subflow),
    /// Builds a value. It costs no step.
    Pass(Pass),
    /// Fails.
    Fail(Fail),
    /// Ends the nearest run, item or parallel branch around it with a value, whatever else in it is still going on.
    Succeed(Succeed),
}

impl Op {
    /// As it is called in an artefact.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Call(_) => "call",
            Self::Map(_) => "map",
            Self::FlatMap(_) => "flat_map",
            Self::Filter(_) => "filter",
            Self::KeyBy(_) => "key_by",
            Self::Reduce(_) => "reduce",
            Self::Join(_) => "join",
            Self::Iterate(_) => "iterate",
            Self::Branch(_) => "branch",
            Self::Parallel(_) => "parallel",
            Self::Ask(_) => "ask",
            Self::Tell(_) => "tell",
            Self::Wait(_) => "wait",
            Self::Sink(_) => "sink",
            Self::Subflow(_) => "subflow",
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Succeed(_) => "succeed",
        }
    }
}

/// What is done inside of another operator. It sees its input and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A function, `component/function`, that gets the input.
    Function(String),
    /// An expression in which `$` is the input.
    Expr(Expr),
    /// A graph.
    Graph(Graph),
}

/// A function that is called once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `component/function`.
    pub function: String,
    /// What it gets.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub input: Expr,
}

/// What happens when the last round has not reached the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtBound {
    /// The node fails with `iterate_bound`.
    #[default]
    Fail,
    /// The last state is the value.
    Finish,
}

/// State in, state out, until it is enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Iterate {
    /// The first state.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub state: Expr,
    /// From a state to the next one.
    pub body: Body,
    /// Whether that was the last round: `$` is the new state, `$$.previous` the one before, `$$.round` counts from 1. Without it: when the state no longer changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Expr>,
    /// How many rounds at most.
    pub rounds_max: u32,
    /// What happens then.
    #[serde(default)]
    pub at_bound: AtBound,
}

/// One way of a branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Whether it is this way.
    pub when: Expr,
    /// What is done then. It gets the node's input.
    pub body: Body,
}

/// The first case that is true. Its value is the node's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The ways.
    pub cases: Vec<Case>,
    /// What is done if none is true. Without it the node fails with `no_case`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Body>,
}

/// Bodies that each get the node's input. If one fails, the others are cancelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parallel {
    /// The bodies.
    pub branches: BTreeMap<NodeName, Body>,
}

/// A question to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The agent's type.
    pub agent: String,
    /// Its key.
    pub key: Expr,
    /// The method.
    pub method: String,
    /// What the method gets.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub input: Expr,
}

/// A message to an agent: the same fields.
pub type Tell = Ask;

/// What is waited for. The node's `timeout_ms` says how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// An event that somebody sends to the run. Its payload is the value.
    Event(WaitEvent),
    /// A time. The value is the node's input.
    Timer(WaitTimer),
    /// Somebody's consent. The value is `{"by", "payload"}`; a refusal is the error `refused`.
    Approval(WaitApproval),
}

/// Which event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitEvent {
    /// Its name. One that came before is taken, the oldest first.
    pub name: Expr,
}

/// How long, or until when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitTimer {
    /// So many milliseconds.
    Ms(Expr),
    /// Until this moment: milliseconds since 1970, or a text as in RFC 3339.
    Until(Expr),
}

/// Whose consent, and to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitApproval {
    /// What somebody is asked, for people.
    pub question: Expr,
    /// Who is asked, for whoever shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Expr>,
}

/// Another flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subflow {
    /// Its name.
    pub flow: NodeName,
    /// What it gets.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub input: Expr,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// What it is.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub value: Expr,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// Its code, which `catch` and `retry` know it by.
    pub error: Expr,
    /// What happened, for people.
    #[serde(default = "Expr::empty_text")]
    pub message: Expr,
}

/// A value with which it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Succeed {
    /// What it is.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub value: Expr,
}
