//! An object store that fails, or takes its time.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, path::Path,
};
use stride_sim::Clock;

/// Over a sound store. A request is one step, which may fail; a write has another one after it was carried out.
#[derive(Debug)]
pub(crate) struct Unreliable {
    inner: Arc<dyn ObjectStore>,
    steps_left: AtomicI64,
    clock: Clock,
    write_takes: Duration,
}

impl Unreliable {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Self::slow(inner, Clock::manual(), Duration::ZERO)
    }

    /// Moves the clock on with each write.
    pub(crate) fn slow(inner: Arc<dyn ObjectStore>, clock: Clock, write_takes: Duration) -> Arc<Self> {
        Arc::new(Self { inner, steps_left: AtomicI64::new(i64::MAX), clock, write_takes })
    }

    /// Has one step fail, after so many that do not.
    pub(crate) fn fail_after(&self, steps: i64) {
        self.steps_left.store(steps, Ordering::Relaxed);
    }

    pub(crate) fn is_well(&self) {
        self.fail_after(i64::MAX);
    }

    fn step(&self) -> Result<()> {
        match self.steps_left.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(object_store::Error::Generic { store: "unreliable", source: "it broke".into() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreliable")
    }
}

#[async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.step()?;
        self.clock.advance(self.write_takes);
        let put = self.inner.put_opts(path, payload, options).await;
        self.step()?;
        put
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.step()?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.step()?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.step() {
            Ok(()) => self.inner.delete_stream(paths),
            Err(e) => Box::pin(futures::stream::iter([Err(e)])),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.step() {
            Ok(()) => self.inner.list(prefix),
            Err(e) => Box::pin(futures::stream::iter([Err(e)])),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
