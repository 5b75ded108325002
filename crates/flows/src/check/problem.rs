//! What is wrong with a draft.

use std::fmt;

use serde::Serialize;

use crate::limits::PROBLEMS_MAX;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where, as a JSON pointer into the artefact.
    pub at: String,
    /// What.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// All that is wrong with a draft. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Refuses if something was found, with all of it in the order of the artefact. For front ends, which find problems of their own.
    pub fn refuse(mut found: Vec<Problem>) -> Result<(), Self> {
        found.sort();
        found.dedup();
        found.truncate(PROBLEMS_MAX);
        if found.is_empty() { Ok(()) } else { Err(Self(found)) }
    }

    /// One after the other, in the order of the artefact.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "/" } else { &self.at };
        write!(f, "{at}: {}; {}", self.what, self.remedy)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The nearest of some names, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes time in proportion to both lengths.
    let name: String = name.chars().take(128).collect();
    let near = names.into_iter().map(|known| (strsim::damerau_levenshtein(&name, known), known)).min()?;
    (near.0 <= 1 + name.chars().count() / 3).then_some(near.1)
}
