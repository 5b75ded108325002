//! From a draft to a program: whether its edges lead somewhere, its types fit, its functions exist, and its limits hold.
//!
//! Always true: all problems are told at once (up to [`PROBLEMS_MAX`]), each with its place as a JSON pointer and with what to do; nothing here panics,
//! whatever it is given.

mod bodies;
mod graph;
mod ops;
mod policies;
mod problem;
mod read;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use graph::order;
pub(crate) use problem::nearest;
pub use problem::{Problem, Problems};

use crate::{
    catalog::{Catalog, Effect, Function},
    ir::{Draft, VERSION},
    limits::{NODES_MAX, PROBLEMS_MAX, TIME_MS_MAX},
    schema::Schema,
};

/// A flow that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(crate) draft: Draft,
    pub(crate) facts: BTreeMap<String, Facts>,
    pub(crate) functions: BTreeMap<String, Function>,
    pub(crate) output: Schema,
}

/// What was found out about a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// What its input looks like.
    pub input: Schema,
    /// What its value looks like.
    pub output: Schema,
    /// All that it may do, whatever is inside of it included.
    pub effects: BTreeSet<Effect>,
}

impl Program {
    /// As it was written.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// What was found out about the node at this place, such as `/graph/nodes/pay`.
    pub fn facts(&self, pointer: &str) -> Option<&Facts> {
        self.facts.get(pointer)
    }

    /// What its result looks like.
    pub fn output(&self) -> &Schema {
        &self.output
    }

    /// What names this program: the hash of what was written.
    pub fn digest(&self) -> String {
        blake3::hash(&serde_json::to_vec(&self.draft).unwrap_or_default()).to_hex().to_string()
    }
}

impl Draft {
    /// Reads an artefact. Of what cannot be read, every node says its own problem.
    pub fn read(json: &[u8]) -> Result<Self, Problems> {
        read::read(json)
    }

    /// Checks it against what there is.
    pub fn check(self, catalog: &dyn Catalog) -> Result<Program, Problems> {
        let mut checker =
            Checker { catalog, problems: Vec::new(), facts: BTreeMap::new(), functions: BTreeMap::new(), nodes: 0 };
        if self.version != VERSION {
            let what = format!("version {} is not known", self.version);
            checker.problem("/version", what, format!("write {VERSION}"));
        }
        if let Some(ms) = self.timeout_ms {
            checker.between("/timeout_ms", ms, 1, TIME_MS_MAX);
        }
        let found = checker.graph("/graph", &self.graph, None, 1);
        if checker.nodes > NODES_MAX {
            let what = format!("{} nodes are too many", checker.nodes);
            checker.problem("/graph", what, format!("a flow has at most {NODES_MAX}; put a part into a subflow"));
        }
        let Checker { problems, facts, functions, .. } = checker;
        if problems.is_empty() {
            Ok(Program { draft: self, facts, functions, output: found.output })
        } else {
            Err(Problems(problems))
        }
    }
}

/// What is found out while a draft is walked.
struct Checker<'a> {
    catalog: &'a dyn Catalog,
    problems: Vec<Problem>,
    facts: BTreeMap<String, Facts>,
    functions: BTreeMap<String, Function>,
    nodes: usize,
}

/// What something gives and may do.
#[derive(Clone, Debug, Default)]
struct Found {
    output: Schema,
    effects: BTreeSet<Effect>,
}

impl Found {
    fn pure(output: Schema) -> Self {
        Self { output, effects: BTreeSet::new() }
    }

    fn with(output: Schema, effect: Effect) -> Self {
        Self { output, effects: [effect].into() }
    }
}

impl Checker<'_> {
    fn problem(&mut self, at: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { at: at.to_owned(), what: what.into(), remedy: remedy.into() });
        }
    }

    fn between<T: PartialOrd + std::fmt::Display + Copy>(&mut self, at: &str, given: T, min: T, max: T) {
        // Not `<` and `>`, because what is no number is not between either.
        if !(given >= min && given <= max) {
            self.problem(at, format!("{given} is out of range"), format!("take {min} to {max}"));
        }
    }

    /// Tells of a name that is not there, with the nearest that is.
    fn unknown(&mut self, at: &str, what: &str, name: &str) {
        let names = self.catalog.names();
        let remedy = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "deploy it first, or name one that is".to_owned(),
        };
        self.problem(at, format!("there is no {what} `{name}`"), remedy);
    }
}
