//! What a node says of itself, and what the others see of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stride_ids::{CellId, Incarnation, Name};

/// The name of a node. It keeps it over restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub Name);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Labels that data demands, by name and value. Unlike a node, the data of several buckets may have two values of a name.
pub type Labels = BTreeSet<(String, String)>;

/// What a node says when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: NodeName,
    /// This start of it: what it owns cells with.
    pub incarnation: Incarnation,
    /// Its data directory, in words that no other directory has (see [`home_of`](crate::home_of)); none if it is not locked.
    pub home: Option<String>,
    /// Where requests of users go.
    pub http: String,
    /// Where other nodes reach it.
    pub peer: String,
    /// What its operator says about it.
    pub labels: BTreeMap<String, String>,
    /// What an hour of one of its cores costs, in millionths.
    pub price: u64,
    /// Its cores: how much it is to own, against the others.
    pub cores: u32,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// The release that it runs.
    pub release: String,
}

impl NodeSpec {
    /// Which of these labels it does not carry.
    pub fn lacks<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a (String, String)> {
        labels.iter().filter(|(name, value)| self.labels.get(name) != Some(value))
    }
}

/// How much a node has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Agents in memory.
    pub agents: u64,
    /// Turns and calls that wait.
    pub queue: u64,
    /// What is known of its cells.
    pub cells: Vec<CellLoad>,
}

/// How much there is in a cell, and to do in it, and where its agents' data may be. What its owner does not know yet stays as the owner
/// before said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellLoad {
    /// Which cell.
    pub cell: CellId,
    /// Its state, in bytes.
    pub bytes: Option<u64>,
    /// How busy its turns keep a core, in thousandths, over the last minute or so.
    pub busy: Option<u32>,
    /// What a node has to carry for its agents to reach the data that they use. Its owner knows that all the time, because it begins with
    /// what the owner before said (see [`Takeover`](crate::Takeover)).
    pub labels: Labels,
}

impl Load {
    /// The state of all its cells, in bytes.
    pub fn bytes(&self) -> u64 {
        self.cells.iter().filter_map(|cell| cell.bytes).sum()
    }
}

/// A node as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// What it said when it joined.
    pub spec: NodeSpec,
    /// How long ago its last beat was, by the database's clock.
    pub silent: Duration,
    /// It was declared dead and has not come back.
    pub dead: bool,
    /// It is to own nothing more.
    pub draining: bool,
    /// Cells that it owned with its last beat.
    pub cells: u32,
    /// Agents in memory.
    pub agents: u64,
    /// Turns and calls that wait.
    pub queue: u64,
    /// The state of its cells, in bytes.
    pub bytes: u64,
    /// The newest deployment that it has loaded.
    pub deployed: u64,
}

impl NodeRow {
    /// Whether it may be given cells.
    pub fn is_open(&self) -> bool {
        !self.dead && !self.draining
    }
}
