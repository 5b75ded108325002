//! Chunks that are kept on a local disk because their store is further away.

use std::{
    fs,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, memory::InMemory, path::Path};
use stride_data::{DiskCache, Error, Settings, Storage};
use stride_sim::{Clock, Tasks};

use crate::world::{CHUNK, World, bytes, settings, world_of};

/// Objects over a store, with nothing in memory and `capacity` bytes on disk.
async fn over(store: &Arc<InMemory>, dir: &FilePath, capacity: usize) -> World {
    let cache = DiskCache::open(dir, capacity, Tasks::real()).await.unwrap();
    let storage = Storage::over(store.clone(), Clock::real(), Tasks::real()).with_disk_cache(cache);
    world_of(Settings { cache_bytes: 4, ..settings() }, Some(storage)).await
}

fn kept(dir: &FilePath) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("default")).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_none()).collect()
}

/// Reads an object until all of its chunks are on disk: they are written while nobody waits.
async fn read_until_kept(world: &World, name: &str, chunks: u64) -> Vec<u8> {
    loop {
        let read = world.get(name).await.unwrap();
        let hits = world.objects.stats().disk.hits;
        if world.get(name).await.is_ok() && world.objects.stats().disk.hits == hits + chunks {
            return read;
        }
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
async fn what_was_read_once_is_read_from_disk_also_when_the_store_is_damaged_and_after_a_restart() {
    let (store, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let world = over(&store, dir.path(), 64 << 20).await;
    let sent = bytes(3 * CHUNK, 1);
    world.put("data/a", &sent).await;
    assert_eq!(read_until_kept(&world, "data/a", 3).await, sent);
    let read = world.objects.stats().read_bytes;
    damage_all(&store).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    let stats = world.objects.stats();
    assert_eq!((stats.read_bytes, stats.disk.damaged), (read, 0));
    assert!(
        stats.disk.written_bytes >= sent.len() as u64
            && stats.disk.misses >= 3
            && stats.disk.hit_bytes >= sent.len() as u64
            && stats.disk.bytes > 0
    );

    // Another node, with the same directory, knows what is there; what was only begun is gone.
    let file = kept(dir.path()).remove(0);
    fs::write(file.with_extension("partial"), b"half").unwrap();
    fs::write(dir.path().join("default/notes"), b"not ours").unwrap();
    let cache = DiskCache::open(dir.path(), 64 << 20, Tasks::real()).await.unwrap();
    assert!(!file.with_extension("partial").exists() && dir.path().join("default/notes").exists());
    let storage = Storage::over(Arc::new(InMemory::new()), Clock::real(), Tasks::real()).with_disk_cache(cache);
    let world = world_of(settings(), Some(storage)).await;
    world.put("data/a", &sent).await;
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    assert_eq!((world.objects.stats().disk.hits, world.objects.stats().read_bytes), (3, 0));
}

#[tokio::test]
async fn a_damaged_torn_or_missing_file_is_a_miss_and_fetched_again() {
    let (store, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let world = over(&store, dir.path(), 64 << 20).await;
    let sent = bytes(CHUNK, 1);
    world.put("data/a", &sent).await;
    for damage in [Some(&sent[1..]), Some(&b""[..]), None] {
        read_until_kept(&world, "data/a", 1).await;
        let (file, before) = (kept(dir.path()).remove(0), world.objects.stats());
        match damage {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        assert_eq!(world.get("data/a").await.unwrap(), sent);
        let after = world.objects.stats();
        assert_eq!(after.read_bytes, before.read_bytes + CHUNK as u64);
        assert_eq!(after.disk.damaged, before.disk.damaged + u64::from(damage.is_some()));
        assert_eq!(after.corrupt, 0, "the store has it right");
    }
    // Both are wrong: then there is nothing to give out.
    read_until_kept(&world, "data/a", 1).await;
    fs::write(&kept(dir.path())[0], b"damaged").unwrap();
    damage_all(&store).await;
    assert!(matches!(world.get("data/a").await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn it_stays_within_its_bounds_and_what_is_swept_goes() {
    let (store, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    // Each file counts for 16 KiB at least.
    let capacity = 8 * (16 << 10);
    let world = over(&store, dir.path(), capacity).await;
    for n in 0..40 {
        let name = format!("data/{n}");
        world.put(&name, &bytes(CHUNK, n)).await;
        world.get(&name).await.unwrap();
        while world.objects.stats().disk.written_bytes < (n + 1) * CHUNK as u64 {
            tokio::task::yield_now().await;
        }
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
