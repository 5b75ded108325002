//! What can go wrong, split by what the caller should do.

use std::{io, path::Path};

use stride_ids::CellId;

/// Why the store could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the store open: end it first.
    #[error("{dir} is in use by another process; end that node first")]
    Locked {
        /// Where the store is.
        dir: String,
    },
    /// The number of cells is fixed when a store is created.
    #[error("{dir} was created with {stored} cells and cannot be opened with {asked}")]
    CellsFixed {
        /// Where the store is.
        dir: String,
        /// What it was created with.
        stored: u16,
        /// What was asked for.
        asked: u16,
    },
    /// Stored bytes are wrong. Nothing is returned in their place.
    #[error("the store is damaged: {what}; at risk: {at_risk}")]
    Damaged {
        /// What was found.
        what: String,
        /// What cannot be read because of it.
        at_risk: String,
    },
    /// Rows cannot be imported into a cell, because of what they are or of what else happens to the cell.
    #[error("rows of {cell} cannot be imported: {why}")]
    Import {
        /// The cell.
        cell: CellId,
        /// Why.
        why: String,
    },
    /// The file system refused (a full disk, say). What was staged stays in memory; try again.
    #[error("the store cannot {doing}: {why}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system answered.
        why: String,
    },
}

impl Error {
    pub(crate) fn from_io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io { doing, why: format!("{}: {error}", path.display()) }
    }

    /// Something in the tree's files is not as it was written.
    pub(crate) fn damaged_files(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Damaged {
            what: format!("{}: {what}", path.display()),
            at_risk: "all state that the journal no longer holds".into(),
        }
    }

    /// What the tree answered, by what the caller should do. Files that end early or are gone are damage: trying again
    /// does not help.
    pub(crate) fn from_tree(doing: &'static str, dir: &Path, error: &lsm_tree::Error) -> Self {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match error {
            lsm_tree::Error::Io(e) if matches!(e.kind(), InvalidData | NotFound | UnexpectedEof) => {
                Self::damaged_files(dir, format_args!("it cannot {doing}: {e}"))
            }
            lsm_tree::Error::Io(e) => Self::from_io(doing, dir, e),
            lsm_tree::Error::ChecksumMismatch { .. } => {
                Self::damaged_files(dir, format_args!("it cannot {doing}: a block does not match its checksum"))
            }
            other => Self::damaged_files(dir, format_args!("it cannot {doing}: {other:?}")),
        }
    }
}
