//! Disks that lose, change and refuse.

use std::{
    fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use stride_data::{Error, RangeSpec, Storage};
use stride_ids::{Code, Failure};
use stride_sim::{Clock, Tasks};

use crate::world::{CHUNK, bytes, settings, world, world_of};

#[tokio::test]
async fn a_damaged_chunk_is_named_and_never_given_out() {
    let world = world().await;
    let sent = bytes(3 * CHUNK, 1);
    world.put("data/a", &sent[..CHUNK]).await;
    let first = world.files().remove(0);
    world.put("data/a", &sent).await;
    let chunk = first.file_name().unwrap().to_str().unwrap().to_owned();
    for damage in [&sent[1..=CHUNK], &sent[..CHUNK - 1], b""] {
        fs::write(&first, damage).unwrap();
        let error = world.get("data/a").await.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&chunk) && text.contains("data/a"), "{text}");
        assert_eq!(Failure::from(error).code, Code::Internal);
    }
    // What lies in other chunks is sound.
    let tail = world.read("data/a", None, Some(RangeSpec::From(CHUNK as u64))).await.unwrap();
    assert_eq!(tail, sent[CHUNK..]);
    assert_eq!(world.objects.stats().corrupt, 3);
}

#[tokio::test]
async fn putting_the_same_bytes_again_repairs_what_was_found_damaged() {
    let world = world().await;
    let sent = bytes(CHUNK, 1);
    world.put("data/a", &sent).await;
    fs::write(&world.files()[0], bytes(CHUNK, 2)).unwrap();
    assert!(matches!(world.get("data/a").await, Err(Error::Corrupt { .. })));
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
}

#[tokio::test]
async fn a_chunk_that_vanished_is_named_and_can_be_put_again() {
    let world = world().await;
    let sent = bytes(2 * CHUNK, 1);
    world.put("data/a", &sent).await;
    for file in world.files() {
        fs::remove_file(file).unwrap();
    }
    let error = world.get("data/a").await.unwrap_err();
    assert!(matches!(&error, Error::Vanished { object, .. } if object == "data/a"), "{error}");
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
}

#[tokio::test]
async fn a_full_disk_refuses_and_changes_nothing_and_goes_on_when_there_is_space() {
    let full = Arc::new(AtomicBool::new(false));
    let store = FullWhen { store: InMemory::new(), full: full.clone() };
    let world = world_of(settings(), Some(Storage::over(Arc::new(store), Clock::real(), Tasks::real()))).await;
    world.put("data/a", b"as it was").await;
    full.store(true, Ordering::Relaxed);
    let error = world.put_if("data/a", &bytes(5 * CHUNK, 1), Default::default()).await.unwrap_err();
    assert!(matches!(error, Error::Full), "{error}");
    assert_eq!(Failure::from(error).code, Code::Unavailable);
    assert_eq!(world.get("data/a").await.unwrap(), b"as it was");
    full.store(false, Ordering::Relaxed);
    world.put("data/a", b"new").await;
    assert_eq!(world.get("data/a").await.unwrap(), b"new");
}

/// A store that has no space left when it is told so.
#[derive(Debug)]
struct FullWhen {
    store: InMemory,
    full: Arc<AtomicBool>,
}

impl fmt::Display for FullWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that may be full")
    }
}

#[async_trait]
impl ObjectStore for FullWhen {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if self.full.load(Ordering::Relaxed) {
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
            return Err(object_store::Error::Generic { store: "full", source });
        }
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, at: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
