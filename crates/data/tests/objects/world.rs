//! What the tests share: a node's objects without the node. Chunks are small, so that small objects have many.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use stride_agents::{Engine, Surroundings, native::NativeTypes};
use stride_data::{BUCKETS, Conditions, ETag, Error, ObjectStatus, Objects, Put, RangeSpec, Settings, Storage, Tags};
use stride_ids::{BucketName, Name, ObjectKey, ObjectName, VersionId};
use stride_journal::{Journal, memory::MemoryJournal};
use stride_sim::{Chance, Clock, Tasks};
use stride_store::Store;

/// How many bytes a chunk has here.
pub(crate) const CHUNK: usize = 1_000;

/// Objects, and what they are made of.
pub(crate) struct World {
    pub(crate) objects: Arc<Objects>,
    pub(crate) clock: Clock,
    journal: Arc<dyn Journal>,
    dir: tempfile::TempDir,
}

pub(crate) fn settings() -> Settings {
    Settings { chunk_len: CHUNK, ..Settings::default() }
}

pub(crate) async fn world() -> World {
    world_of(settings(), None).await
}

/// With chunks in another storage than a directory.
pub(crate) async fn world_of(settings: Settings, storage: Option<Storage>) -> World {
    let (dir, journal) = (tempfile::tempdir().unwrap(), Arc::new(MemoryJournal::new()));
    let clock = Clock::manual();
    let objects = open(dir.path(), journal.clone(), settings, clock.clone(), storage).await;
    World { objects, clock, journal, dir }
}

async fn open(
    dir: &Path,
    journal: Arc<dyn Journal>,
    settings: Settings,
    clock: Clock,
    storage: Option<Storage>,
) -> Arc<Objects> {
    let engine_settings = stride_agents::Settings::default();
    let surroundings = Surroundings {
        journal,
        store: Arc::new(Store::open(&dir.join("store"), engine_settings.cells, Default::default()).unwrap()),
        bodies: Arc::new(NativeTypes::new([BUCKETS])),
        clock: clock.clone(),
        chance: Chance::seeded(1),
        tasks: Tasks::real(),
        cluster: None,
    };
    let engine = Engine::open(surroundings, engine_settings).await.unwrap();
    let storage = storage.unwrap_or_else(|| Storage::local(&dir.join("objects"), Tasks::real()).unwrap());
    Arc::new(Objects::new(engine, storage, settings, clock, Tasks::real()))
}

impl World {
    /// The same after a crash: what was in memory is gone.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with(None).await
    }

    /// The same after a crash, with chunks in another storage than a directory.
    pub(crate) async fn restarted_with(self, storage: Option<Storage>) -> Self {
        let Self { objects, clock, journal, dir } = self;
        assert!(Arc::into_inner(objects).is_some(), "somebody still has the objects");
        // The engine's own task may hold on to it for a moment; the store is free when it has ended.
        let objects = loop {
            match Store::open(&dir.path().join("store"), 64, Default::default()) {
                Ok(store) => {
                    drop(store);
                    break open(dir.path(), journal.clone(), settings(), clock.clone(), storage).await;
                }
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Self { objects, clock, journal, dir }
    }

    pub(crate) async fn put(&self, name: &str, bytes: &[u8]) -> ObjectStatus {
        self.put_if(name, bytes, Conditions::default()).await.unwrap()
    }

    pub(crate) async fn put_if(&self, name: &str, bytes: &[u8], conditions: Conditions) -> Result<ObjectStatus, Error> {
        self.clock.advance(Duration::from_millis(1));
        let put = Put { conditions, ..Put::default() };
        self.objects.put(&object(name), in_parts(bytes, 313), put).await
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.read(name, None, None).await
    }

    pub(crate) async fn read(
        &self,
        name: &str,
        version: Option<VersionId>,
        range: Option<RangeSpec>,
    ) -> Result<Vec<u8>, Error> {
        let reader = self.objects.open(&object(name), version).await?;
        let range = reader.range(range)?;
        let pieces: Vec<Bytes> = reader.stream(range).try_collect().await?;
        Ok(pieces.concat())
    }

    /// The keys of a bucket that begin with `prefix`, read in pages of `limit`.
    pub(crate) async fn keys(&self, bucket: &str, prefix: &str, limit: usize) -> Vec<String> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let (tenant, bucket) = (Name::default_tenant(), BucketName::new(bucket).unwrap());
            let page = self.objects.list(&tenant, &bucket, prefix.into(), after, limit).await.unwrap();
            assert!(page.objects.len() <= limit);
            keys.extend(page.objects.into_iter().map(|(key, _)| key.to_string()));
            match page.next {
                Some(next) => after = Some(next),
                None => return keys,
            }
        }
    }

    /// The files that are stored.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, into) } else { into.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(&self.dir.path().join("objects"), &mut files);
        files.sort();
        files
    }
}

/// `bucket/key` of the default tenant.
pub(crate) fn object(name: &str) -> ObjectName {
    let (bucket, key) = name.split_once('/').unwrap();
    ObjectName {
        tenant: Name::default_tenant(),
        bucket: BucketName::new(bucket).unwrap(),
        key: ObjectKey::new(key).unwrap(),
    }
}

/// Bytes that differ from chunk to chunk and from seed to seed.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let chance = Chance::seeded(seed);
    (0..len).map(|_| chance.next_u64() as u8).collect()
}

/// A body that comes in parts of `len` bytes.
pub(crate) fn in_parts(bytes: &[u8], len: usize) -> impl futures::Stream<Item = Result<Bytes, String>> + Send + use<> {
    let parts: Vec<_> = bytes.chunks(len).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    stream::iter(parts)
}

pub(crate) fn if_absent() -> Conditions {
    Conditions { if_match: None, if_none_match: Some(Tags::Any) }
}

pub(crate) fn if_match(tag: ETag) -> Conditions {
    Conditions { if_match: Some(Tags::OneOf(vec![tag])), if_none_match: None }
}
