//! What a flow's author may refer to: functions, agents and other flows, as far as the platform knows them.
//!
//! Not here: how it is known. Whether a function is pure is proved by whoever implements [`Catalog`], never declared.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::Schema;

/// Something that code may do beside computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It looks at a clock, at chance, or at anything else that differs from call to call.
    Observe,
    /// It reads objects.
    ReadObjects,
    /// It writes objects.
    WriteObjects,
    /// It asks or tells agents, or publishes.
    Message,
    /// It talks to the world outside.
    Network,
}

/// A function as the platform knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// All that it may do. Empty: what it answers follows from its input alone.
    pub effects: BTreeSet<Effect>,
    /// What it takes.
    pub input: Schema,
    /// What it gives.
    pub output: Schema,
    /// How long one call takes, if that is known, for each class of hardware that it runs on. The empty name is the plain node.
    pub micros: Vec<(String, u64)>,
    /// How many bytes it gives for a call, if that is known.
    pub bytes_out: Option<u64>,
}

impl Function {
    /// Whether what it answers follows from its input alone.
    pub fn is_pure(&self) -> bool {
        self.effects.is_empty()
    }
}

/// A method of an agent, or a flow: what it takes and gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signature {
    /// What it takes.
    pub input: Schema,
    /// What it gives.
    pub output: Schema,
}

/// What there is.
pub trait Catalog {
    /// The function `component/function`.
    fn function(&self, name: &str) -> Option<Function>;
    /// A method of the agents of this type.
    fn agent(&self, agent: &str, method: &str) -> Option<Signature>;
    /// Another flow.
    fn flow(&self, name: &str) -> Option<Signature>;
    /// Names to choose the nearest from when something is not there: functions, `type/method` of agents, flows.
    fn names(&self) -> Vec<String>;
}
