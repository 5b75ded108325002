//! What a run's agent knows of it beside the rows of the run.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stride_agents::Turn;
use stride_ids::{Address, AgentKey, Code, Failure, Name};

/// The row that has the plan. A run keeps its own, so that nothing that is deployed meanwhile changes what it does.
pub(crate) const PLAN: &str = "plan";

/// The agent type of runs.
pub const KIND: &str = "flow";

/// A run, as the typed state of its agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// In which version of the flow it runs.
    pub(crate) version: u64,
    /// What names its plan.
    pub(crate) plan: String,
    /// What it began with, as a hash.
    pub(crate) input: String,
    /// The run that waits for it.
    pub(crate) parent: Option<Parent>,
    pub(crate) started_ms: u64,
    pub(crate) ended_ms: Option<u64>,
    /// When the timer is due that has somebody look after it.
    pub(crate) watch_ms: Option<u64>,
}

/// Who waits for a run: a step of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) run: Address,
    pub(crate) step: String,
}

impl Head {
    pub(crate) fn load(turn: &Turn) -> Result<Option<Self>, Failure> {
        let Some(bytes) = turn.load() else { return Ok(None) };
        let broken = |e| Failure::new(Code::Internal, format!("the head of a run cannot be read: {e}"));
        serde_json::from_slice(&bytes).map(Some).map_err(broken)
    }

    /// The head of a run that has begun.
    pub(crate) fn need(turn: &Turn) -> Result<Self, Failure> {
        Self::load(turn)?.ok_or_else(|| Failure::not_found("run", turn.address().key.as_str(), None))
    }

    pub(crate) fn save(&self, turn: &mut Turn) -> Result<(), Failure> {
        Ok(turn.save(Bytes::from(serde_json::to_vec(self).unwrap_or_default()))?)
    }
}

/// The hash of an input.
pub(crate) fn hash(input: &Value) -> String {
    blake3::hash(input.to_string().as_bytes()).to_hex().to_string()
}

/// The flow and the run that an agent's key names.
pub(crate) fn names(key: &AgentKey) -> Result<(Name, &str), Failure> {
    let wrong = |why: &str| Failure::new(Code::InvalidRequest, format!("a run is `flow/NAME/RUN`; `{key}` {why}"));
    let (flow, run) = key.as_str().split_once('/').ok_or_else(|| wrong("has no `/`"))?;
    let flow = Name::new(flow).map_err(|e| wrong(&e.to_string()))?;
    if run.is_empty() || run.contains('/') {
        return Err(wrong("names no run behind the flow's name"));
    }
    Ok((flow, run))
}

/// The agent of a run.
///
/// # Errors
/// `invalid_request` if no run can be called so.
pub(crate) fn address(tenant: &Name, flow: &Name, run: &str) -> Result<Address, Failure> {
    let key = AgentKey::new(&format!("{flow}/{run}")).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
    names(&key)?;
    Ok(Address { tenant: tenant.clone(), kind: kind(), key })
}

pub(crate) fn kind() -> Name {
    Name::new(KIND).expect("it follows the rule")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_flow_and_itself() {
        let address = address(&Name::default_tenant(), &Name::new("order").unwrap(), "2026-11.7").unwrap();
        let (flow, run) = names(&address.key).unwrap();
        assert_eq!((flow.as_str(), run), ("order", "2026-11.7"));
        for bad in ["order", "order/", "/7", "order/a/b", "o r/7"] {
            assert!(names(&AgentKey::new(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
