//! The object store, with an end to every wait, and with errors that name what they are about.

use std::{collections::BTreeMap, future::Future, io, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path,
};
use stride_ids::CellId;
use stride_sim::Clock;

use crate::{error::Error, manifest::ManifestName};

/// How long the store may take over one request, or over one page of a listing, what it is asked again included.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// No manifest is longer: it names a few files.
const MANIFEST_LEN_MAX: u64 = 1 << 20;

pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    clock: Clock,
}

/// What is there of a cell.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Manifests, with the time at which they were written by the store's clock, in milliseconds.
    pub(crate) manifests: BTreeMap<ManifestName, i64>,
    pub(crate) files: BTreeMap<String, Listed>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) len: u64,
    /// By the store's clock, in milliseconds.
    pub(crate) written_at: i64,
}

impl Listing {
    /// A time that the store's clock has passed for certain.
    pub(crate) fn now(&self) -> i64 {
        let files = self.files.values().map(|file| file.written_at);
        files.chain(self.manifests.values().copied()).max().unwrap_or(i64::MIN)
    }
}

impl Remote {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub(crate) async fn list(&self, cell: CellId) -> Result<Listing, Error> {
        let dir = dir(cell);
        let mut found = self.store.list(Some(&dir));
        let mut listing = Listing::default();
        while let Some(meta) = self.answer("list", &dir, found.try_next()).await? {
            let ObjectMeta { location, last_modified, size, .. } = meta;
            let (Some(name), written_at) = (location.filename(), last_modified.timestamp_millis()) else { continue };
            match ManifestName::parse(name) {
                Some(manifest) => drop(listing.manifests.insert(manifest, written_at)),
                None => drop(listing.files.insert(name.to_owned(), Listed { len: size, written_at })),
            }
        }
        Ok(listing)
    }

    /// All of a manifest.
    pub(crate) async fn read_manifest(&self, path: &Path) -> Result<Bytes, Error> {
        let read = async {
            let got = self.store.get(path).await?;
            if got.meta.size > MANIFEST_LEN_MAX { Ok(None) } else { got.bytes().await.map(Some) }
        };
        self.found("read", path, read).await?.ok_or_else(|| Error::damaged(path, "it is too long for a manifest"))
    }

    pub(crate) async fn read(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        self.found("read", path, self.store.get_range(path, range)).await
    }

    /// Writes what is not there yet. Whether it was there; it may be there because this was repeated after a lost answer.
    pub(crate) async fn create(&self, path: &Path, bytes: Vec<u8>) -> Result<bool, Error> {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let written = async {
            match self.store.put_opts(path, PutPayload::from(bytes), create).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
                Err(e) => Err(e),
            }
        };
        self.answer("write", path, written).await
    }

    pub(crate) async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), Error> {
        self.answer("write", path, self.store.put(path, PutPayload::from(bytes))).await.map(drop)
    }

    pub(crate) async fn begin_upload(&self, path: &Path) -> Result<Upload<'_>, Error> {
        let parts = self.answer("write", path, self.store.put_multipart(path)).await?;
        Ok(Upload { remote: self, path: path.clone(), parts })
    }

    /// Removes what may be gone already.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), Error> {
        let removed = async {
            match self.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(e),
            }
        };
        self.answer("remove", path, removed).await
    }

    async fn found<T>(
        &self,
        doing: &'static str,
        path: &Path,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        let found = async {
            match work.await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        self.answer(doing, path, found).await?.ok_or_else(|| Error::Missing { path: path.to_string() })
    }

    async fn answer<T>(
        &self,
        doing: &'static str,
        path: &Path,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        let silent = |_| {
            let silent = io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {ANSWER_MAX:?}"));
            object_store::Error::Generic { store: "remote", source: Box::new(silent) }
        };
        let answered = self.clock.timeout(ANSWER_MAX, work).await.map_err(silent).and_then(|answer| answer);
        answered.map_err(|e| Error::storage(doing, path, &e))
    }
}

/// A file that is written in parts, and is there when it is finished.
pub(crate) struct Upload<'a> {
    remote: &'a Remote,
    path: Path,
    parts: Box<dyn MultipartUpload>,
}

impl Upload<'_> {
    pub(crate) async fn push(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.remote.answer("write", &self.path, self.parts.put_part(PutPayload::from(bytes))).await
    }

    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        self.remote.answer("write", &self.path, self.parts.complete()).await.map(drop)
    }

    /// Gives the parts up, as far as the store lets us.
    pub(crate) async fn abort(mut self) {
        let aborted = self.remote.answer("give up writing", &self.path, self.parts.abort()).await;
        if let Err(e) = aborted {
            tracing::warn!("parts of an upload stay until the store removes them: {e}");
        }
    }
}

fn dir(cell: CellId) -> Path {
    Path::from_iter(["cells", &format!("{:05}", cell.0)])
}

pub(crate) fn path_of(cell: CellId, name: impl ToString) -> Path {
    dir(cell).join(name.to_string())
}
