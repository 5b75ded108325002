//! What can go wrong, split by what the caller should do.

use std::path::Path;

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
    /// Stored bytes are wrong. Nothing is returned in their place.
    #[error("the store is damaged: {what}; at risk: {at_risk}")]
    Damaged {
        /// What was found.
        what: String,
        /// What cannot be read because of it.
        at_risk: String,
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
    pub(crate) fn from_fjall(doing: &'static str, dir: &Path, error: &fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked { dir: dir.display().to_string() },
            fjall::Error::Io(e) => Self::Io { doing, why: e.to_string() },
            fjall::Error::Poisoned => Self::Io { doing, why: "an earlier write failed".into() },
            fjall::Error::Storage(fjall::LsmError::Io(e)) => Self::Io { doing, why: e.to_string() },
            other => Self::Damaged {
                what: format!("{} ({other})", dir.display()),
                at_risk: "state that the journal no longer holds".into(),
            },
        }
    }
}
