//! Chunks that are kept on a local disk because their store is further away.

use std::{
    fs,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, memory::InMemory, path::Path};
use stride_data::{DiskCache, Error, Storage};
use stride_sim::{Clock, Tasks};

use crate::world::{CHUNK, World, bytes, settings, world_of};

async fn storage(store: &Arc<InMemory>, dir: &FilePath, capacity: usize) -> Option<Storage> {
    let cache = DiskCache::open(dir, capacity, Tasks::real()).await.unwrap();
    Some(Storage::over(store.clone(), Clock::real(), Tasks::real()).with_disk_cache(cache))
}

const CAPACITY: usize = 64 << 20;

fn kept(dir: &FilePath) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("default")).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_none()).collect()
}

/// Waits until so many bytes were written to disk, which nobody else waits for.
async fn until_written(world: &World, bytes: usize) {
    while world.objects.stats().disk.written_bytes < bytes as u64 {
        tokio::task::yield_now().await;
    }
}

async fn damage_all(store: &InMemory) {
    let chunks: Vec<Path> = store.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    for path in chunks {
        store.put(&path, PutPayload::from_static(b"damaged")).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_read_once_is_read_from_disk_after_a_restart_also_when_the_store_has_it_damaged() {
    let (store, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let world = world_of(settings(), storage(&store, dir.path(), CAPACITY).await).await;
    let sent = bytes(3 * CHUNK, 1);
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    until_written(&world, sent.len()).await;
    assert_eq!((world.objects.stats().disk.misses, world.objects.stats().disk.hits), (3, 0));
    // What was only begun goes, and what is not ours stays.
    let file = kept(dir.path()).remove(0);
    fs::write(file.with_extension("partial"), b"half").unwrap();
    fs::write(dir.path().join("default/notes"), b"not ours").unwrap();
    damage_all(&store).await;

    let world = world.restarted_with(storage(&store, dir.path(), CAPACITY).await).await;
    assert!(!file.with_extension("partial").exists() && dir.path().join("default/notes").exists());
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    let stats = world.objects.stats();
    assert_eq!((stats.disk.hits, stats.disk.hit_bytes, stats.read_bytes), (3, sent.len() as u64, 0));
    assert_eq!((stats.disk.misses, stats.disk.damaged, stats.corrupt), (0, 0, 0));
    assert_eq!(stats.disk.bytes, 3 * (16 << 10), "each counts for a block at least");
}

#[tokio::test]
async fn a_damaged_torn_or_missing_file_is_a_miss_and_fetched_again() {
    let (store, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let mut world = world_of(settings(), storage(&store, dir.path(), CAPACITY).await).await;
    let sent = bytes(CHUNK, 1);
    world.put("data/a", &sent).await;
    world.get("data/a").await.unwrap();
    for damage in [Some(&sent[1..]), Some(&b""[..]), None] {
        until_written(&world, CHUNK).await;
        world = world.restarted_with(storage(&store, dir.path(), CAPACITY).await).await;
        let file = kept(dir.path()).remove(0);
        match damage {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        assert_eq!(world.get("data/a").await.unwrap(), sent);
        let stats = world.objects.stats();
        assert_eq!((stats.read_bytes, stats.disk.hits, stats.disk.misses), (CHUNK as u64, 0, 1));
        assert_eq!(stats.disk.damaged, u64::from(damage.is_some()));
        assert_eq!(stats.corrupt, 0, "the store has it right");
    }
    // Both are wrong: then there is nothing to give out.
    until_written(&world, CHUNK).await;
    let world = world.restarted_with(storage(&store, dir.path(), CAPACITY).await).await;
    fs::write(&kept(dir.path())[0], b"damaged").unwrap();
    damage_all(&store).await;
    assert!(matches!(world.get("data/a").await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn it_stays_within_its_bounds_and_what_is_swept_goes() {
    let (store, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    // Each file counts for 16 KiB at least.
    let capacity = 8 * (16 << 10);
    let world = world_of(settings(), storage(&store, dir.path(), capacity).await).await;
    for n in 0..40 {
        let name = format!("data/{n}");
        world.put(&name, &bytes(CHUNK, n)).await;
        world.get(&name).await.unwrap();
        until_written(&world, (n as usize + 1) * CHUNK).await;
    }
    assert!(world.objects.stats().disk.bytes <= capacity as u64);
    assert!((1..=8).contains(&kept(dir.path()).len()), "{:?}", kept(dir.path()));
    for n in 0..40 {
        world.objects.delete(&crate::world::object(&format!("data/{n}")), Default::default()).await.unwrap();
    }
    assert_eq!(world.objects.sweep().await.unwrap().removed, 40);
    assert!(kept(dir.path()).is_empty());
    assert_eq!(world.objects.stats().disk.bytes, 0);
}
