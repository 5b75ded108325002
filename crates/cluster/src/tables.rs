//! The contract of the tables that nodes share. [`PostgresTables`](crate::PostgresTables) and
//! [`memory::MemoryTables`](crate::memory::MemoryTables) keep it, and run the same tests (`tests/tables`).

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use stride_ids::{CellId, DatabaseId, Epoch, Incarnation, Name};

use crate::{Change, Labels, Load, Map, NodeName, NodeRow, NodeSpec, Place};

/// What nodes know together. Each call is one transaction: it has happened wholly or not at all, but whoever gets an error does
/// not know which. So every call can be made again.
pub trait Tables: Send + Sync + 'static {
    /// Joins, and is alive from now on for `lease` after each beat. The same incarnation may join again.
    ///
    /// # Errors
    /// [`Error::NameInUse`] while another node of that name is alive. It is not, if its lease is over, if it left, or if it had
    /// the same home: whoever holds the lock on a directory knows that the process that held it before has ended, so
    /// nothing can be read from that one any more, whatever its lease says.
    fn join<'a>(&'a self, spec: &'a NodeSpec, lease: Duration) -> BoxFuture<'a, Result<(), Error>>;

    /// Says that a node is alive, and gets to know whether there are news.
    ///
    /// # Errors
    /// [`Error::Dead`] if it was declared dead: it joins again after it has given up all its cells. [`Error::Replaced`] if
    /// another has its name.
    fn beat<'a>(&'a self, pulse: &'a Pulse) -> BoxFuture<'a, Result<News, Error>>;

    /// All that there is to know.
    fn world(&self) -> BoxFuture<'_, Result<World, Error>>;

    /// Takes or keeps the lease for reconciling, for `lease`; none if another node has it. With it, and if `judge` is set, all
    /// nodes whose lease is over are declared dead, and counted; unless this node itself was silent for long just now,
    /// because then it was the database that was away.
    fn reconcile(
        &self,
        incarnation: Incarnation,
        lease: Duration,
        judge: bool,
    ) -> BoxFuture<'_, Result<Option<usize>, Error>>;

    /// Writes who is to own what, if nobody has since the world had `version`, and this node has the lease for it: whether it
    /// was written.
    fn want<'a>(
        &'a self,
        incarnation: Incarnation,
        version: u64,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Has cells owned by a node, whenever it is there, until they are unpinned. Cells that do not exist are passed over.
    ///
    /// # Errors
    /// [`Error::UnknownNode`].
    fn pin<'a>(&'a self, cells: &'a [CellId], node: &'a NodeName) -> BoxFuture<'a, Result<(), Error>>;

    /// Lets cells be moved again.
    fn unpin<'a>(&'a self, cells: &'a [CellId]) -> BoxFuture<'a, Result<(), Error>>;

    /// Has the tails of cells brought to a database, by whoever owns them. Cells that do not exist are passed over.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`].
    fn send_tails<'a>(&'a self, cells: &'a [CellId], to: DatabaseId) -> BoxFuture<'a, Result<(), Error>>;

    /// Which of these cells this node still has, with these epochs. Nobody can have taken one of them in secret before this
    /// was asked, also not on a primary that has been replaced in the meantime: so this is a write.
    fn confirm<'a>(
        &'a self,
        incarnation: Incarnation,
        cells: &'a [(CellId, Epoch)],
    ) -> BoxFuture<'a, Result<Vec<CellId>, Error>>;

    /// Leaves: the name is free, whatever it still owns can be taken over, and another node may reconcile.
    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'_, Result<(), Error>>;

    /// Adds what is deployed for a component, if the newest that there is for it is `expected`, and returns its number. Later
    /// deployments have higher numbers, and whoever has seen one has seen all before it.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the newest.
    fn deploy<'a>(&'a self, deployment: &'a Deployment, expected: Option<u64>) -> BoxFuture<'a, Result<u64, Error>>;

    /// What was deployed after a number, in order: history, of which the last of each component counts.
    fn deployments(&self, after: u64) -> BoxFuture<'_, Result<Vec<Deployment>, Error>>;
}

/// What a node says with each beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Who says it.
    pub incarnation: Incarnation,
    /// It is to own nothing more.
    pub draining: bool,
    /// How much it has to do. Sizes of cells are only sent now and then.
    pub load: Load,
    /// How many cells it owns.
    pub cells: u32,
    /// The state of its cells, in bytes.
    pub bytes: u64,
    /// The newest deployment that it has loaded.
    pub deployed: u64,
}

/// What a beat finds out: numbers that change when something has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Grows with every node that joins, drains, leaves or dies.
    pub nodes: u64,
    /// Grows with every change of who is to own what.
    pub wanted: u64,
    /// Grows with every change of who owns what and where its tail is: the sum of all epochs, and of all moves of tails.
    pub owners: u64,
    /// The newest deployment.
    pub deployments: u64,
    /// The time of the database's clock; only good for comparing it with itself.
    pub now: Duration,
}

impl News {
    /// Whether who is there, who owns and who is to own is as it was.
    pub(crate) fn same_world(&self, other: &Self) -> bool {
        (self.nodes, self.wanted, self.owners) == (other.nodes, other.wanted, other.owners)
    }
}

/// A cell in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellRow {
    /// Its epoch.
    pub epoch: Epoch,
    /// Who owns it, whether or not it lives.
    pub holder: Option<Incarnation>,
    /// Who is to own it.
    pub wanted: Option<Wanted>,
    /// Where somebody asked for it to be.
    pub pin: Option<NodeName>,
    /// How much state it has, in bytes, as its owner said last.
    pub bytes: u64,
    /// How busy its turns keep a core, in thousandths, as its owner said last.
    pub busy: u32,
    /// What a node has to carry for its agents to reach the data that they use, as its owner said last.
    pub labels: Labels,
    /// In which database its tail is.
    pub database: DatabaseId,
    /// Where its tail is to be, if it is to be elsewhere.
    pub moves_to: Option<DatabaseId>,
}

/// Who is to own a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The node.
    pub node: NodeName,
    /// In words, for people.
    pub why: String,
}

/// Everything in the tables but deployments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// What [`News::wanted`] was.
    pub version: u64,
    /// All nodes, also those that are dead.
    pub nodes: BTreeMap<NodeName, NodeRow>,
    /// All cells, by number.
    pub cells: Vec<CellRow>,
}

impl World {
    /// The same for requests that look for a cell.
    pub fn map(&self) -> Map {
        let living = self.nodes.values().filter(|node| !node.dead);
        let by_incarnation: BTreeMap<Incarnation, &NodeName> =
            living.map(|node| (node.spec.incarnation, &node.spec.name)).collect();
        let place = |row: &CellRow| Place {
            epoch: row.epoch,
            owner: row.holder.and_then(|holder| by_incarnation.get(&holder)).map(|name| (*name).clone()),
            wanted: row.wanted.as_ref().map(|wanted| wanted.node.clone()),
        };
        Map { cells: self.cells.iter().map(place).collect(), nodes: self.nodes.clone() }
    }
}

/// One deployment of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its number; what is given to [`Tables::deploy`] has none yet.
    pub number: u64,
    /// Whose component.
    pub tenant: Name,
    /// The component.
    pub component: Name,
    /// What there is to know about it, as JSON; none if it was removed.
    pub entry: Option<String>,
    /// The hash of its code.
    pub hash: String,
}

/// What can go wrong, split by what a node should do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another node of that name is alive.
    #[error("a node with the name {name} is alive at {peer}: stop it, or give this one another name")]
    NameInUse {
        /// The name.
        name: NodeName,
        /// Where the other is.
        peer: String,
    },
    /// The node was declared dead: give up all its cells, and join again.
    #[error("the node was silent for longer than its lease and was declared dead")]
    Dead,
    /// Another node has the name now: end.
    #[error("another node has joined with this node's name, or it has left")]
    Replaced,
    /// There is no such node.
    #[error("there is no node {name}; `stride nodes` shows those that there are")]
    UnknownNode {
        /// Who was meant.
        name: NodeName,
    },
    /// There is no such database.
    #[error("the cluster has no {number}; `stride cluster databases` shows those that there are")]
    UnknownDatabase {
        /// Which was meant.
        number: DatabaseId,
    },
    /// Somebody deployed in the meantime: look at it, and decide again.
    #[error("somebody has deployed in the meantime: {}", .current.map_or_else(|| "there is none yet".to_owned(), |number| format!("the newest is number {number}")))]
    Conflict {
        /// The newest of the component.
        current: Option<u64>,
    },
    /// The tables do not answer: try again.
    #[error("the tables of the cluster do not answer: {0}")]
    Unavailable(String),
    /// These tables cannot be used.
    #[error("the tables of the cluster cannot be used: {0}")]
    Unfit(String),
}
