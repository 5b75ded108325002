//! Pages of objects and of buckets.

use stride_ids::{BucketName, ObjectKey};

use crate::message::{BucketStatus, ObjectStatus};

/// A page of the objects of a bucket, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPage {
    /// The objects.
    pub objects: Vec<(ObjectKey, ObjectStatus)>,
    /// After which key the next page begins; none if this is the last one. There may be a next page although this one
    /// is short, if many objects were deleted.
    pub next: Option<String>,
}

/// A page of buckets, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPage {
    /// The buckets.
    pub buckets: Vec<(BucketName, BucketStatus)>,
    /// After which bucket the next page begins; none if this is the last one.
    pub next: Option<String>,
}
