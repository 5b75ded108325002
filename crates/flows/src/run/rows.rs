//! What a run is: rows, and what is in them.
//!
//! ```text
//! run             how it stands                       c/SEQ        what would undo a node that has succeeded, the last first
//! f/FRAME         a graph that is going on            in/FRAME     its input
//! v/FRAME/NODE    the value of a node                 n/STEP       a node that is going on
//! x/JOB           a command that is out               t/TIMER      a timer that is set
//! p/STEP/...      items, states and parts of a node   o/STEP/...   what it gives
//! b/STEP/BATCH    items that are tried again          m/NODE       what a node took
//! w/STEP          who waits for an event              e/SEQ, s/ID  events that came early, and that came at all
//! ```
//! Numbers in names are 16 hex digits, so rows lie in their order.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stride_ids::Failure;

use super::{
    command::{Command, Error},
    row::{Content, Row, broken},
};

/// Where the rows of a run are kept. One `advance` reads what it wrote itself; whoever implements this makes all of it durable at once.
pub trait Rows {
    /// A row.
    fn get(&self, key: &str) -> Result<Option<Row>, Failure>;
    /// Writes a row.
    fn put(&mut self, key: &str, row: Row) -> Result<(), Failure>;
    /// Removes a row, if it is there.
    fn delete(&mut self, key: &str) -> Result<(), Failure>;
    /// Rows whose keys begin with `prefix`, behind `after`, in order, so many at most.
    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, Failure>;
}

/// A value at rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stored {
    Json(Value),
    Pages(Pages),
}

/// A list that lies in rows, a page each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pages {
    pub(super) prefix: String,
    pub(super) pages: u64,
    pub(super) items: u64,
    pub(super) bytes: u64,
    /// The object that has all of it, if somebody needed one.
    pub(super) object: Option<Value>,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on.
    Running,
    /// It has a result.
    Done(Value),
    /// It has failed.
    Failed(Error),
    /// It was cancelled.
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) id: String,
    pub(super) plan: String,
    pub(super) started_ms: u64,
    pub(super) state: State,
    pub(super) is_cancelled: bool,
    /// Counts what has to be told apart or lie in order.
    pub(super) seq: u64,
}

/// Who is told of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    Run,
    Task {
        step: String,
        slot: Slot,
    },
    Undo {
        frame: String,
        key: String,
    },
    /// A graph whose value, a long list, has to become an object before it can end.
    Ending {
        frame: String,
        key: String,
    },
}

/// Which part of a node a result belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Slot {
    /// All of it.
    Whole,
    /// An item, a batch of them, a group, or a round.
    Part(u64),
    Branch(String),
    /// What is done instead of its failure.
    Catch,
    /// The large value of this size goes to an object.
    Spill,
    /// A list that it needs as a value goes to an object.
    Collect(String),
    /// It goes on after so much that somebody else should have a turn.
    More,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    pub(super) graph: usize,
    pub(super) owner: Owner,
    /// How many nodes have no value yet.
    pub(super) left: usize,
    /// Whether `succeed` ends it.
    pub(super) is_scope: bool,
    pub(super) failing: Option<Error>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) frame: String,
    pub(super) graph: usize,
    pub(super) index: usize,
    pub(super) attempt: u32,
    /// How often each rule of `retry` was used.
    pub(super) retried: Vec<u32>,
    pub(super) progress: Progress,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    /// It waits for one result.
    One,
    /// It waits until it is tried again.
    Backoff,
    Each(Walk),
    Reduce(Fold),
    Round(u64),
    /// So many branches are out.
    Parallel(usize),
}

/// How far a walk over items is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Walk {
    pub(super) items: Pages,
    /// Where the next item is.
    pub(super) page: u64,
    pub(super) offset: usize,
    pub(super) index: u64,
    pub(super) batches: u64,
    pub(super) in_flight: u32,
    pub(super) failed: u64,
    pub(super) given: u64,
    pub(super) given_bytes: u64,
    pub(super) is_read: bool,
}

/// How far a fold is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Fold {
    pub(super) level: u64,
    pub(super) groups: u64,
    pub(super) next: u64,
    pub(super) in_flight: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) owner: Owner,
    pub(super) command: Command,
    pub(super) node: String,
    pub(super) at_ms: u64,
    pub(super) bytes_in: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Timer {
    pub(super) at_ms: u64,
    pub(super) what: Due,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Due {
    RunTimeout,
    Timeout { step: String },
    Retry { step: String },
    Wait { step: String },
    Batch { step: String, batch: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Undo {
    pub(super) frame: String,
    pub(super) graph: usize,
    pub(super) index: usize,
    pub(super) input: Value,
    pub(super) result: Value,
}

pub(super) fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}/{number:016x}")
}

pub(super) fn load<T: Content>(rows: &dyn Rows, key: &str) -> Result<Option<T>, Failure> {
    rows.get(key)?.map(|row| row.value(key)).transpose()
}

pub(super) fn need<T: Content>(rows: &dyn Rows, key: &str) -> Result<T, Failure> {
    load(rows, key)?.ok_or_else(|| broken(key, "it is not there"))
}

pub(super) fn save<T: Content>(rows: &mut dyn Rows, key: &str, value: &T) -> Result<(), Failure> {
    rows.put(key, Row::of(value.clone()))
}

/// How many rows are read at a time.
const PAGE: usize = 256;

/// Does something with every row under a prefix, a few at a time.
pub(super) fn for_all(
    rows: &mut dyn Rows,
    prefix: &str,
    mut act: impl FnMut(&mut dyn Rows, &str, &Row) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let page = rows.scan(prefix, after.as_deref(), PAGE)?;
        for (key, row) in &page {
            if !act(rows, key, row)? {
                return Ok(());
            }
        }
        match page.len() {
            PAGE.. => after = page.into_iter().last().map(|(last, _)| last),
            _ => return Ok(()),
        }
    }
}
