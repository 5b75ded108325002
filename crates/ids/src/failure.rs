//! What a caller can see go wrong. A few codes, stable for ever, split by what the caller should do next.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// The stable code of a failure, the same text in HTTP problems, the guest's errors, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// There is nothing of that name. Check the name.
    NotFound,
    /// The request is wrong. Change it before sending it again.
    InvalidRequest,
    /// A payload is over its limit. Send less, or use objects.
    PayloadTooLarge,
    /// The guest panicked or trapped. The guest's code has to change.
    GuestTrap,
    /// The guest answered with an error of its own.
    GuestError,
    /// The guest needed more memory than its limit.
    LimitMemory,
    /// The guest ran longer than its limit.
    LimitTime,
    /// The guest used something that its manifest does not ask for.
    CapabilityDenied,
    /// An ask would come back to an agent that is waiting for it.
    ReentrantCall,
    /// The request contradicts what is stored, such as an idempotency key used for another request.
    Conflict,
    /// A bounded queue is full. Wait, then try again.
    Overloaded,
    /// The caller's deadline passed before the answer was there. The work may still have been done.
    DeadlineExceeded,
    /// The node cannot do this now (it drains, its disk is full). Try again later or elsewhere.
    Unavailable,
    /// A bug or damage in Stride itself.
    Internal,
}

impl Code {
    /// Every code, for documentation and for tests that walk them.
    pub const ALL: [Self; 14] = [
        Self::NotFound,
        Self::InvalidRequest,
        Self::PayloadTooLarge,
        Self::GuestTrap,
        Self::GuestError,
        Self::LimitMemory,
        Self::LimitTime,
        Self::CapabilityDenied,
        Self::ReentrantCall,
        Self::Conflict,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::InvalidRequest => "invalid_request",
            Self::PayloadTooLarge => "payload_too_large",
            Self::GuestTrap => "guest_trap",
            Self::GuestError => "guest_error",
            Self::LimitMemory => "limit_memory",
            Self::LimitTime => "limit_time",
            Self::CapabilityDenied => "capability_denied",
            Self::ReentrantCall => "reentrant_call",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure as its caller sees it: a stable code, and a message that says what happened and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// What the caller's program decides on.
    pub code: Code,
    /// What a person reads.
    pub message: String,
}

impl Failure {
    /// A failure with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `not_found`, naming the nearest of the names that do exist.
    pub fn not_found(what: &str, name: &str, known: Option<&str>) -> Self {
        let hint = known.map(|k| format!("; did you mean `{k}`?")).unwrap_or_default();
        Self::new(Code::NotFound, format!("there is no {what} `{name}`{hint}"))
    }
}

/// An error with all its causes, each said once, on one line: for people who see nothing else of it.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_text() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
