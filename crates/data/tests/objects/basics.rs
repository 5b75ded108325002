//! Putting, reading and listing.

use std::collections::BTreeMap;

use futures::{StreamExt as _, future::join_all};
use stride_data::{BucketSpec, Error, Put, RangeSpec, Settings, Tags, Unmet};
use stride_ids::{BucketName, Code, Failure, Name};

use crate::world::{CHUNK, bytes, if_absent, if_match, in_parts, object, settings, world, world_of};

#[tokio::test]
async fn what_is_put_is_read_back_whole_and_in_every_range() {
    let world = world().await;
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7] {
        let (name, sent) = (format!("data/of-{len}"), bytes(len, len as u64));
        let status = world.put(&name, &sent).await;
        assert_eq!(status.len, len as u64);
        assert_eq!(world.objects.status(&object(&name), None).await.unwrap(), status);
        assert_eq!(world.get(&name).await.unwrap(), sent);
        for (first, last) in
            [(0, 0), (0, CHUNK - 1), (0, CHUNK), (CHUNK - 1, CHUNK), (CHUNK, 3 * CHUNK), (3, 6 * CHUNK)]
        {
            let spec = RangeSpec::Between(first as u64, last as u64);
            let read = world.read(&name, None, Some(spec)).await;
            match spec.within(len as u64) {
                Some(range) => assert_eq!(read.unwrap(), sent[range.start as usize..range.end as usize]),
                None => assert!(matches!(read, Err(Error::Range { len: told, .. }) if told == len as u64)),
            }
        }
    }
}

#[tokio::test]
async fn objects_are_there_after_a_crash() {
    let world = world().await;
    let sent = bytes(3 * CHUNK, 1);
    let status = world.put("data/a", &sent).await;
    let world = world.restarted().await;
    assert_eq!(world.objects.status(&object("data/a"), None).await.unwrap(), status);
    assert_eq!(world.get("data/a").await.unwrap(), sent);
    assert!(world.put("data/b", b"").await.version > status.version);
}

#[tokio::test]
async fn equal_bytes_have_equal_tags_and_are_stored_once_per_tenant() {
    let world = world().await;
    let sent = bytes(3 * CHUNK, 1);
    let (first, second) = (world.put("data/a", &sent).await, world.put("other/b", &sent).await);
    assert_eq!(first.etag, second.etag);
    assert_ne!(first.etag, world.put("data/c", &sent[1..]).await.etag);
    let files = world.files().len();
    assert_eq!(files, 6);
    assert_eq!(world.objects.stats().shared_bytes, sent.len() as u64);
    let foreign = stride_ids::ObjectName { tenant: Name::new("else").unwrap(), ..object("data/a") };
    assert!(matches!(world.objects.status(&foreign, None).await, Err(Error::NoBucket { .. })));
    world.objects.put(&foreign, in_parts(&sent, CHUNK), Put::default()).await.unwrap();
    assert_eq!(world.files().len(), files + 3);
}

#[tokio::test]
async fn a_chunk_is_read_from_the_disk_once_and_then_from_memory() {
    let world = world().await;
    let sent = bytes(3 * CHUNK, 1);
    world.put("data/a", &sent).await;
    world.get("data/a").await.unwrap();
    let (cold, total) = (world.objects.stats(), sent.len() as u64);
    assert_eq!((cold.hits, cold.misses, cold.read_bytes, cold.bytes), (0, 3, total, total));
    world.get("data/a").await.unwrap();
    let warm = world.objects.stats();
    assert_eq!((warm.hits, warm.misses, warm.hit_bytes, warm.read_bytes), (3, 3, total, total));
}

#[tokio::test]
async fn a_condition_that_is_not_met_changes_nothing() {
    let world = world().await;
    let first = world.put_if("data/a", b"one", if_absent()).await.unwrap();
    let unmet = |outcome: Result<_, Error>| match outcome {
        Err(Error::Unmet { unmet, .. }) => unmet,
        other => panic!("{other:?}"),
    };
    assert_eq!(unmet(world.put_if("data/a", b"two", if_absent()).await), Unmet::IfNoneMatch);
    let second = world.put_if("data/a", b"two", if_match(first.etag)).await.unwrap();
    assert_eq!(unmet(world.put_if("data/a", b"three", if_match(first.etag)).await), Unmet::IfMatch);
    assert_eq!(world.get("data/a").await.unwrap(), b"two");
    let not_there = world.put_if("data/b", b"", if_match(first.etag)).await;
    assert_eq!(unmet(not_there), Unmet::IfMatch);
    let delete = |conditions| async { world.objects.delete(&object("data/a"), conditions).await };
    assert!(matches!(delete(if_match(first.etag)).await, Err(Error::Unmet { unmet: Unmet::IfMatch, .. })));
    delete(if_match(second.etag)).await.unwrap();
    assert!(matches!(delete(if_match(second.etag)).await, Err(Error::NoObject { .. })));
    assert!(matches!(world.get("data/a").await, Err(Error::NoObject { .. })));
    assert!(world.put_if("data/a", b"four", if_absent()).await.is_ok());
}

#[tokio::test]
async fn of_many_who_put_an_object_if_it_is_absent_one_does() {
    let world = world().await;
    let put = |n: u64| {
        let objects = world.objects.clone();
        async move {
            let put = Put { conditions: if_absent(), ..Put::default() };
            objects.put(&object("data/a"), in_parts(&bytes(2 * CHUNK, n), 100), put).await.map(|status| (n, status))
        }
    };
    let outcomes = join_all((0..16).map(put)).await;
    let done: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(done.len(), 1);
    assert_eq!(world.get("data/a").await.unwrap(), bytes(2 * CHUNK, done[0].0));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Unmet { .. }))));
}

#[tokio::test]
async fn listings_are_in_order_and_end_where_the_prefix_does() {
    let world = world().await;
    let mut keys: Vec<String> = (0..150).map(|n| format!("logs/{n:03}")).collect();
    keys.extend(["a".into(), "log".into(), "logs!".into(), "logs0".into(), "z/ü".into()]);
    for key in &keys {
        world.put(&format!("data/{key}"), key.as_bytes()).await;
    }
    world.put("other/logs/x", b"").await;
    keys.sort();
    for limit in [1, 7, 64, 1_000] {
        assert_eq!(world.keys("data", "", limit).await, keys);
        assert_eq!(world.keys("data", "logs/", limit).await, keys[3..153], "{limit}");
        assert_eq!(world.keys("data", "logs/14", limit).await.len(), 10);
        assert!(world.keys("data", "nothing", limit).await.is_empty());
    }
    for n in 0..140 {
        world.objects.delete(&object(&format!("data/logs/{n:03}")), Default::default()).await.unwrap();
    }
    assert_eq!(world.keys("data", "logs/", 3).await.len(), 10);
    let nowhere = BucketName::new("nowhere").unwrap();
    let listed = world.objects.list(&Name::default_tenant(), &nowhere, String::new(), None, 10).await;
    assert!(matches!(listed, Err(Error::NoBucket { .. })));
}

#[tokio::test]
async fn a_bucket_keeps_its_labels_and_counts_its_objects() {
    let world = world().await;
    let (tenant, name) = (Name::default_tenant(), BucketName::new("data").unwrap());
    let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    let spec = BucketSpec { labels: labels.clone(), versions_kept: Some(3) };
    world.objects.configure(&tenant, &name, spec).await.unwrap();
    world.put("data/a", &bytes(10, 1)).await;
    world.put("data/a", &bytes(20, 1)).await;
    world.put("data/b", &bytes(5, 1)).await;
    world.put("implicit/a", b"").await;
    let world = world.restarted().await;
    let page = world.objects.buckets(&tenant, None, 10).await.unwrap();
    let (buckets, next) = (page.buckets, page.next);
    assert_eq!(next, None);
    assert_eq!(buckets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["data", "implicit"]);
    let data = &buckets[0].1;
    assert_eq!((data.labels.clone(), data.versions_kept, data.objects, data.bytes), (labels, 3, 2, 25));
    assert_eq!((buckets[1].1.labels.len(), buckets[1].1.versions_kept, buckets[1].1.objects), (0, 1, 1));
    let first = world.objects.buckets(&tenant, None, 1).await.unwrap();
    assert_eq!(first.next.as_deref(), Some("data"));
    assert_eq!(world.objects.buckets(&tenant, first.next.as_deref(), 1).await.unwrap().buckets.len(), 1);
    for (labels, versions_kept, says) in [
        (BTreeMap::new(), Some(0), "use 1 to 100"),
        (BTreeMap::new(), Some(101), "use 1 to 100"),
        (BTreeMap::from([(String::new(), "x".to_owned())]), None, "label"),
        (BTreeMap::from([("x".to_owned(), "v".repeat(65))]), None, "label"),
        ((0..33).map(|n| (n.to_string(), "x".to_owned())).collect(), None, "32 at most"),
    ] {
        let refused = world.objects.configure(&tenant, &name, BucketSpec { labels, versions_kept }).await;
        let failure = Failure::from(refused.unwrap_err());
        assert_eq!(failure.code, Code::InvalidRequest);
        assert!(failure.message.contains(says), "{failure}");
    }
}

#[tokio::test]
async fn more_transfers_than_may_run_are_refused_and_run_later() {
    let world = world_of(Settings { uploads_max: 1, readers_max: 1, ..settings() }, None).await;
    world.put("data/a", b"one").await;
    let waits = futures::stream::pending::<Result<bytes::Bytes, String>>();
    let name = object("data/b");
    let mut stuck = Box::pin(world.objects.put(&name, waits, Put::default()));
    assert!(futures::poll!(&mut stuck).is_pending());
    assert!(matches!(world.put_if("data/c", b"", Default::default()).await, Err(Error::Busy { max: 1 })));
    drop(stuck);
    world.put("data/c", b"").await;
    let reader = world.objects.open(&object("data/a"), None).await.unwrap();
    assert!(matches!(world.get("data/a").await, Err(Error::Busy { max: 1 })));
    let mut stream = Box::pin(reader.stream(0..3));
    drop(reader);
    assert!(matches!(world.get("data/a").await, Err(Error::Busy { max: 1 })));
    assert_eq!(stream.next().await.unwrap().unwrap(), "one");
    drop(stream);
    assert_eq!(world.get("data/a").await.unwrap(), b"one");
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_comes() {
    let world = world().await;
    let put = Put { len: Some(1 << 50), ..Put::default() };
    let refused = world.objects.put(&object("data/a"), in_parts(b"x", 1), put).await.unwrap_err();
    assert_eq!(refused.code(), Code::PayloadTooLarge);
    let put = Put { content_type: Some("x".repeat(300)), ..Put::default() };
    let refused = world.objects.put(&object("data/a"), in_parts(b"x", 1), put).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidRequest);
    let matching = stride_data::Conditions { if_match: Some(Tags::OneOf(vec![])), if_none_match: None };
    assert!(world.put_if("data/a", b"", matching).await.is_err());
    assert!(world.files().is_empty());
}
