//! What objects ask of a store, asked of every kind of store that can be had here: one list of demands, run for each.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, memory::InMemory, path::Path, prefix::PrefixStore};
use stride_data::{Error, OpenError, Owner, Put, RangeSpec, Storage, use_tls};
use stride_emulators::Emulator;
use stride_ids::{Code, Failure};
use stride_sim::{Clock, Tasks};

use crate::world::{CHUNK, bytes, in_parts, object, settings, world_of};

/// More than a store names at a time in a listing.
const MANY: usize = 1_050;

/// A store.
struct Place {
    url: String,
    environment: Vec<(String, String)>,
    /// The same, looked at directly.
    raw: Arc<dyn ObjectStore>,
}

impl Place {
    /// As a node opens it.
    async fn storage(&self) -> Option<Storage> {
        if self.url.is_empty() {
            return Some(Storage::over(self.raw.clone(), Clock::real(), Tasks::real()));
        }
        Some(open(&self.url, &self.environment, "nod-1").await.unwrap())
    }

    async fn emulated(emulator: &Emulator, prefix: &str) -> Self {
        let (url, environment) = (emulator.url(prefix), emulator.environment());
        let variables = environment.iter().map(|(name, value)| (name.to_lowercase(), value));
        use_tls();
        let (raw, path) = object_store::parse_url_opts(&url.parse().unwrap(), variables).unwrap();
        let raw: Arc<dyn ObjectStore> = Arc::from(raw);
        Self { url, environment, raw: Arc::new(PrefixStore::new(raw, path)) }
    }
}

async fn open(url: &str, environment: &[(String, String)], owned_by: &str) -> Result<Storage, OpenError> {
    let (location, owner) = (url.parse().unwrap(), Owner::node(owned_by));
    Storage::open(&location, environment, &owner, Clock::real(), Tasks::real()).await
}

async fn chunk_paths(raw: &Arc<dyn ObjectStore>) -> Vec<Path> {
    raw.list(Some(&Path::from("chunks"))).map_ok(|meta| meta.location).try_collect().await.unwrap()
}

/// The demands.
async fn keeps_objects(place: Place) {
    let raw = place.raw.clone();
    let world = world_of(settings(), place.storage().await).await;
    let sent = bytes(3 * CHUNK + 7, 1);

    // What is put can be read at once, whole and in part, and equal bytes are stored once.
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    let range = RangeSpec::Between(CHUNK as u64 - 1, 2 * CHUNK as u64);
    assert_eq!(world.read("data/a", None, Some(range)).await.unwrap(), sent[CHUNK - 1..=2 * CHUNK]);
    world.put("data/b", &sent).await;
    world.put("other/empty", b"").await;
    assert_eq!(world.get("other/empty").await.unwrap(), b"");
    assert_eq!((chunk_paths(&raw).await.len(), world.keys("data", "", 1).await), (4, vec!["a".into(), "b".into()]));

    // What breaks off is not there, and goes with the next sweep; so does what nobody needs any more.
    let torn = in_parts(&bytes(2 * CHUNK, 2), 500).chain(stream::iter([Err("the client went away".to_owned())]));
    world.objects.put(&object("data/torn"), torn, Put::default()).await.unwrap_err();
    world.objects.delete(&object("data/b"), Default::default()).await.unwrap();
    assert_eq!(world.keys("data", "", 10).await, ["a"]);
    while chunk_paths(&raw).await.len() > 4 {
        world.objects.sweep().await.unwrap();
    }
    assert_eq!(world.get("data/a").await.unwrap(), sent);

    // A damaged chunk is named and not given out, one that is gone as well; the same bytes repair both.
    let world = world.restarted_with(place.storage().await).await;
    let path = chunk_paths(&raw).await.remove(0);
    raw.put(&path, PutPayload::from_static(b"something else")).await.unwrap();
    let error = world.get("data/a").await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { object, .. } if object == "data/a"), "{error}");
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    let world = world.restarted_with(place.storage().await).await;
    raw.delete(&path).await.unwrap();
    let error = world.get("data/a").await.unwrap_err();
    assert!(matches!(&error, Error::Vanished { .. }), "{error}");
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);

    // More than one page of chunks that nobody needs goes, and the rest stays.
    let many = stream::iter(0..MANY).map(|n| {
        let bytes = format!("chunk {n}").into_bytes();
        let hash = stride_data::ChunkHash::of(&bytes).to_string();
        let path = Path::from(format!("chunks/default/{}/{hash}", &hash[..2]));
        let raw = raw.clone();
        async move { raw.put(&path, bytes.into()).await }
    });
    many.buffer_unordered(16).try_for_each(|_| async { Ok(()) }).await.unwrap();
    let swept = world.objects.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.kept), (MANY as u64, 4));
    assert_eq!((chunk_paths(&raw).await.len(), world.get("data/a").await.unwrap()), (4, sent));
}

#[tokio::test]
async fn a_store_in_memory_keeps_objects() {
    let raw: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    keeps_objects(Place { url: String::new(), environment: Vec::new(), raw }).await;
}

#[tokio::test]
async fn a_directory_keeps_objects() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(dir.path()).unwrap());
    let url = format!("file://{}", dir.path().display());
    keeps_objects(Place { url, environment: Vec::new(), raw }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_objects_and_says_what_is_wrong() {
    let emulator = Emulator::s3();
    keeps_objects(Place::emulated(&emulator, "nodes/one").await).await;
    says_what_is_wrong(&emulator).await;
    let credentials = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    misses_credentials(&emulator, &credentials, ("AWS_METADATA_ENDPOINT", CLOSED)).await;
    let closed = changed(&emulator, &[], ("AWS_ENDPOINT_URL", CLOSED));
    let error = open(&emulator.url("two"), &closed, "nod-1").await.err().unwrap();
    assert!(matches!(&error, OpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("AWS_ENDPOINT_URL") && error.to_string().contains("refused"), "{error}");
    is_not_waited_for_without_end(&emulator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_objects_and_says_what_is_wrong() {
    let emulator = Emulator::azure();
    keeps_objects(Place::emulated(&emulator, "nodes/one").await).await;
    says_what_is_wrong(&emulator).await;
    misses_credentials(&emulator, &["AZURE_STORAGE_ACCOUNT_KEY"], ("AZURE_MSI_ENDPOINT", CLOSED)).await;
    let wrong_key = changed(&emulator, &[], ("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc="));
    let error = open(&emulator.url("two"), &wrong_key, "nod-1").await.err().unwrap();
    assert!(matches!(&error, OpenError::Refused { doing: "write", .. }), "{error}");
    let nobody = changed(&emulator, &["AZURE_STORAGE_ACCOUNT_NAME"], ("x", ""));
    let error = open(&emulator.url("two"), &nobody, "nod-1").await.err().unwrap();
    assert!(error.to_string().contains("set AZURE_STORAGE_ACCOUNT_NAME"), "{error}");
    is_not_waited_for_without_end(&emulator).await;
}

/// Nobody listens there.
const CLOSED: &str = "http://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn google_keeps_objects_and_says_what_is_wrong() {
    let emulator = Emulator::google();
    keeps_objects(Place::emulated(&emulator, "nodes/one").await).await;
    says_what_is_wrong(&emulator).await;
    let closed = changed(&emulator, &[], ("GOOGLE_BASE_URL", CLOSED));
    let error = open(&emulator.url("two"), &closed, "nod-1").await.err().unwrap();
    assert!(matches!(&error, OpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("GOOGLE_BASE_URL") && error.to_string().contains(CLOSED), "{error}");
    is_not_waited_for_without_end(&emulator).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let error = open(&format!("file://{}/file/objects", dir.path().display()), &[], "nod-1").await.err().unwrap();
    assert!(matches!(&error, OpenError::Directory { .. }), "{error}");
}

fn changed(emulator: &Emulator, without: &[&str], with: (&str, &str)) -> Vec<(String, String)> {
    let mut environment = emulator.environment();
    environment.retain(|(name, _)| !without.contains(&name.as_str()) && name != with.0);
    environment.push((with.0.to_owned(), with.1.to_owned()));
    environment
}

async fn says_what_is_wrong(emulator: &Emulator) {
    let (url, environment) = (emulator.url("two"), emulator.environment());
    // Whoever has it keeps it, and nobody else sweeps there.
    open(&url, &environment, "nod-1").await.unwrap();
    open(&url, &environment, "nod-1").await.unwrap();
    let error = open(&url, &environment, "nod-2").await.err().unwrap();
    let says = error.to_string();
    assert!(matches!(&error, OpenError::Owned { .. }) && says.contains("belongs to nod-1"), "{says}");

    let missing = url.replace("stride-test", "no-such-bucket");
    let error = open(&missing, &environment, "nod-1").await.err().unwrap();
    assert!(matches!(&error, OpenError::NoBucket { .. }), "{error}");
    assert!(error.to_string().contains("make it first"), "{error}");
}

/// Without credentials, on a machine that has none either.
async fn misses_credentials(emulator: &Emulator, credentials: &[&str], machine: (&str, &str)) {
    let error = open(&emulator.url("two"), &changed(emulator, credentials, machine), "nod-1").await.err().unwrap();
    assert!(matches!(&error, OpenError::NoCredentials { .. }), "{error}");
    assert!(error.to_string().contains(credentials[0]), "{error}");
}

/// A store that takes connections and answers nothing is unavailable, not a hang, and nothing is lost by it.
async fn is_not_waited_for_without_end(emulator: &Emulator) {
    let place = Place::emulated(emulator, "three").await;
    let world = world_of(settings(), place.storage().await).await;
    world.put("data/a", b"as it was").await;
    emulator.freeze();
    let (read, written) = futures::join!(world.get("data/a"), world.put_if("data/a", b"new", Default::default()));
    for error in [read.err().unwrap(), written.err().unwrap()] {
        assert_eq!(Failure::from(error).code, Code::Unavailable);
    }
    emulator.thaw();
    assert_eq!(world.get("data/a").await.unwrap(), b"as it was");
    world.put("data/a", b"new").await;
    assert_eq!(world.get("data/a").await.unwrap(), b"new");
}
