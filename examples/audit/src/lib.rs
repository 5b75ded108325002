//! Counts the unsafe code of crates: a function parses one file, an agent per crate keeps the totals.

mod count;

use serde::{Deserialize, Serialize};
use stride::prelude::*;

use crate::count::{Figures, count};

/// What was found in one file. A file that does not parse is reported, not dropped.
#[derive(Serialize, Deserialize)]
struct Report {
    path: String,
    parsed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    figures: Figures,
}

/// Parses the file that is the body, and has the agent of its crate record what was found. The content type names the
/// file: `application/octet-stream; path="serde-1.0.0/src/lib.rs"`; its first part is the crate.
#[stride::function]
fn file(source: Payload) -> Result<Report, Failure> {
    let invalid = |why: &str| Failure::new(Code::InvalidRequest, why);
    let path = source.param("path").ok_or_else(|| invalid("the content type has no parameter `path`"))?;
    let (name, rest) = path.split_once('/').ok_or_else(|| invalid("`path` has to begin with the crate's directory"))?;
    let report = match std::str::from_utf8(&source.body) {
        Ok(text) => inspect(&path, text),
        Err(e) => Report { path: path.clone(), parsed: false, error: Some(e.to_string()), figures: Figures::default() },
    };
    let entry = Entry { figures: report.figures, error: report.error.clone() };
    stride::agent("crate", name).ask::<()>("record", &(rest, entry))?;
    Ok(report)
}

fn inspect(path: &str, text: &str) -> Report {
    let (figures, error) = match count(text) {
        Ok(figures) => (figures, None),
        Err((lines, error)) => (Figures { lines, ..Figures::default() }, Some(error)),
    };
    Report { path: path.to_owned(), parsed: error.is_none(), error, figures }
}

/// The totals of one crate. Each file is an entry of the keyed map, so recording a file again replaces it.
#[derive(Default, Serialize, Deserialize)]
struct Crate {
    files: u64,
    unparsed: u64,
    total: Figures,
}

/// What is kept of one file.
#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    figures: Figures,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[stride::agent]
impl Crate {
    fn record(&mut self, path: String, entry: Entry) -> Result<(), Failure> {
        if let Some(before) = state::get::<Entry>(&path)? {
            self.files -= 1;
            self.unparsed -= u64::from(before.error.is_some());
            self.total.subtract(&before.figures);
        }
        self.files += 1;
        self.unparsed += u64::from(entry.error.is_some());
        self.total.add(&entry.figures);
        state::set(&path, &entry)
    }

    fn totals(&self) -> Totals {
        Totals { files: self.files, unparsed: self.unparsed, total: self.total }
    }

    /// The files that did not parse, with the reason.
    fn unparsed(&self) -> Result<Vec<(String, String)>, Failure> {
        let failed = |entry: Result<(String, Entry), Failure>| {
            entry.map(|(path, entry)| entry.error.map(|error| (path, error))).transpose()
        };
        state::scan("").filter_map(failed).collect()
    }
}

#[derive(Serialize)]
struct Totals {
    files: u64,
    unparsed: u64,
    #[serde(flatten)]
    total: Figures,
}
