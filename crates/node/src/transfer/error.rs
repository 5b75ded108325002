//! Why a transfer did not succeed, and what to do.

use std::{io, path::PathBuf};

use stride_agents::{OpenError, Tally};
use stride_ids::CellId;

use crate::identity::WrongJournal;

/// Why agents could not be taken from one place to another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// There is nothing to take.
    #[error("{dir} is not a data directory: it has no node.json and no journal")]
    NotData {
        /// What was named.
        dir: PathBuf,
    },
    /// Somebody uses the directory.
    #[error("a node runs on {dir}")]
    Running {
        /// Which.
        dir: PathBuf,
    },
    /// The directory is not what was written.
    #[error("{dir} is damaged: {what}")]
    Damaged {
        /// Which.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// Its journal is not in the directory.
    #[error("data directory {dir}")]
    WrongJournal {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: WrongJournal,
    },
    /// The objects of the node are in the very place that the cluster is to have.
    #[error("the node keeps its objects in {location} itself, and a cluster needs a place of its own")]
    SamePlace {
        /// Where.
        location: String,
    },
    /// The cluster has something of that name.
    #[error("the cluster has deployments of {component} that the data directory does not know")]
    Deployed {
        /// The component.
        component: String,
    },
    /// A node of the cluster does not load what the agents need.
    #[error("{nodes} did not load the deployments in time, so nothing was switched")]
    NotLoaded {
        /// Which nodes.
        nodes: String,
    },
    /// Nodes of the cluster run.
    #[error("nodes of the cluster run: {nodes}")]
    NodesRun {
        /// Which.
        nodes: String,
    },
    /// There is something where the data directory is to be.
    #[error("{dir} is there already")]
    NotEmpty {
        /// Which.
        dir: PathBuf,
    },
    /// What was read back is not what was written.
    #[error("{cell} came back with {found:?} instead of {written:?}, so nothing was switched")]
    Differs {
        /// The cell.
        cell: CellId,
        /// What was written.
        written: Box<Tally>,
        /// What was read.
        found: Box<Tally>,
    },
    /// The database does not answer, or cannot be used.
    #[error("the journal of the cluster")]
    Journal(#[from] stride_journal::Error),
    /// The same for what nodes share.
    #[error("the tables of the cluster")]
    Tables(#[from] stride_cluster::Error),
    /// The state cannot be read or written.
    #[error("the state of agents")]
    Agents(#[from] OpenError),
    /// The store cannot be read or written.
    #[error("the store")]
    Store(#[from] stride_store::Error),
    /// The object store cannot be used.
    #[error("objects have no place")]
    Objects(#[from] stride_data::OpenError),
    /// Chunks or components could not be copied.
    #[error("objects")]
    Chunks(#[from] stride_data::Error),
    /// Objects could not be verified.
    #[error("objects")]
    Check(#[from] stride_data::CheckError),
    /// Cells could not be written to the object store, or read.
    #[error("snapshots of cells")]
    Snapshots(#[from] stride_snapshots::Error),
    /// A file could not be read or written.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TransferError {
    /// What to do next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::NotData { .. } => {
                "name the directory that was given to `stride up --data`; the default is ./stride-data"
            }
            Self::Running { .. } => {
                "stop that node (SIGTERM), then begin again; `--ahead` copies objects while it runs"
            }
            Self::Damaged { .. } => {
                "`stride check` shows all of it, `stride repair` offers a way out; then begin again"
            }
            Self::SamePlace { .. } => "name another bucket, prefix or directory with --objects",
            Self::Deployed { .. } => "name a database of its own: agents are taken into a cluster that never had any",
            Self::NotLoaded { .. } => "look into the logs of those nodes, or stop them; then begin again",
            Self::NodesRun { .. } => "stop all nodes of the cluster (SIGTERM), then begin again",
            Self::NotEmpty { .. } => "name a directory that does not exist",
            Self::Tables(stride_cluster::Error::Unfit(_)) | Self::WrongJournal { .. } => {
                "change what the reason names; nothing was switched"
            }
            _ => "begin again when that is repaired: what was done is found and not done twice",
        }
    }

    /// Whether the database could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Journal(stride_journal::Error::Unavailable(_)) | Self::Tables(stride_cluster::Error::Unavailable(_))
        )
    }
}
