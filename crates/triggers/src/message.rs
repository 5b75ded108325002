//! What is asked of a trigger's agent, and what it answers. These travel within the platform; what sources tell is in
//! `stride_agents::native`.

use serde::{Deserialize, Serialize};
use stride_agents::native::{BOUND, EVENT};
use stride_ids::{Failure, Name, Payload};
use stride_sim::Timestamp;

use crate::letter::Letter;

pub(crate) const SET: &str = "set";
pub(crate) const UNSET: &str = "unset";
pub(crate) const TICK: &str = "tick";
pub(crate) const DRAIN: &str = "drain";
pub(crate) const PAUSE: &str = "pause";
pub(crate) const RESUME: &str = "resume";
pub(crate) const SETTLE: &str = "settle";
pub(crate) const REPLAY: &str = "replay";
pub(crate) const DROP: &str = "drop";
pub(crate) const STATUS: &str = "status";
pub(crate) const DUE: &str = "due";
pub(crate) const LETTERS: &str = "letters";
/// The methods of a trigger's agent, and which only read.
pub(crate) const METHODS: [(&str, bool); 14] = [
    (SET, false),
    (UNSET, false),
    (BOUND, false),
    (EVENT, false),
    (TICK, false),
    (DRAIN, false),
    (PAUSE, false),
    (RESUME, false),
    (SETTLE, false),
    (REPLAY, false),
    (DROP, false),
    (STATUS, true),
    (DUE, true),
    (LETTERS, true),
];

/// What a trigger is from now on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SetAsked {
    pub(crate) spec: String,
    pub(crate) since: Timestamp,
}

/// No deployment has it any more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnsetAsked {
    pub(crate) since: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DueAsked {
    pub(crate) limit: usize,
}

/// Which function of which component is to be called, and for what, the oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Due {
    pub(crate) function: (Name, Name),
    pub(crate) calls: Vec<DueCall>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DueCall {
    pub(crate) number: u64,
    pub(crate) attempts: u32,
    /// The input of the call, or why there is none.
    pub(crate) input: Result<Payload, Failure>,
}

/// What became of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub(crate) number: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    /// It is tried again at this time.
    Again {
        attempts: u32,
        due: Timestamp,
    },
    Dead {
        attempts: u32,
        cause: Failure,
    },
}

impl Outcome {
    /// The label under which it is counted, so the list is closed.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again { .. } => "again",
            Self::Dead { .. } => "dead",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LettersAsked {
    pub(crate) after: Option<u64>,
    pub(crate) limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Letters {
    pub(crate) letters: Vec<Letter>,
    pub(crate) more: bool,
}

/// Which dead letters: one, or all.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Which {
    pub(crate) number: Option<u64>,
}
