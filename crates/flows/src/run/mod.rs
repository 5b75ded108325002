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
mod moving;
mod reduce;
mod rounds;
mod row;
mod rows;
mod task;
mod undo;
mod values;
mod work;

use serde_json::{Value, json};
use stride_ids::{Code, Failure};

pub use command::{Call, Command, Content, Error, Event, Item, Message, Outcome, ReadFrom};
pub use execution::{Execution, Need};
pub use moving::move_to;
pub use row::Row;
pub use rows::{Rows, State};

use crate::plan::{Measure, Measures, Plan};
use machine::Machine;
use rows::{Header, Job, Stored, Timer, for_all, load};

/// How many rows are read at a time when commands are looked for.
const OUTSTANDING_PAGE: usize = 64;

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
    for_all(rows, "x/", |_, key, row| {
        commands.push(row.value::<Job>(key)?.command);
        Ok(true)
    })?;
    for_all(rows, "t/", |_, key, row| {
        let timer: Timer = row.value(key)?;
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

/// Commands that are out, those of the steps behind `after`, until they have so many bytes; at least one if there is one. Timers are not among them.
pub fn outstanding_after(rows: &dyn Rows, after: Option<&str>, bytes_max: usize) -> Result<Vec<Command>, Failure> {
    let (mut commands, mut bytes) = (Vec::new(), 0);
    let mut after = after.map(|step| format!("x/{step}"));
    loop {
        let page = rows.scan("x/", after.as_deref(), OUTSTANDING_PAGE)?;
        let is_last = page.len() < OUTSTANDING_PAGE;
        for (key, row) in page {
            commands.push(row.value::<Job>(&key)?.command);
            bytes += row.bytes()?.len();
            if bytes >= bytes_max {
                return Ok(commands);
            }
            after = Some(key);
        }
        if is_last {
            return Ok(commands);
        }
    }
}

/// The command that is out under this step.
pub fn command(rows: &dyn Rows, step: &str) -> Result<Option<Command>, Failure> {
    Ok(load::<Job>(rows, &format!("x/{step}"))?.map(|job| job.command))
}

/// A page of a list that [`Content::Pages`] names.
pub fn page(rows: &dyn Rows, prefix: &str, number: u64) -> Result<Vec<Value>, Failure> {
    rows::need(rows, &rows::numbered(prefix, number))
}

/// What waits for a moment or an event, so many at most.
pub fn waits(rows: &dyn Rows, limit: usize) -> Result<Vec<Wait>, Failure> {
    let mut all = Vec::new();
    for (key, row) in rows.scan("w/", None, limit)? {
        let name: String = row.value(&key)?;
        all.push(Wait::Event { step: key[2..].to_owned(), name });
    }
    for (key, row) in rows.scan("t/", None, limit.saturating_sub(all.len()))? {
        let timer: Timer = row.value(&key)?;
        if let rows::Due::Wait { step } = timer.what {
            all.push(Wait::Timer { step, at_ms: timer.at_ms });
        }
    }
    Ok(all)
}

/// What a `wait` waits for that nobody is commanded to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// An event.
    Event {
        /// The step.
        step: String,
        /// The event's name.
        name: String,
    },
    /// A moment.
    Timer {
        /// The step.
        step: String,
        /// When.
        at_ms: u64,
    },
}

/// How a run stands. `None`: it has not begun.
pub fn state(rows: &dyn Rows) -> Result<Option<State>, Failure> {
    Ok(load::<Header>(rows, "run")?.map(|header| header.state))
}

/// What a run's nodes took so far, for whoever explains the plan.
pub fn measures(rows: &mut dyn Rows) -> Result<Measures, Failure> {
    let mut all = Measures::new();
    for_all(rows, "m/", |_, key, row| {
        all.insert(key[2..].to_owned(), row.value::<Measure>(key)?);
        Ok(true)
    })?;
    Ok(all)
}

/// Values of the nodes of the run's own graph that are done, for whoever looks at it. Of a long list, how long it is.
pub fn values(rows: &dyn Rows, after: Option<&str>, limit: usize) -> Result<Vec<(String, Value)>, Failure> {
    let after = after.map(|name| format!("v//{name}"));
    let page = rows.scan("v//", after.as_deref(), limit)?;
    page.into_iter()
        .map(|(key, row)| {
            let value = match row.value(&key)? {
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
