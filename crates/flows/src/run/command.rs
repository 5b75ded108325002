//! What goes in and out of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{Combine, Stage};

/// Why something failed. `catch` and `retry` know it by its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// A stable code, such as `timeout`.
    pub code: String,
    /// What happened.
    pub message: String,
}

impl Error {
    /// An error of this code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub(super) fn fits(&self, codes: &[String]) -> bool {
        codes.iter().any(|code| code == "*" || *code == self.code)
    }
}

/// What has happened. An event about a step counts once, and only while that step is out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    Started {
        /// What names it.
        run: String,
        /// Its input.
        input: Value,
    },
    /// A command is done.
    Done {
        /// Which.
        step: String,
        /// What it gave.
        result: Value,
    },
    /// A call over items is done.
    Items {
        /// Which.
        step: String,
        /// What it gave for each, in order.
        outcomes: Vec<Outcome>,
        /// All of it folded. Only if no item failed; the outcomes are empty then.
        combined: Option<Vec<Value>>,
    },
    /// A page of a source is there.
    Page {
        /// Which `Read`.
        step: String,
        /// Which page of it.
        number: u64,
        /// The items, of at most [`PAGE_BYTES_MAX`](crate::limits::PAGE_BYTES_MAX) bytes.
        items: Vec<Value>,
        /// Where the next page begins. `None`: that was all.
        next: Option<Value>,
    },
    /// A command has failed.
    Failed {
        /// Which.
        step: String,
        /// Why.
        error: Error,
    },
    /// A timer is due.
    Fired {
        /// Which.
        timer: String,
    },
    /// Somebody tells the run of something.
    Event {
        /// What names this event, so that it counts once.
        id: String,
        /// Its name, for which a `wait` waits.
        name: String,
        /// What it carries.
        payload: Value,
    },
    /// Somebody consents.
    Approved {
        /// To what.
        step: String,
        /// Who.
        by: String,
        /// What they say.
        payload: Value,
    },
    /// Somebody refuses.
    Refused {
        /// What.
        step: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The run shall end. What has succeeded is compensated.
    Cancelled,
}

/// What became of an item: values, or an error.
pub type Outcome = Result<Vec<Value>, Error>;

/// What is to be done. Each has the id of its step; the same id is the same command, also after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Run functions: see [`Execution`](super::Execution). Answered by `Done`, `Items` or `Failed`.
    Call(Call),
    /// Read from outside. Answered by `Page` or `Failed`.
    Read {
        /// The step.
        step: String,
        /// Which page, from 0.
        number: u64,
        /// From what.
        source: ReadFrom,
        /// Where the page begins: `next` of the page before.
        after: Option<Value>,
    },
    /// Ask an agent.
    Ask(Message),
    /// Tell an agent. Done when that is durable.
    Tell(Message),
    /// Publish to a topic.
    Publish {
        /// The step.
        step: String,
        /// The topic.
        topic: String,
        /// The message.
        value: Value,
    },
    /// Write an object. Done with a reference to it.
    Put {
        /// The step.
        step: String,
        /// Where. `None`: wherever large values of this run are kept.
        to: Option<(String, String)>,
        /// What.
        content: Content,
    },
    /// Run another flow, named by the step. Done with its result.
    Start {
        /// The step.
        step: String,
        /// Which flow.
        flow: String,
        /// Its input.
        input: Value,
    },
    /// Ask people. Answered by `Approved` or `Refused`.
    Approval {
        /// The step.
        step: String,
        /// What they are asked.
        question: Value,
        /// Who.
        of: Option<Value>,
    },
    /// Come back at once with `Done`: so much has been done in one go that others should have a turn.
    Continue {
        /// The step.
        step: String,
    },
    /// Set a timer.
    Timer {
        /// Which.
        timer: String,
        /// When it is due.
        at_ms: u64,
    },
    /// Clear a timer.
    ClearTimer {
        /// Which.
        timer: String,
    },
    /// Nobody waits for this step any more.
    Cancel {
        /// Which.
        step: String,
    },
    /// The run has a result.
    Finish {
        /// What it is.
        result: Value,
    },
    /// The run has failed, or was cancelled.
    Fail {
        /// Why.
        error: Error,
    },
}

/// Functions that run one behind the other, for one value or for each of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The step.
    pub step: String,
    /// The same for all attempts, for whoever has to know a repeated call outside.
    pub key: String,
    /// What runs.
    pub stages: Vec<Stage>,
    /// What folds what they give.
    pub combine: Option<Combine>,
    /// What they run on.
    pub items: Vec<Item>,
    /// Whether it is answered by `Items`, and not by `Done`.
    pub is_batch: bool,
    /// What expressions know of the run.
    pub context: Value,
    /// What it should be close to.
    pub affinity: Option<String>,
    /// Whether it should be close to the objects that the items refer to.
    pub near_data: bool,
    /// On which hardware.
    pub hardware: Option<String>,
    /// On which hardware it is done best.
    pub prefers: Option<String>,
    /// On which node, if that was planned.
    pub node: Option<String>,
}

/// An item, and what the first stage gets for it if that is something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Which of all it is.
    #[serde(default)]
    pub index: u64,
    /// The item.
    pub value: Value,
    /// What the first stage gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// A message to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The step.
    pub step: String,
    /// The agent's type.
    pub agent: String,
    /// Its key.
    pub key: String,
    /// The method.
    pub method: String,
    /// What it gets.
    pub input: Value,
}

/// From what is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// References to the objects of a prefix.
    Objects {
        /// The bucket.
        bucket: String,
        /// How keys begin.
        prefix: String,
    },
    /// The lines of these objects.
    Lines {
        /// The bucket.
        bucket: String,
        /// How keys begin.
        prefix: String,
    },
    /// What a stage that reads lines takes: parts of these objects, each with whole lines. Whoever reads them decides what such a value is.
    Parts {
        /// The bucket.
        bucket: String,
        /// How keys begin.
        prefix: String,
    },
    /// A window of a topic.
    Topic {
        /// The topic.
        topic: String,
        /// So many messages.
        count_max: u32,
        /// So long after the first.
        time_max_ms: u64,
    },
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A value.
    Value(Value),
    /// The list whose pages are the rows with these keys, `PREFIX/` and 16 hex digits: a JSON list each, all of them one behind the other.
    Pages {
        /// What the keys begin with.
        prefix: String,
        /// How many.
        pages: u64,
    },
}

impl Command {
    /// The step or timer that it is about.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Call(call) => Some(&call.step),
            Self::Ask(message) | Self::Tell(message) => Some(&message.step),
            Self::Read { step, .. }
            | Self::Publish { step, .. }
            | Self::Put { step, .. }
            | Self::Start { step, .. }
            | Self::Approval { step, .. }
            | Self::Continue { step }
            | Self::Cancel { step } => Some(step),
            Self::Timer { timer, .. } | Self::ClearTimer { timer } => Some(timer),
            Self::Finish { .. } | Self::Fail { .. } => None,
        }
    }
}
