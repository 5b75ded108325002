//! Uploads in parts, copies, and buckets that are made and removed.

use std::time::Duration;

use stride_data::{Conditions, ETag, Error, Headers, OPEN_MAX, PartNumber, Put, UploadId};
use stride_ids::{BucketName, Name};

use crate::world::{CHUNK, World, bytes, if_absent, in_parts, object, world};

async fn begin(world: &World, name: &str) -> UploadId {
    world.objects.begin_upload(&object(name), Put::default()).await.unwrap()
}

async fn part(world: &World, name: &str, upload: UploadId, number: PartNumber, bytes: &[u8]) -> (PartNumber, ETag) {
    let stored = world.objects.put_part(&object(name), upload, number, in_parts(bytes, 313), None).await.unwrap();
    assert_eq!((stored.number, stored.len), (number, bytes.len() as u64));
    (number, stored.etag)
}

#[tokio::test]
async fn parts_become_one_object_wherever_they_end() {
    let world = world().await;
    let whole = bytes(4 * CHUNK + 10, 1);
    let plain = world.put("data/plain", &whole).await;
    for (n, ends) in
        [&[2 * CHUNK, 3 * CHUNK][..], &[1], &[CHUNK - 1, CHUNK + 1, 3 * CHUNK], &[0]].into_iter().enumerate()
    {
        let name = format!("data/parts-{n}");
        let upload = begin(&world, &name).await;
        let (mut begun, mut parts) = (0, Vec::new());
        for (number, end) in ends.iter().chain([&whole.len()]).enumerate() {
            let number = PartNumber::try_from(number + 1).unwrap();
            parts.push(part(&world, &name, upload, number, &whole[begun..*end]).await);
            begun = *end;
        }
        assert!(world.get(&name).await.is_err(), "half an object is not there");
        let status = world.objects.complete_upload(&object(&name), upload, parts, Conditions::default()).await.unwrap();
        assert_eq!((status.len, status.etag), (plain.len, plain.etag), "equal bytes have equal tags");
        assert_eq!(world.get(&name).await.unwrap(), whole);
        assert!(world.objects.sweep_if_needed().await.unwrap().is_none_or(|swept| swept.kept == 5), "{name}");
        assert_eq!(world.get(&name).await.unwrap(), whole);
    }
}

#[tokio::test]
async fn an_upload_outlives_sweeps_and_crashes_until_it_is_completed() {
    let world = world().await;
    let put =
        Put { content_type: Some("text/plain".into()), headers: [("a".into(), "b".into())].into(), ..Put::default() };
    let upload = world.objects.begin_upload(&object("data/a"), put).await.unwrap();
    let first = part(&world, "data/a", upload, 1, &bytes(CHUNK, 1)).await;
    let world = world.restarted().await;
    assert_eq!(world.objects.sweep().await.unwrap().removed, 0);
    part(&world, "data/a", upload, 2, b"replaced").await;
    let second = part(&world, "data/a", upload, 2, b"the end").await;
    let page = world.objects.parts(&object("data/a"), upload, 0, 10).await.unwrap();
    assert_eq!(page.parts.iter().map(|part| (part.number, part.etag)).collect::<Vec<_>>(), [first, second]);
    let name = object("data/a");
    let complete = |parts| world.objects.complete_upload(&name, upload, parts, if_absent());
    for (bad, number) in [(vec![second, first], 1), (vec![(1, second.1)], 1), (vec![first, (3, second.1)], 3)] {
        assert!(matches!(complete(bad).await, Err(Error::BadPart { number: found, .. }) if found == number));
    }
    let status = complete(vec![first, second]).await.unwrap();
    assert_eq!((status.content_type.as_str(), status.headers["a"].as_str()), ("text/plain", "b"));
    assert_eq!(world.objects.sweep().await.unwrap().removed, 1);
    assert_eq!(world.get("data/a").await.unwrap(), [bytes(CHUNK, 1), b"the end".to_vec()].concat());
    assert!(matches!(complete(vec![first, second]).await, Err(Error::NoUpload { .. })));
}

#[tokio::test]
async fn an_upload_that_is_given_up_or_open_too_long_leaves_nothing() {
    let world = world().await;
    world.objects.sweep_if_needed().await.unwrap();
    let (tenant, bucket) = (Name::default_tenant(), BucketName::new("data").unwrap());
    let upload = begin(&world, "data/a").await;
    part(&world, "data/a", upload, 1, b"one").await;
    world.objects.abort_upload(&object("data/a"), upload).await.unwrap();
    assert_eq!(world.objects.sweep_if_needed().await.unwrap().unwrap().removed, 1);

    let (old, wrong_key) = (begin(&world, "data/b").await, object("data/c"));
    part(&world, "data/b", old, 1, b"two").await;
    assert!(matches!(world.objects.abort_upload(&wrong_key, old).await, Err(Error::NoUpload { .. })));
    world.clock.advance(OPEN_MAX - Duration::from_secs(1));
    let young = begin(&world, "data/b").await;
    assert!(world.objects.sweep_if_needed().await.unwrap().is_none(), "nothing is due");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.objects.sweep_if_needed().await.unwrap().unwrap().removed, 1);
    let open = world.objects.uploads(&tenant, &bucket, None, 10).await.unwrap();
    assert_eq!(open.uploads.iter().map(|upload| upload.id).collect::<Vec<_>>(), [young]);
    assert!(open.is_last && world.objects.sweep_if_needed().await.unwrap().is_none());
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn a_copy_has_the_same_bytes_and_needs_no_space() {
    let world = world().await;
    let from = world.put("data/a", &bytes(2 * CHUNK, 1)).await;
    let (files, to) = (world.files(), object("more/b"));
    let described = Put { headers: Headers::from([("x".into(), "y".into())]), ..Put::default() };
    let copied = world.objects.copy(&object("data/a"), None, &to, if_absent(), Some(described)).await.unwrap();
    assert_eq!((copied.etag, copied.headers["x"].as_str()), (from.etag, "y"));
    assert_eq!(world.files(), files);
    let again = world.objects.copy(&object("data/a"), None, &to, if_absent(), None).await;
    assert!(matches!(again, Err(Error::Unmet { .. })));
    world.objects.delete(&object("data/a"), Conditions::default()).await.unwrap();
    world.objects.sweep().await.unwrap();
    assert_eq!(world.get("more/b").await.unwrap(), bytes(2 * CHUNK, 1));
}

#[tokio::test]
async fn a_bucket_is_made_once_and_removed_when_it_is_empty() {
    let world = world().await;
    let (tenant, bucket) = (Name::default_tenant(), BucketName::new("data").unwrap());
    assert!(matches!(world.objects.remove_bucket(&tenant, &bucket).await, Err(Error::NoBucket { .. })));
    assert!(world.objects.make_bucket(&tenant, &bucket).await.unwrap());
    assert!(!world.objects.make_bucket(&tenant, &bucket).await.unwrap());
    let upload = begin(&world, "data/a").await;
    assert!(!world.objects.remove_bucket(&tenant, &bucket).await.unwrap(), "an upload is open");
    world.objects.abort_upload(&object("data/a"), upload).await.unwrap();
    assert!(world.objects.remove_bucket(&tenant, &bucket).await.unwrap());
    assert_eq!(world.objects.bucket(&tenant, &bucket).await.unwrap(), None);
    assert!(world.objects.buckets(&tenant, None, 10).await.unwrap().buckets.is_empty());
    assert!(matches!(world.get("data/a").await, Err(Error::NoBucket { .. })));
    world.put("data/a", b"it is there again").await;
    assert_eq!(world.objects.bucket(&tenant, &bucket).await.unwrap().unwrap().objects, 1);
}
