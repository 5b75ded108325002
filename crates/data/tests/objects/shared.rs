//! A storage that the nodes of a cluster share.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path as Name};
use stride_data::{Error, OpenError, Owner, Settings, Storage};
use stride_sim::{Clock, Tasks};

use crate::world::{CHUNK, object, settings, world_of};

async fn open(dir: &Path, owner: Owner) -> Result<Storage, OpenError> {
    let location = format!("file://{}", dir.display()).parse().unwrap();
    Storage::open(&location, &[], &owner, Clock::real(), Tasks::real()).await
}

async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
}

#[tokio::test]
async fn the_nodes_of_a_cluster_share_a_storage_and_nobody_else_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = |owner| open(dir.path(), owner);
    let nodes = (0..8).map(|n| open(Owner::cluster("clu-1", format!("nod-{n}"))));
    futures::future::try_join_all(nodes).await.unwrap();
    for other in [Owner::cluster("clu-2", "nod-1"), Owner::node("nod-1")] {
        let error = open(other).await.err().unwrap();
        assert!(matches!(&error, OpenError::Owned { owner, .. } if owner == "clu-1"), "{error}");
    }
}

#[tokio::test]
async fn what_is_beside_the_chunks_has_names_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::local(dir.path(), Tasks::real()).unwrap();
    let (one, other) = (storage.beside("one"), storage.beside("other"));
    one.put(&Name::from("a/b"), "x".into()).await.unwrap();
    assert_eq!((names(&one).await, names(&other).await), (vec!["a/b".to_owned()], vec![]));
    assert_eq!(std::fs::read(dir.path().join("one/a/b")).unwrap(), b"x");
}

#[tokio::test]
async fn a_component_comes_back_as_it_was_or_not_at_all() {
    let raw: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let components = Storage::over(raw.clone(), Clock::real(), Tasks::real()).components();
    let hash = components.put(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!((hash.len(), components.get(&hash).await.unwrap()), (64, Bytes::from_static(b"component")));
    raw.put(&Name::from(format!("components/{hash}")), "other".into()).await.unwrap();
    for (hash, why) in [(hash.as_str(), "damaged"), (&"0".repeat(64), "not in the object store"), ("../x", "no hash")] {
        let error = components.get(hash).await.unwrap_err();
        assert!(matches!(&error, Error::NoComponent { why: said, .. } if said.contains(why)), "{error}");
    }
    components.put(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(components.get(&hash).await.unwrap(), "component");
}

#[tokio::test]
async fn a_storage_that_is_shared_is_not_swept() {
    for shared in [true, false] {
        let raw: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let storage = Storage::over(raw.clone(), Clock::real(), Tasks::real());
        let world = world_of(Settings { shared, ..settings() }, Some(storage)).await;
        world.put("data/a", b"old").await;
        world.put("data/a", b"new").await;
        let swept = world.objects.sweep_if_needed().await.unwrap().map_or(0, |swept| swept.removed);
        let again = world.objects.sweep().await.unwrap().removed;
        assert_eq!((swept, again, names(&raw).await.len()), if shared { (0, 0, 2) } else { (1, 0, 1) });
    }
}

#[tokio::test]
async fn what_the_caches_hold_is_told_and_what_left_them_is_not() {
    let storage = Storage::over(Arc::new(InMemory::new()), Clock::real(), Tasks::real());
    let settings = Settings { shared: true, cache_bytes: 40 * CHUNK, ..settings() };
    let world = world_of(settings, Some(storage)).await;
    for n in 0..100u8 {
        world.put(&format!("data/{n}"), &[n; 2 * CHUNK]).await;
    }
    assert_eq!(world.objects.sketched(), 0, "what was only written is not near");
    for n in 0..100 {
        world.get(&format!("data/{n}")).await.unwrap();
    }
    let (sketch, changes) = world.objects.sketch();
    assert!(changes > 0 && changes == world.objects.sketched());
    let (mut near, mut told) = (0, 0);
    for n in 0..100 {
        let locality = world.objects.locality(&object(&format!("data/{n}")), None).await.unwrap();
        assert_eq!(locality.cached_bytes, locality.near_bytes);
        assert!(locality.bytes_in(&sketch) >= locality.near_bytes, "what is here is told");
        near += locality.near_bytes;
        told += locality.bytes_in(&sketch);
    }
    assert!(near > 0 && near < 100 * 2 * CHUNK as u64 / 2, "{near} bytes fit");
    assert_eq!(near, told, "with so few chunks, nothing is told that is not here");
}
