//! Events to agents and flows: in the turn that takes them.

use serde_json::Value;
use stride_agents::Turn;
use stride_ids::Failure;

use crate::{event::Event, spec::TriggerSpec};

/// Tells the target of an event. False if the target is a function, which somebody has to call.
pub(crate) fn tell(turn: &mut Turn, spec: &TriggerSpec, event: &Event) -> Result<bool, Failure> {
    let run = run_name(spec, event);
    let Some((agent, method)) = spec.target.agent(&turn.address().tenant, event.value(), &run)? else {
        return Ok(false);
    };
    turn.tell(agent, method, spec.input_of(event)?)?;
    Ok(true)
}

/// The name of the run that an event starts: the same for the same event, so that it is started once.
fn run_name(spec: &TriggerSpec, event: &Event) -> String {
    format!("{}-{}", spec.name, event.identity())
}

/// The event that a stored row is.
pub(crate) fn stored(bytes: &[u8]) -> Result<Event, Failure> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
    Event::of_value(value).map_err(|e| damaged(&e.to_string()))
}

fn damaged(why: &str) -> Failure {
    Failure::new(stride_ids::Code::Internal, format!("a stored event is damaged: {why}"))
}
