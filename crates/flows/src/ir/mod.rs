//! The artefact: what people and front ends write, as JSON.
//!
//! Always true of a [`Draft`]: it can be written down and read again as the same. Nothing more: whether its edges lead somewhere and its types
//! fit is said by [`Draft::check`].

mod op;
mod policy;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use op::{
    Ask, AtBound, Body, Branch, Call, Case, Each, Fail, Filter, FlatMap, Iterate, Join, JoinKind, KeyBy, Map,
    ObjectSink, Objects, Op, Parallel, Pass, Reduce, Side, Sink, Source, Subflow, Succeed, Tell, Topic, TopicSink,
    Wait, WaitApproval, WaitEvent, WaitTimer,
};
pub use policy::{Catch, Failures, Retry, Slo};

use crate::{catalog::Effect, expr::Expr, name::NodeName, schema::Schema};

/// The version of the artefact that this crate reads and writes.
pub const VERSION: u32 = 1;

/// A flow as it was written, not checked yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Of the artefact: 1.
    pub version: u32,
    /// What the flow is called: letters, digits, `_` and `-`.
    pub name: NodeName,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The nodes.
    pub graph: Graph,
    /// For the whole run: what is not done by then fails with `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What the whole run promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
}

/// Nodes and their edges. A graph sees nothing but its input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// What its input looks like.
    #[serde(default, skip_serializing_if = "Schema::is_any")]
    pub input: Schema,
    /// The nodes by name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Whose value is the graph's value, or `input`. Without it the value is null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<NodeName>,
}

/// One node: what it does, whose values it takes, and what holds when that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it does.
    #[serde(rename = "do")]
    pub op: Op,
    /// Whose values are its input, which expressions call `$`.
    #[serde(rename = "in", default, skip_serializing_if = "In::is_none")]
    pub input: In,
    /// Who must be done before it begins, without giving it a value.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<NodeName>,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What its value looks like. It is held to that when it runs.
    #[serde(default, skip_serializing_if = "Schema::is_any")]
    pub output: Schema,
    /// All that it may do. Without it: whatever its functions may. `[]` is pure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<BTreeSet<Effect>>,
    /// When it is tried again. The first that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry: Vec<Retry>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What happens instead once it has failed. The first that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catch: Vec<Catch>,
    /// What undoes it if the graph around it fails later. Its input is `{"input", "result"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Body>,
    /// What it should be close to: a text such as `object:images/cat.jpg` or `agent:room/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Expr>,
    /// The class of hardware that it needs, such as `gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// What it promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
}

impl Node {
    /// A node that does this, with nothing else said.
    pub fn new(op: Op) -> Self {
        Self {
            op,
            input: In::None,
            after: BTreeSet::new(),
            title: None,
            output: Schema::Any,
            effects: None,
            retry: Vec::new(),
            timeout_ms: None,
            catch: Vec::new(),
            compensate: None,
            affinity: None,
            hardware: None,
            slo: None,
        }
    }

    /// The same with the value of one node as its input.
    pub fn with_input(mut self, from: NodeName) -> Self {
        self.input = In::One(from);
        self
    }
}

/// Whose values are a node's input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "`in` is the name of a node (or `input`), or a record from names to such names")]
pub enum In {
    /// Nobody's: `$` is null.
    #[default]
    None,
    /// One node's: `$` is its value.
    One(NodeName),
    /// Several: `$` is a record of their values.
    Many(BTreeMap<String, NodeName>),
}

impl In {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The edges: the name of each (none for a single one), and from whom.
    pub fn edges(&self) -> impl Iterator<Item = (Option<&str>, &NodeName)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(from) => (Some((None, from)), None),
            Self::Many(from) => (None, Some(from)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(name, from)| (Some(name.as_str()), from)))
    }
}
