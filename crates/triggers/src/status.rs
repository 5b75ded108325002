//! How triggers stand, as people see it.

use serde::Serialize;
use stride_ids::{Failure, Name};
use stride_sim::Timestamp;

use crate::{row::Standing, spec::TriggerSpec};

/// Whether events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its source has not confirmed yet that it tells of events.
    Starting,
    /// Events are delivered as they come.
    Running,
    /// Events wait.
    Paused,
    /// Its source tells it of nothing; `why` says why.
    Failed,
    /// No deployment has it any more. It stays until its dead letters are gone.
    Gone,
}

/// How a trigger stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The component whose manifest has it.
    pub component: Name,
    /// Its name there.
    pub trigger: Name,
    /// What starts it, as people write it.
    pub source: Option<String>,
    /// What it starts, as people write it.
    pub target: Option<String>,
    /// Whether events are delivered.
    pub state: State,
    /// Why it is paused or failed, or what is wrong with its target.
    pub why: Option<String>,
    /// Events that are not delivered yet.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Events that were delivered.
    pub delivered: u64,
    /// Events that the filter has passed over.
    pub filtered: u64,
    /// When the last event came, in milliseconds since 1970.
    pub last_at: Option<Timestamp>,
}

impl Status {
    /// Of a trigger that keeps nothing.
    pub(crate) fn of_route(component: Name, spec: &TriggerSpec) -> Self {
        let standing = Standing { bound: Some(Ok(())), ..Standing::default() };
        Self { state: State::Running, ..Self::new(component, spec.name.clone(), &standing) }.told_by(spec)
    }

    pub(crate) fn new(component: Name, trigger: Name, standing: &Standing) -> Self {
        let (state, why) = match standing {
            Standing { spec: None, .. } => (State::Gone, None),
            Standing { bound: Some(Err(failure)), .. } => (State::Failed, Some(failure.message.clone())),
            Standing { paused: Some(why), .. } => (State::Paused, Some(why.clone())),
            Standing { bound: None, .. } => (State::Starting, None),
            Standing { bound: Some(Ok(())), .. } => (State::Running, None),
        };
        let Standing { waiting, dead, delivered, filtered, last_at, .. } = standing.clone();
        let (source, target) = (None, None);
        Self { component, trigger, source, target, state, why, waiting, dead, delivered, filtered, last_at }
    }

    /// The same with what it is.
    pub(crate) fn told_by(self, spec: &TriggerSpec) -> Self {
        let target = spec.target.in_component(&self.component);
        Self { source: Some(spec.source.to_string()), target: Some(target), ..self }
    }

    /// The same with what is wrong with its target, if nothing else is to be said.
    pub(crate) fn with_target(self, outcome: Result<(), Failure>) -> Self {
        let wrong = outcome.err().map(|failure| failure.message);
        Self { why: self.why.or(wrong), ..self }
    }
}
