//! Versions: which are kept, which can be read, and what a deletion leaves.

use stride_data::{BucketSpec, Error};
use stride_ids::{BucketName, Name, VersionId};

use crate::world::{World, object, world};

async fn keep(world: &World, versions: u32) {
    let (tenant, bucket) = (Name::default_tenant(), BucketName::new("data").unwrap());
    let spec = BucketSpec { versions_kept: Some(versions), ..BucketSpec::default() };
    world.objects.configure(&tenant, &bucket, spec).await.unwrap();
}

async fn is_gone(world: &World, version: VersionId) -> bool {
    matches!(world.read("data/a", Some(version), None).await, Err(Error::NoObject { .. }))
}

#[tokio::test]
async fn without_more_being_said_the_newest_version_is_the_only_one() {
    let world = world().await;
    let first = world.put("data/a", b"one").await.version;
    let second = world.put("data/a", b"two").await.version;
    assert!(second > first);
    assert!(is_gone(&world, first).await);
    assert_eq!(world.read("data/a", Some(second), None).await.unwrap(), b"two");
    let deleted = world.objects.delete(&object("data/a"), Default::default()).await.unwrap();
    assert!(deleted > second && is_gone(&world, second).await && is_gone(&world, deleted).await);
    assert!(world.put("data/a", b"three").await.version > deleted);
}

#[tokio::test]
async fn as_many_versions_as_are_kept_can_be_read() {
    let world = world().await;
    keep(&world, 3).await;
    let mut versions = Vec::new();
    for text in ["one", "two", "three", "four"] {
        versions.push(world.put("data/a", text.as_bytes()).await.version);
    }
    world.put("data/a0", b"another object, whose key begins alike").await;
    assert!(is_gone(&world, versions[0]).await);
    for (version, text) in versions.iter().zip(["one", "two", "three", "four"]).skip(1) {
        assert_eq!(world.read("data/a", Some(*version), None).await.unwrap(), text.as_bytes());
    }
    let world = world.restarted().await;
    assert_eq!(world.read("data/a", Some(versions[1]), None).await.unwrap(), b"two");
    assert!(is_gone(&world, VersionId(99)).await);
    assert_eq!(world.keys("data", "", 10).await, ["a", "a0"]);
}

#[tokio::test]
async fn a_deleted_object_is_not_there_but_its_older_versions_are() {
    let world = world().await;
    keep(&world, 3).await;
    let first = world.put("data/a", b"one").await.version;
    let deleted = world.objects.delete(&object("data/a"), Default::default()).await.unwrap();
    let error = world.get("data/a").await.unwrap_err().to_string();
    assert!(error.contains(&format!("deleted with version {deleted}")), "{error}");
    assert!(world.keys("data", "", 10).await.is_empty());
    assert_eq!(world.read("data/a", Some(first), None).await.unwrap(), b"one");
    assert!(is_gone(&world, deleted).await);
    let again = world.objects.delete(&object("data/a"), Default::default()).await;
    assert!(matches!(again, Err(Error::NoObject { .. })));
    world.put("data/a", b"two").await;
    assert_eq!(world.get("data/a").await.unwrap(), b"two");
    assert_eq!(world.read("data/a", Some(first), None).await.unwrap(), b"one");
    let nowhere = world.objects.delete(&object("nowhere/a"), Default::default()).await;
    assert!(matches!(nowhere, Err(Error::NoBucket { .. })));
}

#[tokio::test]
async fn fewer_versions_than_before_take_effect_with_the_next_change() {
    let world = world().await;
    keep(&world, 100).await;
    let mut versions = Vec::new();
    for n in 0..90 {
        versions.push(world.put("data/a", format!("{n}").as_bytes()).await.version);
    }
    keep(&world, 2).await;
    assert_eq!(world.read("data/a", Some(versions[0]), None).await.unwrap(), b"0");
    world.put("data/a", b"last").await;
    world.put("data/a", b"very last").await;
    world.put("data/a", b"really").await;
    for version in versions {
        assert!(is_gone(&world, version).await);
    }
    assert_eq!(world.get("data/a").await.unwrap(), b"really");
}
