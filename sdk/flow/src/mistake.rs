//! What is wrong with a flow as it was written.

use std::{fmt, panic::Location};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line of the program that made it: `file:line:column`.
    pub at: String,
    /// What is wrong, and what to do.
    pub what: String,
}

/// All that is wrong with a flow, in the order of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub(crate) Vec<Mistake>);

impl Mistakes {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl Mistake {
    pub(crate) fn at(at: &Location<'_>, what: impl Into<String>) -> Self {
        Self { at: at.to_string(), what: what.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
