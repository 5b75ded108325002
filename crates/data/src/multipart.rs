//! Uploads in parts: begun, filled with parts in any order, completed or given up.
//!
//! Always true: what an upload has is durable and nobody sees it; the object is there with the turn that completes it. Parts
//! that end where chunks end are joined without touching their bytes; others are read and written once more.
//! An upload that is still open after [`OPEN_MAX`] is given up by the next sweep.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use stride_ids::{BucketName, Code, Failure, Name, ObjectKey, ObjectName};
use stride_sim::Timestamp;

use crate::{
    chunk::ETag,
    condition::Conditions,
    error::Error,
    index::status_of,
    message::{
        ABORT, AbortAsked, BEGIN, BeginAsked, COMPLETE, CompleteAsked, Completed, ObjectStatus, PARTS, PUT_PART, Parts,
        PartsAsked, PutPartAsked, UPLOADS, Uploads, UploadsAsked,
    },
    objects::{Objects, Put},
    row::{Content, Version},
};

/// The number of a part, from 1 to [`PARTS_MAX`].
pub type PartNumber = u16;

/// The highest number that a part may have.
pub const PARTS_MAX: PartNumber = 10_000;
/// How long an upload may stay open.
pub const OPEN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many parts or uploads are asked for at a time.
const PAGE: usize = 1_000;

/// Which upload of a bucket. Its text is 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub(crate) u64);

impl UploadId {
    /// The upload that is written so, if it is one.
    pub fn from_hex(text: &str) -> Option<Self> {
        let id = u64::from_str_radix(text, 16).ok().map(Self)?;
        (id.to_string() == text).then_some(id)
    }

    pub(crate) fn of_row(name: &str) -> Result<Self, Failure> {
        let id = name.strip_prefix(crate::row::UPLOADS).and_then(Self::from_hex);
        id.ok_or_else(|| Failure::new(Code::Internal, "a stored upload is damaged: its row has no name"))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What is known of an upload that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadStatus {
    /// Which.
    pub id: UploadId,
    /// What the object will be called.
    pub key: ObjectKey,
    /// When it was begun.
    pub begun_at: Timestamp,
}

/// A page of the uploads of a bucket that are open, in the order in which they were begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<UploadStatus>,
    /// Whether there are no more.
    pub is_last: bool,
}

/// What is known of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartStatus {
    /// Its number.
    pub number: PartNumber,
    /// Its length in bytes.
    pub len: u64,
    /// What its bytes are.
    pub etag: ETag,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A page of the parts of an upload, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartPage {
    /// The parts.
    pub parts: Vec<PartStatus>,
    /// Whether there are no more.
    pub is_last: bool,
}

impl Objects {
    /// Begins an upload in parts. A bucket that is not there is made. Length and conditions of `put` are not looked at:
    /// they belong to the parts and to the completion.
    ///
    /// # Errors
    /// `invalid_request` for a content type or headers that are too long.
    pub async fn begin_upload(&self, name: &ObjectName, put: Put) -> Result<UploadId, Error> {
        let (content_type, headers) = put.kept()?;
        let at = self.clock.timestamp();
        let asked = BeginAsked { key: name.key.clone(), at, content_type, headers };
        let id = self.ask(&name.tenant, &name.bucket, BEGIN, &asked).await?;
        self.note_open_upload(at);
        Ok(id)
    }

    /// Stores a part of an upload, in the place of the one with its number if there is one.
    ///
    /// # Errors
    /// [`Error::NoUpload`], and as [`Objects::put`].
    pub async fn put_part<S, E>(
        &self,
        name: &ObjectName,
        upload: UploadId,
        number: PartNumber,
        body: S,
        len: Option<u64>,
    ) -> Result<PartStatus, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: fmt::Display,
    {
        if !(1..=PARTS_MAX).contains(&number) {
            let message = format!("a part cannot have the number {number}; use 1 to {PARTS_MAX}");
            return Err(Failure::new(Code::InvalidRequest, message).into());
        }
        // Looked at before all the bytes come, and again when it counts.
        self.stored_parts(name, upload, 0, 1).await?;
        let (content, pins, leftover) = self.upload(name, body, len).await?;
        let at = self.clock.timestamp();
        let (len, etag) = (content.len, content.etag);
        let asked = PutPartAsked { key: name.key.clone(), upload, number, at, content };
        let replaced: bool = self.ask_upload(name, upload, PUT_PART, &asked).await?;
        leftover.only_if(replaced);
        drop(pins);
        Ok(PartStatus { number, len, etag, created_at: at })
    }

    /// A page of the parts of an upload with numbers above `after`.
    ///
    /// # Errors
    /// [`Error::NoUpload`].
    pub async fn parts(
        &self,
        name: &ObjectName,
        upload: UploadId,
        after: PartNumber,
        limit: usize,
    ) -> Result<PartPage, Error> {
        let Parts { parts, is_last } = self.stored_parts(name, upload, after, limit).await?;
        let status = |(number, part): (PartNumber, Version)| {
            let Content { len, etag, .. } = part.content?;
            Some(PartStatus { number, len, etag, created_at: part.at })
        };
        Ok(PartPage { parts: parts.into_iter().filter_map(status).collect(), is_last })
    }

    /// A page of the uploads of a bucket that are open and were begun after `after`.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub async fn uploads(
        &self,
        tenant: &Name,
        bucket: &BucketName,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<UploadPage, Error> {
        let asked = UploadsAsked { after, limit };
        let listed: Result<Uploads, Error> = self.ask(tenant, bucket, UPLOADS, &asked).await;
        let Uploads { uploads, is_last } = listed.map_err(|e| e.of_missing_bucket(bucket))?;
        Ok(UploadPage { uploads, is_last })
    }

    /// Makes an object out of parts of an upload, named with their tags, and forgets the upload.
    ///
    /// # Errors
    /// [`Error::NoUpload`], [`Error::BadPart`], [`Error::Unmet`]: the upload is as it was.
    pub async fn complete_upload(
        &self,
        name: &ObjectName,
        upload: UploadId,
        parts: Vec<(PartNumber, ETag)>,
        conditions: Conditions,
    ) -> Result<ObjectStatus, Error> {
        if parts.is_empty() {
            let message = "name the parts that the object is made of";
            return Err(Failure::new(Code::InvalidRequest, message).into());
        }
        let at = self.clock.timestamp();
        let key = name.key.clone();
        let mut asked = CompleteAsked { key, upload, at, parts, rewritten: None, conditions };
        let mut completed = self.ask_upload(name, upload, COMPLETE, &asked).await?;
        let mut rewritten = None;
        if matches!(completed, Completed::Rewrite) {
            let (content, pins, leftover) = self.rewrite(name, upload, &asked.parts).await?;
            rewritten = Some((pins, leftover));
            (asked.rewritten, asked.at) = (Some(content), self.clock.timestamp());
            completed = self.ask_upload(name, upload, COMPLETE, &asked).await?;
        }
        match completed {
            Completed::Done { version, content, freed } => {
                self.leftover().only_if(freed);
                drop(rewritten);
                Ok(status_of(version, asked.at, content))
            }
            Completed::Unmet(unmet) => Err(Error::Unmet { object: name.to_string(), unmet }),
            Completed::BadPart(number) => Err(Error::BadPart { object: name.to_string(), number }),
            Completed::Rewrite => Err(Failure::new(Code::Internal, "parts cannot be joined").into()),
        }
    }

    /// Forgets an upload and its parts.
    ///
    /// # Errors
    /// [`Error::NoUpload`].
    pub async fn abort_upload(&self, name: &ObjectName, upload: UploadId) -> Result<(), Error> {
        let leftover = self.leftover();
        let aborted = self.forget_upload(name, upload).await;
        leftover.only_if(!matches!(aborted, Err(Error::NoUpload { .. })));
        aborted
    }

    /// Gives up the uploads of a bucket that are open for too long, and notes when the next one will be.
    pub(crate) async fn give_up_uploads(&self, tenant: &Name, bucket: &BucketName) -> Result<(), Error> {
        let open_max = u64::try_from(OPEN_MAX.as_millis()).unwrap_or(u64::MAX);
        let now = self.clock.timestamp();
        let mut after = None;
        loop {
            let page = match self.uploads(tenant, bucket, after, PAGE).await {
                Ok(page) => page,
                Err(Error::NoBucket { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            for UploadStatus { id, key, begun_at } in page.uploads {
                after = Some(id);
                if begun_at.saturating_add(open_max) > now {
                    self.note_open_upload(begun_at);
                    continue;
                }
                let name = ObjectName { tenant: tenant.clone(), bucket: bucket.clone(), key };
                // What it leaves goes with this sweep, which reads the rows of the bucket after that.
                match self.forget_upload(&name, id).await {
                    Ok(()) => {
                        tracing::info!(object = %name, upload = %id, "an upload is given up: it was open too long");
                    }
                    Err(Error::NoUpload { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if page.is_last {
                return Ok(());
            }
        }
    }

    async fn forget_upload(&self, name: &ObjectName, upload: UploadId) -> Result<(), Error> {
        self.ask_upload(name, upload, ABORT, &AbortAsked { key: name.key.clone(), upload }).await
    }

    async fn stored_parts(
        &self,
        name: &ObjectName,
        upload: UploadId,
        after: PartNumber,
        limit: usize,
    ) -> Result<Parts, Error> {
        let asked = PartsAsked { key: name.key.clone(), upload, after, limit };
        self.ask_upload(name, upload, PARTS, &asked).await
    }

    /// Cuts the bytes of some parts anew.
    async fn rewrite(
        &self,
        name: &ObjectName,
        upload: UploadId,
        wanted: &[(PartNumber, ETag)],
    ) -> Result<crate::objects::Stored<'_>, Error> {
        let mut readers = Vec::new();
        {
            let place = self.reader_place()?;
            let _finding = self.finding.read().await;
            let mut after = 0;
            loop {
                let page = self.stored_parts(name, upload, after, PAGE).await?;
                for (number, part) in page.parts {
                    after = number;
                    let Version { id, at, content: Some(content) } = part else { continue };
                    if wanted.contains(&(number, content.etag)) {
                        readers.push(self.reader(name, id, at, content, place.clone()).await);
                    }
                }
                if page.is_last {
                    break;
                }
            }
        }
        let len = readers.iter().map(|reader| reader.status().len).sum();
        let bytes = stream::iter(readers).flat_map(|reader| reader.stream(0..reader.status().len));
        self.upload(name, bytes, Some(len)).await
    }

    async fn ask_upload<T: serde::de::DeserializeOwned>(
        &self,
        name: &ObjectName,
        upload: UploadId,
        method: &str,
        asked: &impl Serialize,
    ) -> Result<T, Error> {
        self.ask(&name.tenant, &name.bucket, method, asked).await.map_err(|error| match error {
            Error::Index(failure) if failure.code == Code::NotFound => {
                Error::NoUpload { object: name.to_string(), upload }
            }
            error => error,
        })
    }
}
