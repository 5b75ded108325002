//! From what went wrong inside a guest to what its caller sees.

use std::time::Duration;

use rustc_demangle::demangle;
use stride_ids::{Code, Failure};
use wasmtime::{Trap, WasmBacktrace};

use crate::bindings::stride::guest::types as wit;

/// A host call that the guest was not entitled to or that could not be served. It ends the run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) Failure);

/// What is known about a run that ended in an error.
pub(crate) struct Ended<'a> {
    pub(crate) error: &'a wasmtime::Error,
    /// The memory that was refused to the guest, if any was.
    pub(crate) memory_refused: Option<usize>,
    pub(crate) memory_max: usize,
    /// The last lines that the guest wrote to stderr; a panic leaves its message there.
    pub(crate) stderr: String,
}

/// Classifies the end of a run.
pub(crate) fn classify(ended: &Ended<'_>) -> Failure {
    let Ended { error, memory_refused, memory_max, stderr } = ended;
    if let Some(Refused(failure)) = error.downcast_ref() {
        return failure.clone();
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Failure::new(Code::Overloaded, "no room for another instance now; try again");
    }
    if let Some(wanted) = memory_refused {
        let message = format!(
            "the guest wanted {wanted} bytes of memory; its limit is {memory_max}. Raise `memory` in stride.toml, or use less{}",
            backtrace(error)
        );
        return Failure::new(Code::LimitMemory, message);
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Failure::new(Code::GuestTrap, format!("the guest ended itself with status {}", exit.0));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let cause = if stderr.is_empty() { trap.to_string() } else { stderr.clone() };
        return Failure::new(Code::GuestTrap, format!("the guest trapped: {cause}{}", backtrace(error)));
    }
    Failure::new(Code::GuestTrap, format!("the guest could not be run: {error}"))
}

/// Where in the guest it happened, innermost first, a line for each function; empty if that is not known. What a panic runs
/// through before it traps is left out.
fn backtrace(error: &wasmtime::Error) -> String {
    const FRAMES_MAX: usize = 24;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .map(|frame| frame.func_name().map_or("an unnamed function".to_owned(), |name| format!("{:#}", demangle(name))))
        .collect();
    let panicked = names.iter().rposition(|name| name.starts_with("core::panicking::"));
    let own = &names[panicked.map_or(0, |at| at + 1)..];
    own.iter().take(FRAMES_MAX).map(|name| format!("\n  in {name}")).collect()
}

/// The guest ran out of time.
pub(crate) fn out_of_time(limit: Duration) -> Failure {
    let message = format!("the guest ran for more than {limit:?}. Raise `timeout` in stride.toml, or do less per call");
    Failure::new(Code::LimitTime, message)
}

/// What a guest answered.
pub(crate) fn from_guest(failure: wit::Failure) -> Failure {
    let code = match failure.code {
        wit::Code::NotFound => Code::NotFound,
        wit::Code::InvalidRequest => Code::InvalidRequest,
        wit::Code::PayloadTooLarge => Code::PayloadTooLarge,
        wit::Code::GuestTrap => Code::GuestTrap,
        wit::Code::GuestError => Code::GuestError,
        wit::Code::LimitMemory => Code::LimitMemory,
        wit::Code::LimitTime => Code::LimitTime,
        wit::Code::CapabilityDenied => Code::CapabilityDenied,
        wit::Code::ReentrantCall => Code::ReentrantCall,
        wit::Code::Conflict => Code::Conflict,
        wit::Code::Overloaded => Code::Overloaded,
        wit::Code::DeadlineExceeded => Code::DeadlineExceeded,
        wit::Code::Unavailable => Code::Unavailable,
        wit::Code::Internal => Code::Internal,
    };
    Failure::new(code, failure.message)
}

/// What a guest is answered.
pub(crate) fn to_guest(failure: Failure) -> wit::Failure {
    let code = match failure.code {
        Code::NotFound => wit::Code::NotFound,
        Code::InvalidRequest => wit::Code::InvalidRequest,
        Code::PayloadTooLarge => wit::Code::PayloadTooLarge,
        Code::GuestTrap => wit::Code::GuestTrap,
        Code::GuestError => wit::Code::GuestError,
        Code::LimitMemory => wit::Code::LimitMemory,
        Code::LimitTime => wit::Code::LimitTime,
        Code::CapabilityDenied => wit::Code::CapabilityDenied,
        Code::ReentrantCall => wit::Code::ReentrantCall,
        Code::Conflict => wit::Code::Conflict,
        Code::Overloaded => wit::Code::Overloaded,
        Code::DeadlineExceeded => wit::Code::DeadlineExceeded,
        Code::Unavailable => wit::Code::Unavailable,
        _ => wit::Code::Internal,
    };
    wit::Failure { code, message: failure.message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_through_a_guest() {
        for code in Code::ALL {
            let failure = Failure::new(code, "why");
            assert_eq!(from_guest(to_guest(failure.clone())), failure);
        }
    }
}
