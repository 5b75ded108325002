//! What a bucket's agent keeps: the bucket as its typed state, and one row per version of an object in its map.
//!
//! ```text
//! o/KEY             the newest version                  v/KEY NUL VERSION   an older one, its version in 16 hex digits
//! m/UPLOAD          an upload in parts                  m/UPLOAD/NUMBER     one of its parts, as a version
//! w/TYPE/KEY        an agent that is told of changes
//! ```
//! A key has no control characters, so NUL ends it, and the versions of a key lie together in their order. Everything
//! stored begins with a schema.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use stride_agents::native::Schema;
use stride_ids::{Code, Failure, ObjectKey, VersionId};
use stride_sim::Timestamp;

use crate::{
    chunk::{ChunkHash, ETag},
    message::Headers,
    multipart::{PartNumber, UploadId},
};

pub(crate) const SCHEMA: Schema = Schema(1);

/// Before the names of rows of newest versions. It sorts before `OLDER`: who reads all rows in order misses none that
/// becomes an older one meanwhile. `UPLOADS` sorts before both for the same reason: parts become a newest version.
pub(crate) const NEWEST: &str = "o/";
pub(crate) const UPLOADS: &str = "m/";
pub(crate) const OLDER: &str = "v/";
/// These come last, so that a bucket with nothing else has one of them first.
pub(crate) const WATCHERS: &str = "w/";

pub(crate) fn newest(key: &ObjectKey) -> String {
    format!("{NEWEST}{key}")
}

pub(crate) fn older(key: &ObjectKey, version: VersionId) -> String {
    format!("{OLDER}{key}\0{:016x}", version.0)
}

/// What the names of all older versions of a key begin with.
pub(crate) fn all_older(key: &ObjectKey) -> String {
    format!("{OLDER}{key}\0")
}

pub(crate) fn upload(id: UploadId) -> String {
    format!("{UPLOADS}{id}")
}

/// After this name come the uploads that were begun after `id`, whatever parts that one has.
pub(crate) fn after_upload(id: UploadId) -> String {
    format!("{UPLOADS}{id}0")
}

pub(crate) fn part(id: UploadId, number: PartNumber) -> String {
    format!("{UPLOADS}{id}/{number:05}")
}

pub(crate) fn all_parts(id: UploadId) -> String {
    format!("{UPLOADS}{id}/")
}

/// Whether a row names no chunks: it is an upload, and its parts have rows of their own.
pub(crate) fn is_upload(name: &str) -> bool {
    name.strip_prefix(UPLOADS).is_some_and(|rest| !rest.contains('/'))
}

/// Whether a row is about somebody who is told of changes.
pub(crate) fn is_watcher(name: &str) -> bool {
    name.starts_with(WATCHERS)
}

/// Whether a row is a version or a part, which name chunks.
pub(crate) fn has_chunks(name: &str) -> bool {
    !is_upload(name) && !is_watcher(name)
}

/// The number of the part whose row this is.
pub(crate) fn number_of(name: &str) -> Result<PartNumber, Failure> {
    let number = name.strip_prefix(UPLOADS).and_then(|rest| rest.split_once('/')?.1.parse().ok());
    number.ok_or_else(|| Failure::new(Code::Internal, "a stored part is damaged: its row has no number"))
}

/// An upload in parts that is neither completed nor given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRow {
    pub(crate) key: ObjectKey,
    pub(crate) at: Timestamp,
    pub(crate) content_type: String,
    pub(crate) headers: Headers,
    /// How many bytes its parts have.
    pub(crate) len: u64,
}

/// A bucket, and what it has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) versions_kept: u32,
    pub(crate) created_at: Timestamp,
    /// The last version that was given to an object.
    pub(crate) last: VersionId,
    /// How many objects there are, and how many bytes their newest versions have.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) id: VersionId,
    pub(crate) at: Timestamp,
    /// None: with this version the object was deleted.
    pub(crate) content: Option<Content>,
}

impl Version {
    pub(crate) fn tag(&self) -> Option<&ETag> {
        self.content.as_ref().map(|content| &content.etag)
    }
}

/// The bytes of a version: where they are and what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) len: u64,
    pub(crate) chunk_len: u32,
    pub(crate) etag: ETag,
    pub(crate) content_type: String,
    pub(crate) headers: Headers,
    pub(crate) hashes: Hashes,
}

/// The hashes of an object's chunks in their order, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hashes(Bytes);

impl Hashes {
    pub(crate) fn of(hashes: &[ChunkHash]) -> Self {
        let mut bytes = BytesMut::with_capacity(hashes.len() * ChunkHash::LEN);
        hashes.iter().for_each(|hash| bytes.extend_from_slice(hash.as_bytes()));
        Self(bytes.freeze())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ChunkHash> {
        self.0.as_chunks().0.iter().map(|bytes| ChunkHash::from_bytes(*bytes))
    }

    pub(crate) fn get(&self, index: usize) -> Option<ChunkHash> {
        self.0.as_chunks().0.get(index).map(|bytes| ChunkHash::from_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    #[test]
    fn rows_lie_in_the_order_of_keys_and_of_versions() {
        let rows = [
            newest(&key("a")),
            newest(&key("a/b")),
            newest(&key("b")),
            older(&key("a"), VersionId(2)),
            older(&key("a"), VersionId(10)),
            older(&key("a"), VersionId(u64::MAX)),
            older(&key("a!"), VersionId(1)),
        ];
        assert!(rows.is_sorted(), "{rows:?}");
        let (first, second) = (UploadId(9), UploadId(16));
        let uploads = [
            upload(first),
            part(first, 1),
            part(first, 10_000),
            after_upload(first),
            upload(second),
            newest(&key("a")),
        ];
        assert!(uploads.is_sorted(), "{uploads:?}");
        assert!(has_chunks(&rows[0]) && has_chunks(&uploads[1]) && !has_chunks(&uploads[0]) && !has_chunks("w/t/k"));
        assert!(is_upload(&uploads[0]) && !is_upload(&uploads[1]) && !is_upload(&newest(&key("m"))));
        assert_eq!((number_of(&uploads[2]).unwrap(), number_of(&uploads[0]).is_err()), (10_000, true));
        assert!(!rows[6].starts_with(&all_older(&key("a"))) && rows[5].starts_with(&all_older(&key("a"))));
    }

    #[test]
    fn a_version_is_read_as_it_was_written_and_a_newer_schema_is_refused() {
        let hashes = Hashes::of(&[ChunkHash::of(b"a"), ChunkHash::of(b"b")]);
        assert_eq!(hashes.iter().collect::<Vec<_>>(), [ChunkHash::of(b"a"), ChunkHash::of(b"b")]);
        assert_eq!((hashes.get(1), hashes.get(2)), (Some(ChunkHash::of(b"b")), None));
        let etag = ETag::of(hashes.as_bytes(), 2);
        let content = Content {
            len: 2,
            chunk_len: 1,
            etag,
            content_type: "text/plain".into(),
            headers: [("a".into(), "b".into())].into(),
            hashes,
        };
        let version = Version { id: VersionId(7), at: 1, content: Some(content) };
        let mut bytes = SCHEMA.encode(&version).to_vec();
        assert_eq!(SCHEMA.decode::<Version>("version", &bytes).unwrap(), version);
        bytes[0] = 2;
        let error = SCHEMA.decode::<Version>("version", &bytes).unwrap_err();
        assert!(error.message.contains("schema 2"), "{error}");
        assert!(
            SCHEMA.decode::<Version>("version", &[]).is_err() && SCHEMA.decode::<Version>("version", &[1, 1]).is_err()
        );
    }

    #[test]
    fn what_this_release_writes_stays_readable() {
        // Bytes as they were written first; a change of the format adds a schema and keeps reading this one.
        let version = Version { id: VersionId(7), at: 1_700_000_000_000, content: None };
        let written = [1, 7, 128, 208, 149, 255, 188, 49, 0];
        assert_eq!(SCHEMA.encode(&version).to_vec(), written);
        assert_eq!(SCHEMA.decode::<Version>("version", &written).unwrap(), version);
    }
}
