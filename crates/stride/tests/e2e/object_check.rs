//! `stride check` and objects: what the index names against what is on disk.

use std::path::Path;

use reqwest::{Method, StatusCode};

use crate::{
    cli::{stderr, stride},
    object_crashes::chunks,
    support::{Node, Reply, data},
};

async fn put(node: &Node, name: &str, bytes: Vec<u8>) {
    let put = node.request(Method::PUT, &format!("/v1/objects/{name}")).body(bytes);
    Reply::of(put).await.json_of(StatusCode::CREATED);
}

/// Bytes of two chunks.
fn large() -> Vec<u8> {
    (0..10_000_000_u32).map(|n| (n * 31 % 251) as u8).collect()
}

/// What a check says on stdout and on stderr, and whether all is sound.
fn check(data: &Path) -> (bool, String, String) {
    let output = stride("", &["check", data.to_str().unwrap()]);
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
}

#[tokio::test]
async fn objects_are_sound_after_a_kill_and_what_nobody_needs_is_counted() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    put(&node, "data/large", large()).await;
    put(&node, "data/copy", large()).await;
    put(&node, "data/small", b"first".to_vec()).await;
    put(&node, "data/small", b"then".to_vec()).await;
    put(&node, "other/gone", b"gone".to_vec()).await;
    assert_eq!(Reply::of(node.request(Method::DELETE, "/v1/objects/other/gone")).await.status, StatusCode::NO_CONTENT);
    // Nothing of the index has reached the store: it is in the journal alone.
    node.kill();
    // What was replaced may still be there; this is for certain.
    let (dir, name) = (data.join("objects/chunks/default/00"), "0".repeat(64));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(&name), "not needed").unwrap();
    let unneeded = chunks(&data).len() - 3;
    std::fs::write(dir.join(name + "#1"), "half").unwrap();
    let before = chunks(&data);
    let (sound, said, _) = check(&data);
    assert!(sound, "{said}");
    assert!(said.contains("objects: 2 buckets, 3 versions, 20000004 bytes, 3 chunks; "), "{said}");
    assert!(said.contains(&format!("; {unneeded} chunks (")) && said.contains("and 1 unfinished files"), "{said}");
    assert_eq!((check(&data).1, chunks(&data)), (said, before), "looking changed something");

    let node = Node::start(&data);
    assert_eq!(node.get("/v1/objects/data/small").await.body, "then");
    while chunks(&data).len() > 3 {
        tokio::task::yield_now().await;
    }
    assert!(node.terminate().success());
    let (sound, said, _) = check(&data);
    assert!(sound && said.contains("3 versions, 20000004 bytes, 3 chunks\n"), "{said}");
}

#[tokio::test]
async fn a_chunk_that_is_damaged_or_missing_is_named_with_the_objects_that_need_it() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    put(&node, "data/large", large()).await;
    put(&node, "data/copy", large()).await;
    put(&node, "data/small", b"small".to_vec()).await;
    assert!(node.terminate().success());
    let chunk = |len: u64| chunks(&data).into_iter().find(|path| path.metadata().unwrap().len() == len).unwrap();
    let (last, small) = (chunk(10_000_000 - (8 << 20)), chunk(5));
    let mut bytes = std::fs::read(&last).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    std::fs::remove_file(&small).unwrap();
    let (sound, said, hint) = check(&data);
    assert!(!sound && hint.contains("has objects that are damaged") && hint.contains("put it again"), "{said}{hint}");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    for line in [
        format!("data/large: chunk {} does not hold the bytes that were written", name(&last)),
        format!("data/copy: chunk {} does not hold the bytes that were written", name(&last)),
        format!("data/small: chunk {} is missing", name(&small)),
    ] {
        assert!(said.contains(&line), "`{line}` is not in: {said}");
    }

    let aside = data.with_extension("aside");
    std::fs::rename(data.join("objects"), &aside).unwrap();
    let (sound, said, _) = check(&data);
    assert!(!sound && said.matches(" is missing").count() == 5, "{said}");
    std::fs::rename(&aside, data.join("objects")).unwrap();

    // What the hint says is all that it takes.
    let node = Node::start(&data);
    for name in ["data/large", "data/small"] {
        node.request(Method::GET, &format!("/v1/objects/{name}")).send().await.unwrap().bytes().await.ok();
    }
    put(&node, "data/large", large()).await;
    put(&node, "data/small", b"small".to_vec()).await;
    assert!(node.terminate().success());
    let (sound, said, _) = check(&data);
    assert!(sound && said.contains("is sound"), "{said}");
}

#[tokio::test]
async fn objects_that_are_not_in_the_directory_are_said_not_to_be_checked() {
    let (dir, data) = data();
    let place = format!("file://{}", dir.path().join("elsewhere").display());
    let node = Node::start_configured(&data, &format!("objects = \"{place}\""));
    put(&node, "data/small", b"small".to_vec()).await;
    assert!(node.terminate().success());
    let (sound, said, _) = check(&data);
    assert!(sound && said.contains(&format!("objects: kept in {place}; they were not checked\n")), "{said}");
}
