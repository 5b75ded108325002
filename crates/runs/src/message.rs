//! What a run is asked and told, and what it answers. All of it is JSON: some of it comes from people and from agents.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stride_flows::{Command, Event, run::Error};
use stride_ids::is_private_method;

use crate::head::Parent;

/// Begins the run. The message is its input.
pub(crate) const START: &str = "start";
/// Tells the run of something, for a `wait`.
pub(crate) const EVENT: &str = "event";
/// Consents to what a step asks.
pub(crate) const APPROVE: &str = "approve";
/// Refuses what a step asks.
pub(crate) const REFUSE: &str = "refuse";
/// Ends the run; what has succeeded is compensated.
pub(crate) const CANCEL: &str = "cancel";
/// How the run stands.
pub(crate) const STATUS: &str = "status";

/// Begins the run for a step of another one.
pub(crate) const BEGIN: &str = "stride-begin";
/// What became of commands.
pub(crate) const TOOK: &str = "stride-took";
/// A run that this one began has ended.
pub(crate) const ENDED: &str = "stride-ended";
/// A timer of the run is due.
pub(crate) const FIRED: &str = "stride-fired";
/// Takes the run to another version of its flow.
pub(crate) const MOVE: &str = "stride-move";
/// It is time to see whether somebody works on the run.
pub(crate) const WATCH: &str = "stride-watch";
/// The run has been kept long enough.
pub(crate) const FORGET: &str = "stride-forget";
/// What is to be done.
pub(crate) const OUT: &str = "stride-out";
/// A page of a list.
pub(crate) const PAGE: &str = "stride-page";
/// The plan, and what it took so far.
pub(crate) const PLAN: &str = "stride-plan";

/// All methods, and which of them only read.
pub(crate) const METHODS: [(&str, bool); 16] = [
    (START, false),
    (EVENT, false),
    (APPROVE, false),
    (REFUSE, false),
    (CANCEL, false),
    (STATUS, true),
    (BEGIN, false),
    (TOOK, false),
    (ENDED, false),
    (FIRED, false),
    (MOVE, false),
    (WATCH, false),
    (FORGET, false),
    (OUT, true),
    (PAGE, true),
    (PLAN, true),
];

/// What everybody may ask and tell a run.
pub fn methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|(name, _)| *name).filter(|name| !is_private_method(name))
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) input: Value,
    pub(crate) parent: Parent,
}

/// Something that a run is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    /// What names it, so that it counts once. Without it: the name and what it carries.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) payload: Value,
}

/// What somebody says to a step that asks.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Which step. Without it: the only one that asks.
    pub(crate) step: Option<String>,
    /// Who says it.
    pub(crate) by: Option<String>,
    /// What comes with a consent.
    #[serde(default)]
    pub(crate) payload: Value,
    /// Why it is refused.
    pub(crate) reason: Option<String>,
}

/// What became of what was out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Took {
    pub(crate) events: Vec<Event>,
    /// Steps whose commands a turn can do itself, and that had to wait for another turn.
    pub(crate) again: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Out {
    pub(crate) commands: Vec<Command>,
    /// There is more, which has to be asked for.
    pub(crate) more: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) step: String,
    pub(crate) result: Result<Value, Error>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PageAsked {
    pub(crate) prefix: String,
    pub(crate) number: u64,
}

/// The plan of a run and what its nodes took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) plan: stride_flows::Plan,
    pub(crate) measures: stride_flows::plan::Measures,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The flow.
    pub flow: String,
    /// The run.
    pub run: String,
    /// In which version of the flow it runs.
    pub version: u64,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// What came out, of a run that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// What it waits for, the first hundred.
    pub steps: Vec<StepStatus>,
    /// Values of nodes that are done, small ones, the first hundred.
    pub values: Vec<(String, Value)>,
}

/// A step that a run waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its id.
    pub step: String,
    /// What it does: `call`, `ask`, `approval`, `event`, `timer`, ...
    pub does: String,
    /// What it asks people, or for which event it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Value>,
    /// Who is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Value>,
    /// When a timer is due, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}
