//! A run: a state machine over rows.
//!
//! ```text
//! Started, Done, Failed, Fired, ... ─► advance(plan, rows, now, event) ─► Call, Ask, Timer, Finish, ...
//!                                            │
//!                                          rows: all that a run is
//! ```
//! Always true: a run can be dropped and loaded between any two events. A step that is out is a row; an event about a step whose row is not there changes nothing, so
//! what comes twice counts once. A step's id says where it is and which attempt it is, and no id is used twice. What one event changes does not grow with a fan-out.
//!
//! Not here: doing what commands say. Whoever drives a run stores the rows first and then does it, and after a crash does what [`outstanding`] says.

mod command;
mod each;
mod execution;
mod machine;
mod reduce;
mod rounds;
mod rows;
mod task;
mod undo;
mod values;
mod work;

use serde_json::{Value, json};
use stride_ids::{Code, Failure};

pub use command::{Call, Command, Content, Error, Event, Item, Message, Outcome, ReadFrom};
pub use execution::{Execution, Need};
pub use rows::{Rows, State};

use crate::plan::{Measure, Measures, Plan};
use machine::Machine;
use rows::{Header, Job, Stored, Timer, for_all, load};

/// What an event changes, and what is to be done then. If this fails, nothing of what it wrote may be kept.
pub fn advance(plan: &Plan, rows: &mut dyn Rows, now_ms: u64, event: Event) -> Result<Vec<Command>, Failure> {
    let mut machine = Machine::load(plan, rows, now_ms, &event)?;
    machine.take(event)?;
    machine.settle()?;
    machine.store()
}

/// All that is out, after a crash: commands without an answer, and timers. Whoever finds that one of them is done says so as before.
pub fn outstanding(rows: &mut dyn Rows) -> Result<Vec<Command>, Failure> {
    let mut commands = Vec::new();
    for_all(rows, "x/", |_, key, bytes| {
        let job: Job = serde_json::from_slice(bytes).map_err(|e| rows::broken(key, &e.to_string()))?;
        commands.push(job.command);
        Ok(true)
    })?;
    for_all(rows, "t/", |_, key, bytes| {
        let timer: Timer = serde_json::from_slice(bytes).map_err(|e| rows::broken(key, &e.to_string()))?;
        commands.push(Command::Timer { timer: key[2..].to_owned(), at_ms: timer.at_ms });
        Ok(true)
    })?;
    match load::<Header>(rows, "run")?.map(|header| header.state) {
        Some(State::Done(result)) => commands.push(Command::Finish { result }),
        Some(State::Failed(error)) => commands.push(Command::Fail { error }),
        Some(State::Cancelled) => commands.push(Command::Fail { error: cancelled() }),
        Some(State::Running) | None => {}
    }
    Ok(commands)
}

/// How a run stands. `None`: it has not begun.
pub fn state(rows: &dyn Rows) -> Result<Option<State>, Failure> {
    Ok(load::<Header>(rows, "run")?.map(|header| header.state))
}

/// What a run's nodes took so far, for whoever explains the plan.
pub fn measures(rows: &mut dyn Rows) -> Result<Measures, Failure> {
    let mut all = Measures::new();
    for_all(rows, "m/", |_, key, bytes| {
        let measure: Measure = serde_json::from_slice(bytes).map_err(|e| rows::broken(key, &e.to_string()))?;
        all.insert(key[2..].to_owned(), measure);
        Ok(true)
    })?;
    Ok(all)
}

/// Values of the nodes of the run's own graph that are done, for whoever looks at it. Of a long list, how long it is.
pub fn values(rows: &dyn Rows, after: Option<&str>, limit: usize) -> Result<Vec<(String, Value)>, Failure> {
    let after = after.map(|name| format!("v//{name}"));
    let page = rows.scan("v//", after.as_deref(), limit)?;
    page.into_iter()
        .map(|(key, bytes)| {
            let value = match serde_json::from_slice(&bytes).map_err(|e| rows::broken(&key, &e.to_string()))? {
                Stored::Json(value) => value,
                Stored::Pages(pages) => json!({ "items": pages.items, "bytes": pages.bytes, "object": pages.object }),
            };
            Ok((key[3..].to_owned(), value))
        })
        .collect()
}

fn cancelled() -> Error {
    Error::new("cancelled", "the run was cancelled")
}

fn pinned(header: &Header, plan: &Plan) -> Result<(), Failure> {
    if header.plan == plan.id {
        return Ok(());
    }
    Err(Failure::new(Code::Conflict, "this run is pinned to another plan; load the one that it began with"))
}
