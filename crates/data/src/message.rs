//! What is asked of a bucket's agent, and what it answers. These travel within the node; nothing of them is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stride_ids::{ObjectKey, VersionId};
use stride_sim::Timestamp;

use crate::{
    chunk::ETag,
    condition::{Conditions, Unmet},
    multipart::{PartNumber, UploadId, UploadStatus},
    row::{Content, Version},
    watch::{UNWATCH, WATCH},
};

/// The methods of a bucket's agent: their names, and which only read.
pub(crate) const PUT: &str = "put";
pub(crate) const DELETE: &str = "delete";
pub(crate) const CONFIGURE: &str = "configure";
pub(crate) const FIND: &str = "find";
pub(crate) const LIST: &str = "list";
pub(crate) const STATUS: &str = "status";
pub(crate) const LIVE: &str = "live";
pub(crate) const MAKE: &str = "make";
pub(crate) const REMOVE: &str = "remove";
pub(crate) const BEGIN: &str = "begin";
pub(crate) const PUT_PART: &str = "put-part";
pub(crate) const COMPLETE: &str = "complete";
pub(crate) const ABORT: &str = "abort";
pub(crate) const PARTS: &str = "parts";
pub(crate) const UPLOADS: &str = "uploads";
pub(crate) const METHODS: [(&str, bool); 17] = [
    (PUT, false),
    (DELETE, false),
    (CONFIGURE, false),
    (FIND, true),
    (LIST, true),
    (STATUS, true),
    (LIVE, true),
    (MAKE, false),
    (REMOVE, false),
    (BEGIN, false),
    (PUT_PART, false),
    (COMPLETE, false),
    (ABORT, false),
    (PARTS, true),
    (UPLOADS, true),
    (WATCH, false),
    (UNWATCH, false),
];

/// Headers that are kept with an object and given back with it, by their names in small letters.
pub type Headers = BTreeMap<String, String>;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PutAsked {
    pub(crate) key: ObjectKey,
    pub(crate) at: Timestamp,
    pub(crate) content: Content,
    pub(crate) conditions: Conditions,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeleteAsked {
    pub(crate) key: ObjectKey,
    pub(crate) at: Timestamp,
    pub(crate) conditions: Conditions,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Changed {
    /// It is done. `freed`: some version is no longer kept.
    Done {
        version: VersionId,
        freed: bool,
    },
    Unmet(Unmet),
    /// There is nothing to delete.
    NotFound(Missing),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FindAsked {
    pub(crate) key: ObjectKey,
    pub(crate) version: Option<VersionId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Found {
    Version(Version),
    NotFound(Missing),
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Missing {
    Bucket,
    Object,
    Version,
    /// It was deleted with this version.
    Deleted(VersionId),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListAsked {
    pub(crate) prefix: String,
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Listed {
    Page { objects: Vec<(ObjectKey, ObjectStatus)>, next: Option<String> },
    NoBucket,
}

/// What a bucket is asked to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSpec {
    /// Where its objects may be, as placement reads it: `region` is `eu`.
    pub labels: BTreeMap<String, String>,
    /// How many versions of each object are kept, the newest among them; none means one.
    pub versions_kept: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConfigureAsked {
    pub(crate) spec: BucketSpec,
    pub(crate) at: Timestamp,
}

/// What is known of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketStatus {
    /// Where its objects may be.
    pub labels: BTreeMap<String, String>,
    /// How many versions of each object are kept.
    pub versions_kept: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many objects it has.
    pub objects: u64,
    /// How many bytes their newest versions have.
    pub bytes: u64,
}

/// What is known of a version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStatus {
    /// Which version.
    pub version: VersionId,
    /// Its length in bytes.
    pub len: u64,
    /// What its bytes are.
    pub etag: ETag,
    /// What kind of bytes they are, as HTTP writes it.
    pub content_type: String,
    /// What else came with them. Listings leave it out.
    pub headers: Headers,
    /// When it was stored.
    pub created_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LiveAsked {
    /// The last row that was read.
    pub(crate) after: Option<String>,
}

/// The chunks that some rows name, by the first bytes of their hashes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) heads: Vec<u64>,
    /// The last row that was read; none if it was the last of all.
    pub(crate) next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BeginAsked {
    pub(crate) key: ObjectKey,
    pub(crate) at: Timestamp,
    pub(crate) content_type: String,
    pub(crate) headers: Headers,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PutPartAsked {
    pub(crate) key: ObjectKey,
    pub(crate) upload: UploadId,
    pub(crate) number: PartNumber,
    pub(crate) at: Timestamp,
    pub(crate) content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompleteAsked {
    pub(crate) key: ObjectKey,
    pub(crate) upload: UploadId,
    pub(crate) at: Timestamp,
    /// The parts that the object is made of, in their order.
    pub(crate) parts: Vec<(PartNumber, ETag)>,
    /// The bytes of these parts cut anew, if they cannot be joined as they are.
    pub(crate) rewritten: Option<Content>,
    pub(crate) conditions: Conditions,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Completed {
    Done {
        version: VersionId,
        content: Content,
        freed: bool,
    },
    Unmet(Unmet),
    /// The parts end within chunks: their bytes have to be cut anew.
    Rewrite,
    /// There is no such part with that tag, or it is not after the one before.
    BadPart(PartNumber),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AbortAsked {
    pub(crate) key: ObjectKey,
    pub(crate) upload: UploadId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartsAsked {
    pub(crate) key: ObjectKey,
    pub(crate) upload: UploadId,
    pub(crate) after: PartNumber,
    pub(crate) limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) parts: Vec<(PartNumber, Version)>,
    pub(crate) is_last: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UploadsAsked {
    pub(crate) after: Option<UploadId>,
    pub(crate) limit: usize,
}

/// The uploads of a bucket in parts that are open.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Uploads {
    pub(crate) uploads: Vec<UploadStatus>,
    pub(crate) is_last: bool,
}
