//! From a program to a plan: what really runs.
//!
//! ```text
//! Program ─► lower ─► logical plan ─► passes, each by its name ─► physical plan ─► run
//! ```
//! Always true: nodes of a graph come behind those they need; a pass changes what runs where and how often, never what comes out.
//! A plan is data: it is stored with the run and read again, so a deploy in mid-run changes nothing.

mod estimate;
mod lower;
mod passes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use estimate::{Estimate, Measure, Measures};
pub use passes::{Hardware, Known, PASSES, Passes};

use crate::{
    Schema,
    check::Program,
    expr::Expr,
    ir::{self, AtBound, Failures, Retry, Slo},
    name::NodeName,
};

/// What runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What names this plan: the hash of all the rest.
    pub id: String,
    /// The flow's name.
    pub flow: NodeName,
    /// Of which program this is a plan.
    pub program: String,
    /// The passes that it went through.
    pub passes: Vec<String>,
    /// All graphs. Bodies refer to them by their index.
    pub graphs: Vec<Graph>,
    /// Where a run begins.
    pub root: usize,
    /// How long a run may take.
    pub timeout_ms: Option<u64>,
}

/// A graph of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// The nodes, each behind those it needs.
    pub nodes: Vec<Node>,
    /// Whose value is the graph's.
    pub output: Option<Port>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// The graph's input.
    Input,
    /// A node, by its index.
    Node(usize),
}

/// Whose values are a node's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inputs {
    /// Nobody's.
    None,
    /// One.
    One(Port),
    /// A record.
    Many(BTreeMap<String, Port>),
}

impl Inputs {
    /// The ports.
    pub fn ports(&self) -> Vec<Port> {
        match self {
            Self::None => Vec::new(),
            Self::One(port) => vec![*port],
            Self::Many(ports) => ports.values().copied().collect(),
        }
    }

    fn ports_mut(&mut self) -> Vec<&mut Port> {
        match self {
            Self::None => Vec::new(),
            Self::One(port) => vec![port],
            Self::Many(ports) => ports.values_mut().collect(),
        }
    }
}

/// A node of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is called in ids of steps: the name of the last node that it stands for.
    pub name: NodeName,
    /// The nodes of the program that it stands for, as places in the artefact.
    pub stands_for: Vec<String>,
    /// Whose values it takes.
    pub inputs: Inputs,
    /// For whom it waits without taking a value.
    pub after: Vec<Port>,
    /// What it does.
    pub work: Work,
    /// What its value has to look like.
    pub output: Schema,
    /// Whether nothing in it has an effect.
    pub is_pure: bool,
    /// When it is tried again.
    pub retry: Vec<Retry>,
    /// How long an attempt may take.
    pub timeout_ms: Option<u64>,
    /// What happens instead of a failure.
    pub catch: Vec<Caught>,
    /// What undoes it.
    pub compensate: Option<Body>,
    /// Where it runs.
    pub placing: Placing,
    /// What it is expected to take.
    pub estimate: Estimate,
}

/// What happens instead of these errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caught {
    /// Codes, `*` for all.
    pub errors: Vec<String>,
    /// What is done.
    pub body: Body,
}

/// Where something runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placing {
    /// What it should be close to.
    pub affinity: Option<Expr>,
    /// Whether it should be close to the objects that its items or its input refer to.
    pub near_data: bool,
    /// On which class of hardware, if one is asked for.
    pub hardware: Option<String>,
    /// On which class it is done best, if one was chosen; where there is none it is done anywhere.
    pub prefers: Option<String>,
    /// On which node, if that was decided.
    pub node: Option<String>,
    /// What it promises.
    pub slo: Option<Slo>,
}

impl Placing {
    /// The class of hardware that it is on, as far as is known.
    pub(crate) fn class(&self) -> Option<&str> {
        self.hardware.as_deref().or(self.prefers.as_deref())
    }
}

/// What is done inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Functions and expressions, one behind the other: one step.
    Chain(Vec<Stage>),
    /// A graph, by its index.
    Graph(usize),
}

/// One part of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What becomes of what it gives.
    pub gives: Gives,
    /// What it does.
    pub does: Does,
}

/// What becomes of what a stage gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    /// It goes on.
    One,
    /// Each item of it goes on.
    Flat,
    /// It says whether what came in goes on.
    Keep,
    /// It is the key with which what came in goes on.
    Key,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Calls a function.
    Function {
        /// `component/function`.
        name: String,
        /// What it gets of what comes in.
        input: Expr,
        /// Whether an answer from before may be taken.
        memo: bool,
    },
    /// Builds a value.
    Expr(Expr),
    /// Reads the lines of a part of an object.
    Lines,
}

/// Work over items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// Where the items come from.
    pub items: Items,
    /// What the body gets for an item. Without it: the item.
    pub input: Option<Expr>,
    /// What is done with each.
    pub body: Body,
    /// What becomes of what a graph gives. Stages of a chain say that themselves.
    pub gives: Gives,
    /// What is folded where the items are, before they go on.
    pub combine: Option<Combine>,
    /// How many items one call takes.
    pub batch: u32,
    /// How many items are in flight.
    pub window: u32,
    /// How many may fail.
    pub failures: Failures,
}

/// Where items come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Items {
    /// An expression of the node's input.
    Expr(Expr),
    /// From outside, in parts that are read where they lie.
    Parts(ir::Objects),
}

/// A fold of what one call gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combine {
    /// For each key.
    pub by_key: bool,
    /// The fold.
    pub stages: Vec<Stage>,
}

/// What a node of a plan does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Brings items in.
    Source(ir::Source),
    /// One step of functions and expressions.
    Chain(Vec<Stage>),
    /// Work over items.
    Each(Each),
    /// A fold.
    Reduce {
        /// The items.
        items: Expr,
        /// For each key.
        by_key: bool,
        /// Whether groups may be folded first.
        associative: bool,
        /// The fold.
        body: Body,
        /// How many groups are in flight.
        window: u32,
    },
    /// A join.
    Join(ir::Join),
    /// Rounds.
    Iterate {
        /// The first state.
        state: Expr,
        /// From state to state.
        body: Body,
        /// Whether it is enough.
        until: Option<Expr>,
        /// How many rounds.
        rounds_max: u32,
        /// What then.
        at_bound: AtBound,
    },
    /// One of several.
    Branch {
        /// When, and what.
        cases: Vec<(Expr, Body)>,
        /// What otherwise.
        otherwise: Option<Body>,
    },
    /// Side by side.
    Parallel(Vec<(NodeName, Body)>),
    /// A question to an agent.
    Ask(ir::Ask),
    /// A message to an agent.
    Tell(ir::Ask),
    /// Waiting.
    Wait(ir::Wait),
    /// Out.
    Sink(ir::Sink),
    /// Another flow.
    Subflow(ir::Subflow),
    /// A value.
    Pass(Expr),
    /// An error.
    Fail(ir::Fail),
    /// An early end.
    Succeed(Expr),
}

impl Program {
    /// The plan after these passes.
    pub fn plan(&self, passes: &Passes, known: &Known<'_>) -> Plan {
        let mut plan = lower::lower(self);
        plan.passes = passes.run(&mut plan, &self.functions, known);
        estimate::fill(&mut plan, &self.functions);
        plan.id = blake3::hash(&serde_json::to_vec(&plan).unwrap_or_default()).to_hex().to_string();
        plan
    }
}

impl Plan {
    /// The graph where a run begins.
    pub fn root(&self) -> &Graph {
        &self.graphs[self.root]
    }

    /// The bytes that are expected to go from node to node.
    pub fn bytes_between(&self) -> u64 {
        self.graphs
            .iter()
            .flat_map(|graph| &graph.nodes)
            .fold(0, |sum, node| sum.saturating_add(node.estimate.bytes_out))
    }
}

impl Graph {
    /// Who reads or waits for a port.
    pub fn readers(&self, port: Port) -> Vec<usize> {
        let reads = |node: &Node| node.inputs.ports().contains(&port) || node.after.contains(&port);
        self.nodes.iter().enumerate().filter(|(_, node)| reads(node)).map(|(index, _)| index).collect()
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<(usize, &Node)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.name.as_str() == name)
    }

    /// Takes a node out. Who read it reads `instead`.
    fn remove(&mut self, index: usize, instead: Port) {
        let shifted = |port: Port| match port {
            Port::Node(at) if at > index => Port::Node(at - 1),
            other => other,
        };
        let settled = |port: Port| shifted(if port == Port::Node(index) { instead } else { port });
        self.nodes.remove(index);
        for node in &mut self.nodes {
            for port in node.inputs.ports_mut().into_iter().chain(&mut node.after) {
                *port = settled(*port);
            }
        }
        self.output = self.output.map(settled);
    }
}

impl Node {
    /// Whether nothing is said of it that a fused step could not keep.
    fn is_plain(&self) -> bool {
        self.timeout_ms.is_none() && self.catch.is_empty() && self.compensate.is_none()
    }
}
