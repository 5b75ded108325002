//! Amazon States Language: existing state machines become drafts of flows.
//!
//! ```text
//! state machine (JSONPath) + Resources ── read ─► Draft ── check ─► Program ─► Plan ─► run
//!                                          └► Problems: what is not covered, each with place and remedy
//! ```
//! Always true: a field is either translated or refused; none is dropped. A chain of states is a chain of nodes; states that lead back to
//! themselves are an `iterate` over a `branch`. What is covered is in `docs/states-language.md`.
//!
//! Not here: checking types and functions, which `Draft::check` does for every front end.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod chain;
mod choice;
mod errors;
mod flow;
mod intrinsic;
mod reader;
mod scope;
mod state;
mod template;

use std::collections::BTreeMap;

use stride_flows::{
    Draft, NodeName, Problems,
    ir::{Graph, VERSION},
    limits::FLOW_BYTES_MAX,
};

use reader::Reader;

/// Which function is meant by a resource of a state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, String>);

impl Resources {
    /// From a resource, such as the ARN or the name of a Lambda function, to `component/function`.
    pub fn function(&self, resource: &str) -> Option<&str> {
        self.0.get(resource).map(String::as_str)
    }
}

impl<R: Into<String>, F: Into<String>> FromIterator<(R, F)> for Resources {
    fn from_iter<T: IntoIterator<Item = (R, F)>>(all: T) -> Self {
        Self(all.into_iter().map(|(resource, function)| (resource.into(), function.into())).collect())
    }
}

/// Reads a state machine. The draft is called `machine`, because the language has no name for it; whoever has one sets it.
pub fn read(machine: &[u8], resources: &Resources) -> Result<Draft, Problems> {
    let mut reader = Reader::new(resources);
    let draft = whole(&mut reader, machine);
    Problems::refuse(reader.problems)?;
    Ok(draft)
}

/// What is read. If it is not all, the reader has a problem.
fn whole(reader: &mut Reader<'_>, machine: &[u8]) -> Draft {
    let name = NodeName::new("machine").unwrap_or_else(|_| NodeName::input());
    let mut draft = Draft { version: VERSION, name, title: None, graph: Graph::default(), timeout_ms: None, slo: None };
    if machine.len() > FLOW_BYTES_MAX {
        reader.problem("", format!("{} bytes are too many", machine.len()), "a machine has at most 2 MiB; split it");
        return draft;
    }
    let value: serde_json::Value = match serde_json::from_slice(machine) {
        Ok(value) => value,
        Err(e) => {
            reader.problem("", format!("this is no JSON: {e}"), "correct it at that line");
            return draft;
        }
    };
    let Some(fields) = reader.fields(&value, String::new()) else { return draft };
    reader.known(&fields, &["Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage"]);
    reader.query_language(&fields);
    if let Some(version) = reader.text(&fields, "Version").filter(|version| *version != "1.0") {
        reader.problem(&fields.at("Version"), format!("version {version} is not known"), "write 1.0");
    }
    draft.timeout_ms = reader.seconds(&fields, "TimeoutSeconds");
    draft.title = reader.text(&fields, "Comment").map(str::to_owned);
    draft.graph = reader.scope(&fields, 1).unwrap_or_default();
    draft
}
