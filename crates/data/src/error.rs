//! What can go wrong with objects, split by what the caller should do.

use std::{error::Error as StdError, io};

use stride_ids::{BucketName, Code, Failure, with_causes};

use crate::{
    chunk::ChunkHash,
    condition::Unmet,
    multipart::{PartNumber, UploadId},
};

/// Why an operation on an object did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such bucket.
    #[error("there is no bucket `{bucket}`; the first object that is put into it makes it")]
    NoBucket {
        /// Its name.
        bucket: String,
    },
    /// There is no such object, or not in that version.
    #[error("there is no object `{object}`{hint}")]
    NoObject {
        /// Its name.
        object: String,
        /// What is known beside that.
        hint: String,
    },
    /// There is no such upload in parts, or not any more.
    #[error("there is no upload {upload} of `{object}`; it was completed, given up, or never begun")]
    NoUpload {
        /// What the object would be called.
        object: String,
        /// The upload.
        upload: UploadId,
    },
    /// An upload cannot be completed with these parts. It is as it was.
    #[error("part {number} of `{object}` is not there with that tag, or it is not named after the one before it")]
    BadPart {
        /// What the object will be called.
        object: String,
        /// The part.
        number: PartNumber,
    },
    /// A condition of the request is not met. The object is as it was.
    #[error("{}, so nothing was done", explain(*unmet, object))]
    Unmet {
        /// The object.
        object: String,
        /// Which condition.
        unmet: Unmet,
    },
    /// The object has no bytes in that range.
    #[error("`{object}` has {len} bytes, and none of them is in the range that was asked for")]
    Range {
        /// The object.
        object: String,
        /// How many bytes it has.
        len: u64,
    },
    /// The object is larger than an object may be.
    #[error("`{object}` would have more than the {max} bytes that an object may have; split it over several")]
    TooLarge {
        /// The object.
        object: String,
        /// The limit.
        max: u64,
    },
    /// The bytes ended before they were all there. Nothing of them is visible.
    #[error("the bytes of `{object}` broke off, so nothing was stored: {why}")]
    BrokenOff {
        /// The object.
        object: String,
        /// What their source said.
        why: String,
    },
    /// A chunk in storage is not what was written. None of its bytes were given out.
    #[error("`{object}` is damaged: its chunk {chunk} does not hold the bytes that were written; put the object again")]
    Corrupt {
        /// The object.
        object: String,
        /// The chunk.
        chunk: ChunkHash,
    },
    /// A chunk that the object needs is gone.
    #[error("`{object}` is damaged: its chunk {chunk} is gone from storage; put the object again")]
    Vanished {
        /// The object.
        object: String,
        /// The chunk.
        chunk: ChunkHash,
    },
    /// A component that was deployed is not there, or not what it was.
    #[error("there is no component {hash}: {why}; deploy it again")]
    NoComponent {
        /// Its hash.
        hash: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The storage has no space left.
    #[error("there is no space left for objects; nothing of this one is visible. Free some and try again")]
    Full,
    /// The storage failed in another way.
    #[error("the object storage cannot {doing}: {why}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        why: String,
    },
    /// As many transfers run as may run at the same time.
    #[error("{max} transfers run already; try again")]
    Busy {
        /// How many.
        max: usize,
    },
    /// The index of the bucket refused or could not answer.
    #[error("{0}")]
    Index(#[from] Failure),
}

fn explain(unmet: Unmet, object: &str) -> String {
    match unmet {
        Unmet::IfMatch => format!("`{object}` is not there with a tag that If-Match names"),
        Unmet::IfNoneMatch => format!("`{object}` is there with a tag that If-None-Match names"),
    }
}

impl Error {
    /// What the storage answered.
    pub(crate) fn storage(doing: &'static str, error: &object_store::Error) -> Self {
        if is_full(error) { Self::Full } else { Self::Storage { doing, why: with_causes(error) } }
    }

    /// What the file system under the storage answered.
    pub(crate) fn io(doing: &'static str, error: &io::Error) -> Self {
        if is_full(error) { Self::Full } else { Self::Storage { doing, why: error.to_string() } }
    }

    /// The same, if a bucket said that it was not made.
    pub(crate) fn of_missing_bucket(self, bucket: &BucketName) -> Self {
        match self {
            Self::Index(failure) if failure.code == Code::NotFound => Self::NoBucket { bucket: bucket.to_string() },
            error => error,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NoBucket { .. } | Self::NoObject { .. } | Self::NoUpload { .. } => Code::NotFound,
            Self::Unmet { .. } => Code::Conflict,
            Self::Range { .. } | Self::BrokenOff { .. } | Self::BadPart { .. } => Code::InvalidRequest,
            Self::TooLarge { .. } => Code::PayloadTooLarge,
            Self::Corrupt { .. } | Self::Vanished { .. } | Self::NoComponent { .. } => Code::Internal,
            Self::Full | Self::Storage { .. } => Code::Unavailable,
            Self::Busy { .. } => Code::Overloaded,
            Self::Index(failure) => failure.code,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Index(failure) => failure,
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

/// Whether a full disk is at the bottom of an error.
fn is_full(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        // A quota that is used up is as full as full.
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_at_the_bottom_of_what_storage_answers() {
        let generic = |kind: io::ErrorKind| {
            let source = Box::new(io::Error::from(kind));
            Error::storage("write a chunk", &object_store::Error::Generic { store: "local", source })
        };
        assert!(matches!(generic(io::ErrorKind::StorageFull), Error::Full));
        assert!(matches!(generic(io::ErrorKind::PermissionDenied), Error::Storage { .. }));
    }
}
