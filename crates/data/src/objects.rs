//! The door of the crate: objects of a node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use serde::{Serialize, de::DeserializeOwned};
use stride_agents::{Engine, native};
use stride_ids::{AgentKey, BucketName, Code, Failure, Name, ObjectName, VersionId};
use stride_sim::{Clock, Tasks, Timestamp};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, RwLock, Semaphore};

use crate::{
    agent,
    buffers::Buffers,
    chunk::{CHUNK_LEN, ChunkId, ETag},
    chunks::{CacheStats, Chunks},
    condition::Conditions,
    demands::Demands,
    error::Error,
    index::status_of,
    labels::KnownLabels,
    list::{BucketPage, ObjectPage},
    message::{
        BucketSpec, BucketStatus, CONFIGURE, Changed, ConfigureAsked, DELETE, DeleteAsked, FIND, FindAsked, Found,
        Headers, LIST, ListAsked, Listed, Missing, ObjectStatus, PUT, PutAsked, STATUS,
    },
    multipart::OPEN_MAX,
    pins::{Pin, Pins},
    read::Reader,
    row::{Content, Version},
    storage::Storage,
    upload::{Upload, Uploaded},
    warmth::Warmth,
};

/// The longest content type that is kept, and how long the headers may be that are kept, in bytes.
const CONTENT_TYPE_LEN_MAX: usize = 256;
const HEADERS_LEN_MAX: usize = 4 << 10;

/// The bounds of a node's objects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many bytes a chunk has. May be changed: what is stored says what it was stored with.
    pub chunk_len: usize,
    /// How many bytes of chunks are kept in memory.
    pub cache_bytes: usize,
    /// How many uploads may run at the same time; each holds three chunks at most.
    pub uploads_max: usize,
    /// How many objects may be read at the same time; each stream holds two chunks at most, beside those in the cache.
    pub readers_max: usize,
    /// Nodes share the storage, so that none may sweep: what one does not know of, another may need. Chunks that no version
    /// names and uploads in parts that were never completed stay, for now.
    pub shared: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { chunk_len: CHUNK_LEN, cache_bytes: 256 << 20, uploads_max: 64, readers_max: 256, shared: false }
    }
}

/// The objects of a node.
pub struct Objects {
    pub(crate) engine: Arc<Engine>,
    pub(crate) chunks: Arc<Chunks>,
    buffers: Arc<Buffers>,
    pub(crate) pins: Arc<Pins>,
    /// Held for reading by who looks into the index and has not pinned yet what it found.
    pub(crate) finding: RwLock<()>,
    /// One sweep at a time.
    pub(crate) sweeping: Mutex<()>,
    /// Something may be there that no version names.
    garbage: Arc<AtomicBool>,
    /// When the oldest upload in parts was begun that may be open.
    oldest_upload: AtomicU64,
    /// Told when there was no space left for an upload.
    full: Notify,
    pub(crate) known_labels: KnownLabels,
    pub(crate) warmth: Warmth,
    pub(crate) demands: Demands,
    uploads: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    tasks: Tasks,
}

/// What comes with the bytes that are put.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// What kind of bytes they are; without it they are just bytes.
    pub content_type: Option<String>,
    /// How many there will be, if that is known.
    pub len: Option<u64>,
    /// What has to be true of the object that is there.
    pub conditions: Conditions,
    /// Headers to keep and to give back.
    pub headers: Headers,
}

impl Put {
    /// The content type and the headers that are kept, if they are not too long.
    pub(crate) fn kept(self) -> Result<(String, Headers), Error> {
        let content_type = self.content_type.unwrap_or_else(|| "application/octet-stream".into());
        let headers_len: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        for (what, len, max) in [
            ("the content type has", content_type.len(), CONTENT_TYPE_LEN_MAX),
            ("the headers that are kept have", headers_len, HEADERS_LEN_MAX),
        ] {
            if len > max {
                let message = format!("{what} {len} bytes; use {max} at most");
                return Err(Failure::new(Code::InvalidRequest, message).into());
            }
        }
        Ok((content_type, self.headers))
    }
}

/// Bytes that are durable, what keeps them, and what sees to it that they go if nothing comes of them.
pub(crate) type Stored<'a> = (Content, Vec<Pin>, Leftover<'a>);

impl Objects {
    /// The objects whose index the agents of `engine` keep, [`crate::BUCKETS`] among them, and whose bytes are in `storage`.
    pub fn new(engine: Arc<Engine>, storage: Storage, settings: Settings, clock: Clock, tasks: Tasks) -> Self {
        let buffers = Buffers::new(settings.chunk_len);
        Self {
            engine,
            chunks: Arc::new(Chunks::new(storage, buffers.clone(), settings.cache_bytes, tasks.clone())),
            buffers,
            pins: Arc::default(),
            finding: RwLock::default(),
            sweeping: Mutex::default(),
            // A process that was killed may have left something.
            garbage: Arc::new(AtomicBool::new(true)),
            oldest_upload: AtomicU64::new(Timestamp::MAX),
            full: Notify::new(),
            known_labels: KnownLabels::default(),
            warmth: Warmth::default(),
            demands: Demands::new(clock.clone()),
            uploads: Arc::new(Semaphore::new(settings.uploads_max)),
            readers: Arc::new(Semaphore::new(settings.readers_max)),
            settings,
            clock,
            tasks,
        }
    }

    /// Stores an object: its bytes first, then one turn of its bucket's agent that names them. A bucket that is not there
    /// is made.
    ///
    /// # Errors
    /// Nothing has changed, except after [`Error::Index`] with `unavailable`: then the outcome is unknown.
    pub async fn put<S, E>(&self, name: &ObjectName, body: S, put: Put) -> Result<ObjectStatus, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let (announced, conditions) = (put.len, put.conditions.clone());
        let (content_type, headers) = put.kept()?;
        if !conditions.is_empty() {
            // Looked at before all the bytes come, and again when it counts.
            let current = self.find(name, None).await?;
            let tag = current.as_ref().ok().and_then(Version::tag);
            conditions.check(tag).map_err(|unmet| Error::Unmet { object: name.to_string(), unmet })?;
        }
        let (content, pins, leftover) = self.upload(name, body, announced).await?;
        let at = self.clock.timestamp();
        let content = Content { content_type, headers, ..content };
        let asked = PutAsked { key: name.key.clone(), at, content, conditions };
        let (version, freed) = self.changed(name, PUT, &asked).await?;
        leftover.only_if(freed);
        drop(pins);
        Ok(status_of(version, at, asked.content))
    }

    /// Makes bytes durable that belong to no object yet.
    pub(crate) async fn upload<S, E>(
        &self,
        name: &ObjectName,
        body: S,
        announced: Option<u64>,
    ) -> Result<Stored<'_>, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let _place = place(&self.uploads, self.settings.uploads_max)?;
        // Whatever becomes of it from here on, something may be left over; success takes that back.
        let leftover = self.leftover();
        let chunk_len = self.settings.chunk_len;
        let upload = Upload {
            chunks: &self.chunks,
            buffers: &self.buffers,
            pins: &self.pins,
            tasks: &self.tasks,
            clock: &self.clock,
            garbage: &self.garbage,
            name,
            chunk_len,
        };
        let uploaded = upload.run(body, announced).await.inspect_err(|error| {
            if matches!(error, Error::Full) {
                self.full.notify_one();
            }
        });
        let Uploaded { len, hashes, _pins: pins } = uploaded?;
        let content = Content {
            len,
            chunk_len: u32::try_from(chunk_len).unwrap_or(u32::MAX),
            etag: ETag::of(hashes.as_bytes(), len),
            content_type: String::new(),
            headers: Headers::new(),
            hashes,
        };
        Ok((content, pins, leftover))
    }

    /// Looks at an object, or at one of its older versions.
    ///
    /// # Errors
    /// [`Error::NoBucket`] and [`Error::NoObject`].
    pub async fn status(&self, name: &ObjectName, version: Option<VersionId>) -> Result<ObjectStatus, Error> {
        let (id, at, content) = self.found(name, version).await?;
        Ok(status_of(id, at, content))
    }

    /// Opens an object, or one of its older versions, for reading.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`], [`Error::Busy`].
    pub async fn open(&self, name: &ObjectName, version: Option<VersionId>) -> Result<Reader, Error> {
        let place = self.reader_place()?;
        let _finding = self.finding.read().await;
        let (id, at, content) = self.found(name, version).await?;
        Ok(self.reader(name, id, at, content, place).await)
    }

    pub(crate) fn reader_place(&self) -> Result<Arc<OwnedSemaphorePermit>, Error> {
        place(&self.readers, self.settings.readers_max).map(Arc::new)
    }

    /// To be called while `finding` is held since the version was found.
    pub(crate) async fn reader(
        &self,
        name: &ObjectName,
        id: VersionId,
        at: Timestamp,
        content: Content,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Reader {
        let pins = self.pinned(name, &content).await;
        Reader::new(name, id, at, content, self.chunks.clone(), pins, place)
    }

    pub(crate) async fn pinned(&self, name: &ObjectName, content: &Content) -> Vec<Pin> {
        let mut pins = Vec::new();
        for hash in content.hashes.iter() {
            pins.push(self.pins.pin(ChunkId { tenant: name.tenant.clone(), hash }).await);
        }
        pins
    }

    /// What is left behind is swept, unless this is told that nothing was left.
    pub(crate) fn leftover(&self) -> Leftover<'_> {
        Leftover(&self.garbage, true)
    }

    /// Deletes an object, and tells the version with which it is gone. Where older versions are kept they stay, and this is the newest one: one without bytes.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`], [`Error::Unmet`].
    pub async fn delete(&self, name: &ObjectName, conditions: Conditions) -> Result<VersionId, Error> {
        let asked = DeleteAsked { key: name.key.clone(), at: self.clock.timestamp(), conditions };
        let deleted = self.changed(name, DELETE, &asked).await;
        let (version, freed) = deleted.map_err(|e| e.of_missing_bucket(&name.bucket))?;
        self.leftover().only_if(freed);
        Ok(version)
    }

    /// A page of the objects whose keys begin with `prefix` and come after `after`, in the order of their keys.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub async fn list(
        &self,
        tenant: &Name,
        bucket: &BucketName,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<ObjectPage, Error> {
        match self.ask(tenant, bucket, LIST, &ListAsked { prefix, after, limit }).await? {
            Listed::Page { objects, next } => Ok(ObjectPage { objects, next }),
            Listed::NoBucket => Err(Error::NoBucket { bucket: bucket.to_string() }),
        }
    }

    /// A page of the tenant's buckets, in the order of their names.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub async fn buckets(&self, tenant: &Name, after: Option<&str>, limit: usize) -> Result<BucketPage, Error> {
        let after = after.map(AgentKey::new).transpose();
        let after = after.map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
        let found = self.engine.list(tenant, &agent::BUCKETS.name(), after.as_ref(), limit).await?;
        let last = found.last().filter(|_| found.len() == limit).map(|address| address.key.clone());
        let mut buckets = Vec::new();
        for address in found {
            let bucket = agent::bucket_of(&address)?;
            if let Some(status) = self.ask(tenant, &bucket, STATUS, &()).await? {
                buckets.push((bucket, status));
            }
        }
        Ok(BucketPage { buckets, next: last.map(String::from) })
    }

    /// Makes a bucket, or makes one what `spec` says.
    ///
    /// # Errors
    /// `invalid_request` for labels or a number of versions that cannot be.
    pub async fn configure(&self, tenant: &Name, bucket: &BucketName, spec: BucketSpec) -> Result<BucketStatus, Error> {
        let _changing = self.known_labels.changing(tenant, bucket);
        self.ask(tenant, bucket, CONFIGURE, &ConfigureAsked { spec, at: self.clock.timestamp() }).await
    }

    /// Sweeps if something may be there that no version names, or an upload in parts may be open for too long; never if the
    /// storage is shared.
    ///
    /// # Errors
    /// As [`Objects::sweep`]; it is tried again by the next call.
    pub async fn sweep_if_needed(&self) -> Result<Option<crate::Swept>, Error> {
        if self.settings.shared {
            return Ok(None);
        }
        let oldest_upload = Duration::from_millis(self.oldest_upload.load(Ordering::Relaxed));
        let is_due = oldest_upload.saturating_add(OPEN_MAX) <= Duration::from_millis(self.clock.timestamp());
        if !self.garbage.swap(false, Ordering::Relaxed) && !is_due {
            return Ok(None);
        }
        // The sweep finds it again.
        self.oldest_upload.store(Timestamp::MAX, Ordering::Relaxed);
        let leftover = self.leftover();
        let swept = self.sweep().await?;
        leftover.only_if(false);
        Ok(Some(swept))
    }

    pub(crate) fn note_open_upload(&self, begun_at: Timestamp) {
        self.oldest_upload.fetch_min(begun_at, Ordering::Relaxed);
    }

    /// Waits until an upload found no space: then a sweep should not be put off.
    pub async fn wants_space(&self) {
        self.full.notified().await;
    }

    /// What the cache holds and has done.
    pub fn stats(&self) -> CacheStats {
        self.chunks.stats()
    }

    /// Has the bucket change one of its objects. The new version, and whether one is no longer kept for it.
    pub(crate) async fn changed(
        &self,
        name: &ObjectName,
        method: &str,
        asked: &impl Serialize,
    ) -> Result<(VersionId, bool), Error> {
        match self.ask(&name.tenant, &name.bucket, method, asked).await? {
            Changed::Done { version, freed } => Ok((version, freed)),
            Changed::Unmet(unmet) => Err(Error::Unmet { object: name.to_string(), unmet }),
            Changed::NotFound(missing) => Err(not_found(name, missing, None)),
        }
    }

    pub(crate) async fn found(
        &self,
        name: &ObjectName,
        wanted: Option<VersionId>,
    ) -> Result<(VersionId, Timestamp, Content), Error> {
        match self.find(name, wanted).await? {
            Ok(Version { id, at, content: Some(content) }) => Ok((id, at, content)),
            Ok(Version { id, .. }) => Err(not_found(name, Missing::Deleted(id), wanted)),
            Err(missing) => Err(not_found(name, missing, wanted)),
        }
    }

    async fn find(&self, name: &ObjectName, version: Option<VersionId>) -> Result<Result<Version, Missing>, Error> {
        let asked = FindAsked { key: name.key.clone(), version };
        Ok(match self.ask(&name.tenant, &name.bucket, FIND, &asked).await? {
            Found::Version(version) => Ok(version),
            Found::NotFound(missing) => Err(missing),
        })
    }

    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        tenant: &Name,
        bucket: &BucketName,
        method: &str,
        asked: &impl Serialize,
    ) -> Result<T, Error> {
        Ok(native::ask(&self.engine, &agent::address(tenant, bucket), method, asked).await?)
    }
}

fn place(places: &Arc<Semaphore>, max: usize) -> Result<OwnedSemaphorePermit, Error> {
    places.clone().try_acquire_owned().map_err(|_| Error::Busy { max })
}

fn not_found(name: &ObjectName, missing: Missing, wanted: Option<VersionId>) -> Error {
    let object = match wanted {
        Some(version) => format!("{name}?version={version}"),
        None => name.to_string(),
    };
    match missing {
        Missing::Bucket => Error::NoBucket { bucket: name.bucket.to_string() },
        Missing::Object => Error::NoObject { object, hint: String::new() },
        Missing::Version => {
            Error::NoObject { object, hint: "; the object has no such version, or not any more".into() }
        }
        Missing::Deleted(version) => {
            Error::NoObject { object, hint: format!("; it was deleted with version {version}") }
        }
    }
}

/// Notes that a sweep is worth its while, unless it is told otherwise: also when whoever has it is dropped half way.
pub(crate) struct Leftover<'a>(&'a AtomicBool, bool);

impl Leftover<'_> {
    pub(crate) fn only_if(mut self, left: bool) {
        self.1 = left;
    }
}

impl Drop for Leftover<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
