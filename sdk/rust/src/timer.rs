//! Timers: an agent tells itself something later.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use stride::{prelude::*, timer};
//!
//! # fn example() -> Result<(), Failure> {
//! timer::set("reminder", timer::after(Duration::from_secs(3600)), "remind", &"water the plants")?;
//! timer::set("beat", timer::every(Duration::from_secs(60)), "beat", &())?;
//! timer::set("report", timer::cron("0 8 * * 1"), "report", &())?;
//! timer::cancel("beat");
//! # Ok(())
//! # }
//! ```
//!
//! A timer is durable with the turn that sets it, fires also if it was due while the node was down, and each time takes
//! effect exactly once. Only an agent has timers, and only while it handles a message; a method that takes `&self` may
//! list them and not change them.

use std::time::Duration;

use serde::Serialize;

use crate::{agent::arguments_of, bindings::stride::guest::timers as host, failure::Failure};

/// When a timer fires.
#[derive(Clone, Debug)]
pub struct Schedule(host::Schedule);

/// Once, so long from now.
pub fn after(wait: Duration) -> Schedule {
    Schedule(host::Schedule::After(milliseconds(wait)))
}

/// Once, at this time in milliseconds since 1970.
pub fn at(time: u64) -> Schedule {
    Schedule(host::Schedule::At(time))
}

/// Again and again, so far apart.
pub fn every(period: Duration) -> Schedule {
    Schedule(host::Schedule::Every(milliseconds(period)))
}

/// Again and again, at the times in UTC that a cron expression with five or six fields names.
pub fn cron(expression: &str) -> Schedule {
    Schedule(host::Schedule::Cron(expression.to_owned()))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sets a timer, in place of the one of that name if there is one. When it is due, this agent is told `method` with these
/// arguments, which are as in [`Agent::ask`](crate::Agent::ask).
///
/// # Errors
/// `invalid_request` for a schedule that is never due.
pub fn set(name: &str, when: Schedule, method: &str, arguments: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
    Ok(host::set(name, &when.0, method, &arguments_of(method, arguments)?.into())?)
}

/// Cancels a timer; false if there was none of that name.
pub fn cancel(name: &str) -> bool {
    host::cancel(name)
}

/// A timer that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// When it is due next, in milliseconds since 1970.
    pub due: u64,
    /// The method that it will run.
    pub method: String,
}

/// The timers that are set, by name.
pub fn list() -> Vec<Timer> {
    host::list().into_iter().map(|host::Timer { name, due, method }| Timer { name, due, method }).collect()
}

/// What a timer says when it fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The timer's name.
    pub name: String,
    /// When it was due, in milliseconds since 1970.
    pub due: u64,
    /// How many times before this one passed without a message, because the node was down or the agent was busy.
    pub missed: u64,
}

/// The timer whose message is being handled; none if it is no timer's.
pub fn firing() -> Option<Firing> {
    host::current().map(|host::Firing { name, due, missed }| Firing { name, due, missed })
}
