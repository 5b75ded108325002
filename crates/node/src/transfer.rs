//! From a node that is alone to a cluster, and back: the same agents, objects and deployments in the other form.
//!
//! ```text
//! places: both sides, opened and held      deployments: components and their history
//! rewind: a cluster whose database was restored to an earlier moment than its object store
//! adopt: a data directory into a cluster   export: a cluster into a data directory
//! ```
//! Always true: nothing is switched on before what was written has been read back and compared, and the switch is one
//! transaction of the database; whoever is killed at any moment begins again and harms nothing; after the switch the side
//! that the agents came from is refused to every node.
//! Not here: which rows come out (`agents`), how the database switches (`cluster`).
//!
//! Why it is built this way: `docs/design/0013-adopt-export.md`.

mod adopt;
mod deployments;
mod error;
mod export;
mod places;
mod rewind;

use std::{fmt, path::PathBuf};

use serde::Serialize;
use stride_agents::Tally;
use stride_data::{Location, Transferred};

pub use self::error::TransferError;
use crate::DatabaseUrl;

/// A data directory and a cluster.
#[derive(Clone, Debug)]
pub struct Places {
    /// The data directory of the node that is alone.
    pub data: PathBuf,
    /// The database of the cluster.
    pub cluster: DatabaseUrl,
    /// Where the cluster keeps snapshots and objects.
    pub objects: Location,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Verifying the side where the agents are, as `stride check` does.
    Checking,
    /// Reading cells of the cluster.
    Reading,
    /// Bringing chunks of objects.
    Chunks,
    /// Bringing components.
    Components,
    /// Translating rows.
    Rows,
    /// Writing cells and reading them back.
    Cells,
    /// Making the cells visible.
    Publishing,
    /// Looking for what is newer than the database.
    Rewinding,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checking => "verify what is there",
            Self::Reading => "read cells",
            Self::Chunks => "copy chunks of objects",
            Self::Components => "copy components",
            Self::Rows => "translate rows",
            Self::Cells => "write cells and read them back",
            Self::Publishing => "publish cells",
            Self::Rewinding => "look for snapshots that are newer than the database",
        })
    }
}

/// Is told how far a stage is: how many of its things are done.
pub type Tell<'a> = &'a (dyn Fn(Stage, u64) + Sync);

/// What was removed of a cluster that was restored.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rewound {
    /// How many cells had snapshots that are newer than the database.
    pub cells: usize,
    /// How many snapshots those were.
    pub snapshots: usize,
}

/// Removes the snapshots that are newer than the database, because that was restored to an earlier moment. No node may run.
///
/// # Errors
/// With what to do; then do it again.
pub async fn rewind(cluster: &DatabaseUrl, objects: &Location, tell: Tell<'_>) -> Result<Rewound, TransferError> {
    rewind::rewind(cluster, objects, tell).await
}

/// What a transfer came to.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// The cluster's name.
    pub cluster: String,
    /// How many cells have something in them now.
    pub cells: usize,
    /// What lies in them, verified.
    pub rows: Tally,
    /// The chunks of objects.
    pub objects: Transferred,
    /// How many deployments there are.
    pub deployments: usize,
}

impl Places {
    /// Takes the agents, objects and deployments of a data directory into a cluster that never had any. No node may run on the
    /// directory; those of the cluster may run. It can be called again, until it succeeds.
    ///
    /// # Errors
    /// With what to do. Unless the error says otherwise, both sides are as they were.
    pub async fn adopt(&self, tell: Tell<'_>) -> Result<Done, TransferError> {
        adopt::adopt(self, tell).await
    }

    /// Copies what can be copied while a node runs on the directory, so that [`Places::adopt`] has less to do.
    ///
    /// # Errors
    /// With what to do.
    pub async fn copy_ahead(&self, tell: Tell<'_>) -> Result<Transferred, TransferError> {
        adopt::copy_ahead(self, tell).await
    }

    /// Takes all that a cluster has into a new data directory, for a node that is alone, and closes the cluster. No node of
    /// it may run. It can be called again, until it succeeds.
    ///
    /// # Errors
    /// With what to do. Unless the error says otherwise, the cluster is as it was.
    pub async fn export(&self, tell: Tell<'_>) -> Result<Done, TransferError> {
        export::export(self, tell).await
    }
}
