//! Failures with the platform's codes.

use std::{fmt, io};

use crate::bindings::stride::guest::types as wit;
pub use crate::bindings::stride::guest::types::Code;

/// Why a call or an ask failed: a stable code, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What a program decides on.
    pub code: Code,
    /// What a person reads.
    pub message: String,
}

impl Failure {
    /// A failure with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What reading an object answers is a failure of the platform's; everything else is the guest's own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::new(Code::GuestError, error.to_string()))
    }
}

impl From<wit::Failure> for Failure {
    fn from(failure: wit::Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}
