//! Objects: named immutable bytes, `bucket/key`, in versions.
//!
//! ```text
//! put ─► chunks of 8 MiB ─► hash ─► storage (durable) ─► one turn of the bucket's agent ─► the object is there
//! get ─► a read of the bucket's agent ─► the hashes ─► cache, or storage and check ─► bytes
//! sweep: what no version names and nobody holds is removed
//! ```
//! Always true: a version names only chunks that are durable, so half an object is never seen; bytes are given out only if
//! they have the hash that the version names; what a transfer or a version needs is never removed.
//! Not here: HTTP, who may do what, and where code may run (buckets only keep the labels that decide it).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod agent;
mod buckets;
mod buffers;
mod check;
mod chunk;
mod chunks;
mod condition;
mod copy;
mod cut;
mod demands;
mod error;
mod index;
mod labels;
mod list;
mod locality;
mod message;
mod multipart;
mod objects;
mod parts;
mod pins;
mod range;
mod read;
mod row;
mod sketch;
mod storage;
mod sweep;
mod transfer;
mod upload;
mod warmth;
pub mod watch;

pub use agent::{BUCKETS, address as bucket_address};
pub use buffers::Buffers;
pub use check::{CheckError, Report, check};
pub use chunk::{CHUNK_LEN, ChunkHash, ETag};
pub use chunks::CacheStats;
pub use condition::{Conditions, Tags, Unmet};
pub use cut::cut;
pub use demands::Demands;
pub use error::Error;
pub use labels::BucketLabels;
pub use list::{BucketPage, ObjectPage};
pub use locality::{ChunkStatus, Locality};
pub use message::{BucketSpec, BucketStatus, Headers, ObjectStatus};
pub use multipart::{OPEN_MAX, PARTS_MAX, PartNumber, PartPage, PartStatus, UploadId, UploadPage, UploadStatus};
pub use objects::{Objects, Put, Settings};
pub use range::RangeSpec;
pub use read::Reader;
pub use sketch::{ChunkPrint, Sketch};
pub use storage::{
    Components, DirectFile, DiskCache, DiskCacheStats, Location, LocationError, OpenError, Owner, Storage, use_tls,
};
pub use sweep::Swept;
pub use transfer::{Transfer, Transferred};
pub use warmth::{PIECES_MAX, Piece, Warmth};
