//! What a turn of a run can do itself: tell, publish, set timers, begin other runs, and end. It leaves with the turn's commit, so it takes effect
//! once.

use stride_agents::{Schedule, Turn};
use stride_flows::{Command, Event, run::Error};
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload, is_private_method};

use crate::{
    head::{self, Head, Parent},
    message::{BEGIN, Begin, CANCEL, ENDED, Ended, FIRED, FORGET, WATCH},
    payload,
};

/// The agent type of topics, and what publishes.
const TOPIC: &str = "topic";
const PUBLISH: &str = "publish";

/// What became of a command within a turn.
pub(crate) enum Within {
    /// Nobody needs to know.
    Done,
    /// The run has to know of it.
    Event(Event),
    /// Somebody else has to do it.
    Outside(Command),
}

/// Does a command, if a turn can.
pub(crate) fn within(
    turn: &mut Turn,
    head: &mut Head,
    command: Command,
    kept_ms: u64,
    now_ms: u64,
) -> Result<Within, Failure> {
    Ok(match command {
        Command::Tell(message) => {
            let input = payload::of_value(&message.input);
            let sent = address(turn, &message.agent, &message.key, &message.method)
                .and_then(|to| tell(turn, to, message.method, input));
            answered(message.step, sent)?
        }
        Command::Publish { step, topic, value } => {
            let sent = address(turn, TOPIC, &topic, PUBLISH)
                .and_then(|to| tell(turn, to, PUBLISH.to_owned(), payload::of_value(&value)));
            answered(step, sent)?
        }
        Command::Start { step, flow, input } => match child(turn.address(), &flow, &step) {
            Ok(run) => {
                turn.set(begun(&step), run.key.to_string().into())?;
                let parent = Parent { run: turn.address().clone(), step };
                turn.tell(run, BEGIN.to_owned(), payload::json(&Begin { input, parent }))?;
                Within::Done
            }
            Err(failure) => failed(step, &failure),
        },
        Command::Timer { timer, at_ms } => {
            let input = payload::json(&timer);
            turn.set_timer(timer_name(&timer), Schedule::At(at_ms), FIRED.to_owned(), input)?;
            Within::Done
        }
        Command::ClearTimer { timer } => {
            turn.cancel_timer(&timer_name(&timer))?;
            Within::Done
        }
        Command::Cancel { step } => {
            if let Some(key) = turn.get(&begun(&step))? {
                turn.delete(begun(&step))?;
                let key = AgentKey::new(&String::from_utf8_lossy(&key));
                let key = key.map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
                let run = Address { key, ..turn.address().clone() };
                turn.tell(run, CANCEL.to_owned(), payload::json(&()))?;
                return Ok(Within::Done);
            }
            Within::Outside(Command::Cancel { step })
        }
        Command::Finish { result } => end(turn, head, Ok(result), kept_ms, now_ms)?,
        Command::Fail { error } => end(turn, head, Err(error), kept_ms, now_ms)?,
        outside => Within::Outside(outside),
    })
}

/// Whether it is done by the turn that decides on it.
pub(crate) fn is_within(command: &Command) -> bool {
    matches!(command, Command::Tell(_) | Command::Publish { .. } | Command::Start { .. })
}

/// Whether somebody has to work on it: people and other runs answer by themselves.
pub(crate) fn is_work(command: &Command) -> bool {
    !matches!(command, Command::Approval { .. } | Command::Start { .. })
}

/// Has somebody look after the run, if nobody is to do that already.
pub(crate) fn watch(turn: &mut Turn, head: &mut Head, after_ms: u64, now_ms: u64) -> Result<(), Failure> {
    if head.watch_ms.is_none_or(|due| due <= now_ms) {
        let due = now_ms.saturating_add(after_ms);
        turn.set_timer(WATCH.to_owned(), Schedule::At(due), WATCH.to_owned(), payload::json(&()))?;
        head.watch_ms = Some(due);
    }
    Ok(())
}

fn end(
    turn: &mut Turn,
    head: &mut Head,
    result: Result<serde_json::Value, Error>,
    kept_ms: u64,
    now_ms: u64,
) -> Result<Within, Failure> {
    head.ended_ms = Some(now_ms);
    head.watch_ms = None;
    turn.cancel_timer(WATCH)?;
    let due = now_ms.saturating_add(kept_ms);
    turn.set_timer(FORGET.to_owned(), Schedule::At(due), FORGET.to_owned(), payload::json(&()))?;
    if let Some(Parent { run, step }) = head.parent.clone() {
        turn.tell(run, ENDED.to_owned(), payload::json(&Ended { step, result }))?;
    }
    Ok(Within::Done)
}

fn tell(turn: &mut Turn, to: Address, method: String, input: Payload) -> Result<(), Failure> {
    input.check_size("message")?;
    Ok(turn.tell(to, method, input)?)
}

fn answered(step: String, sent: Result<(), Failure>) -> Result<Within, Failure> {
    match sent {
        Ok(()) => Ok(Within::Event(Event::Done { step, result: serde_json::Value::Null })),
        // The turn is full, and not what is told wrong.
        Err(failure) if failure.code == Code::PayloadTooLarge => Err(failure),
        Err(failure) => Ok(failed(step, &failure)),
    }
}

fn failed(step: String, failure: &Failure) -> Within {
    Within::Event(Event::Failed { step, error: error(failure) })
}

/// A failure as the run knows it.
pub(crate) fn error(failure: &Failure) -> Error {
    Error::new(failure.code.as_str(), failure.message.clone())
}

/// An agent of the run's tenant that a flow may reach.
fn address(turn: &Turn, kind: &str, key: &str, method: &str) -> Result<Address, Failure> {
    agent(&turn.address().tenant, kind, key, method)
}

/// An agent of a tenant that a flow may reach with this method.
pub(crate) fn agent(tenant: &Name, kind: &str, key: &str, method: &str) -> Result<Address, Failure> {
    let invalid = |e: stride_ids::InvalidName| Failure::new(Code::InvalidRequest, e.to_string());
    let kind = Name::new(kind).map_err(invalid)?;
    if kind.is_private() || is_private_method(method) {
        let message = format!("`{method}` of agents of type `{kind}` belongs to the platform");
        return Err(Failure::new(Code::CapabilityDenied, message));
    }
    Ok(Address { tenant: tenant.clone(), kind, key: AgentKey::new(key).map_err(invalid)? })
}

/// The run that a step of another one begins: always the same.
fn child(parent: &Address, flow: &str, step: &str) -> Result<Address, Failure> {
    let flow = Name::new(flow).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
    let hash = blake3::hash(format!("{}\n{step}", parent.key).as_bytes()).to_hex();
    head::address(&parent.tenant, &flow, &format!("of-{}", &hash[..32]))
}

/// How rows begin that say which run a step has begun.
pub(crate) const BEGUN: &str = "sub/";

/// The row that says which run a step has begun.
pub(crate) fn begun(step: &str) -> String {
    format!("{BEGUN}{step}")
}

/// What the agent's timer is called; a step's id may be longer than such a name.
fn timer_name(timer: &str) -> String {
    let hash = blake3::hash(timer.as_bytes()).to_hex();
    format!("t-{}", &hash[..32])
}
