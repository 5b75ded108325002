//! What can go wrong, split by what the caller should do.

use stride_ids::{CellId, Seq, with_causes};

/// Why a snapshot could not be saved, loaded or swept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object store failed, or did not answer. Nothing is lost by it; try again.
    #[error("the object store cannot {doing} {path}: {why}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: String,
        /// What it answered.
        why: String,
    },
    /// A file is not what was written. None of what depends on it was used.
    #[error(
        "{path} in the object store is damaged: {what}; restore it from a backup or an older version of the object"
    )]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that a manifest names is gone.
    #[error("{path} is gone from the object store; restore it from a backup or an older version of the object")]
    Missing {
        /// Which.
        path: String,
    },
    /// No snapshot brings the cell as far as it has to be.
    #[error("the snapshots of {cell} reach record {} and {} is needed; see the log for files that are damaged", .reached.0, .wanted.0)]
    Behind {
        /// The cell.
        cell: CellId,
        /// Where the cell is.
        reached: Seq,
        /// What was asked for.
        wanted: Seq,
    },
    /// What was saved took so long that it may have been taken for garbage. It was not made a snapshot; try again.
    #[error("saving {cell} took longer than half the grace time of files that no manifest names; try again")]
    Slow {
        /// The cell.
        cell: CellId,
    },
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] stride_store::Error),
}

impl Error {
    pub(crate) fn storage(doing: &'static str, path: impl ToString, error: &object_store::Error) -> Self {
        Self::Storage { doing, path: path.to_string(), why: with_causes(error) }
    }

    pub(crate) fn damaged(path: impl ToString, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_string(), what: what.into() }
    }

    /// Whether an older snapshot may do where this one does not.
    pub(crate) fn is_of_one_snapshot(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. })
    }
}
