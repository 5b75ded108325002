//! What a sweep removes, and what it must not.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, channel::mpsc, stream};
use stride_data::{Error, Put, Swept};

use crate::world::{CHUNK, bytes, in_parts, object, world};

#[tokio::test]
async fn what_no_version_names_goes_and_what_one_names_stays() {
    let world = world().await;
    let shared = bytes(CHUNK, 1);
    world.put("data/a", &[shared.clone(), bytes(CHUNK, 2)].concat()).await;
    world.put("data/b", &shared).await;
    world.put("data/c", &bytes(2 * CHUNK, 3)).await;
    assert_eq!(world.objects.sweep().await.unwrap(), Swept { kept: 4, ..Swept::default() });
    world.put("data/a", b"other").await;
    world.objects.delete(&object("data/c"), Default::default()).await.unwrap();
    let swept = world.objects.sweep().await.unwrap();
    assert_eq!((swept.kept, swept.removed, swept.removed_bytes), (2, 3, 3 * CHUNK as u64));
    assert_eq!(world.get("data/b").await.unwrap(), shared);
    assert_eq!(world.get("data/a").await.unwrap(), b"other");
}

#[tokio::test]
async fn a_sweep_runs_only_if_something_may_be_left() {
    let world = world().await;
    assert!(world.objects.sweep_if_needed().await.unwrap().is_some(), "after a start nobody knows");
    world.put("data/a", b"one").await;
    assert!(world.objects.sweep_if_needed().await.unwrap().is_none());
    world.put("data/a", b"two").await;
    assert_eq!(world.objects.sweep_if_needed().await.unwrap().unwrap().removed, 1);
    world.objects.delete(&object("data/a"), Default::default()).await.unwrap();
    assert_eq!(world.objects.sweep_if_needed().await.unwrap().unwrap().removed, 1);
    assert!(world.objects.sweep_if_needed().await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_never_visible_and_leaves_nothing() {
    let world = world().await;
    world.put("data/a", b"as it was").await;
    world.objects.sweep_if_needed().await.unwrap();
    let torn = in_parts(&bytes(3 * CHUNK, 1), 500).chain(stream::iter([Err("the client went away".to_owned())]));
    let error = world.objects.put(&object("data/a"), torn, Put::default()).await.unwrap_err();
    assert!(matches!(&error, Error::BrokenOff { .. }) && error.to_string().contains("client went away"), "{error}");
    // Its future is dropped while bytes are still to come, as happens when a connection is closed.
    let endless = in_parts(&bytes(3 * CHUNK, 2), 500).chain(stream::pending());
    let name = object("data/b");
    let mut dropped = Box::pin(world.objects.put(&name, endless, Put::default()));
    while world.files().len() < 6 {
        assert!(futures::poll!(&mut dropped).is_pending());
        tokio::task::yield_now().await;
    }
    drop(dropped);
    assert_eq!(world.get("data/a").await.unwrap(), b"as it was");
    assert_eq!(world.keys("data", "", 10).await, ["a"]);
    // What was being written is written to its end, and noted then.
    while world.files().len() > 1 {
        world.objects.sweep_if_needed().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_which_nothing_more_comes_ends() {
    let world = world().await;
    let stalled = in_parts(&bytes(100, 1), 100).chain(stream::pending());
    let error = world.objects.put(&object("data/a"), stalled, Put::default()).await.unwrap_err();
    assert!(matches!(&error, Error::BrokenOff { why, .. } if why.contains("60s")), "{error}");
}

#[tokio::test]
async fn an_upload_in_flight_keeps_its_chunks_also_those_that_it_found() {
    let world = world().await;
    let (found, written) = (bytes(CHUNK, 1), bytes(CHUNK, 2));
    world.put("data/old", &found).await;
    let (mut send, parts) = mpsc::unbounded::<Result<Bytes, String>>();
    let name = object("data/new");
    let mut put = Box::pin(world.objects.put(&name, parts, Put::default()));
    for part in [&found, &written] {
        send.start_send(Ok(part.clone().into())).unwrap();
    }
    while world.files().len() < 2 {
        assert!(futures::poll!(&mut put).is_pending());
        tokio::task::yield_now().await;
    }
    world.objects.delete(&object("data/old"), Default::default()).await.unwrap();
    assert_eq!(world.objects.sweep().await.unwrap().removed, 0);
    drop(send);
    put.await.unwrap();
    assert_eq!(world.objects.sweep().await.unwrap().kept, 2);
    assert_eq!(world.get("data/new").await.unwrap(), [found, written].concat());
}

#[tokio::test]
async fn a_version_that_is_replaced_is_read_to_its_end() {
    let world = world().await;
    let sent = bytes(5 * CHUNK, 1);
    world.put("data/a", &sent).await;
    let reader = world.objects.open(&object("data/a"), None).await.unwrap();
    let mut stream = Box::pin(reader.stream(0..sent.len() as u64));
    drop(reader);
    let first = stream.next().await.unwrap().unwrap();
    world.put("data/a", b"new").await;
    assert_eq!(world.objects.sweep().await.unwrap().removed, 0);
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!([first.to_vec(), rest.concat()].concat(), sent);
    assert_eq!(world.objects.sweep().await.unwrap().removed, 5);
}

#[tokio::test]
async fn what_a_killed_process_has_only_begun_goes() {
    let world = world().await;
    world.put("data/a", b"one").await;
    let file = world.files().remove(0);
    let torn = file.with_file_name(format!("{}#1", file.file_name().unwrap().to_str().unwrap()));
    let foreign = file.with_file_name("notes.txt");
    std::fs::write(&torn, b"o").unwrap();
    std::fs::write(&foreign, b"not ours").unwrap();
    let world = world.restarted().await;
    assert_eq!(world.objects.sweep_if_needed().await.unwrap().unwrap().torn, 1);
    assert!(!torn.exists() && foreign.exists());
    assert_eq!(world.get("data/a").await.unwrap(), b"one");
}
