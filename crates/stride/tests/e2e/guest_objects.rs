//! Guests that read, put and delete objects: what they see, what they may, and what becomes of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    object_crashes::chunks,
    support::{Node, Reply, SmallDisk, data},
};

const PIECE: usize = 8 << 20;

/// May read `data`, and read and write what is small in `out`.
const MANIFEST: &str = "name = \"faulty\"\n[capabilities]\nobjects = [\"data/*:read\", \"out/small/*:read,write\"]\n[functions.walks]\ntimeout = \"30s\"";

async fn node_with_data(data: &std::path::Path) -> Node {
    let node = Node::start(data);
    node.deploy_with("faulty", MANIFEST).await.json_of(StatusCode::CREATED);
    put(&node, "data/digits", "0123456789").await;
    node
}

/// Puts an object; its version.
async fn put(node: &Node, name: &str, body: impl Into<reqwest::Body>) -> Value {
    let request = node.request(Method::PUT, &format!("/v1/objects/{name}")).body(body);
    Reply::of(request).await.json_of(StatusCode::CREATED)["version"].clone()
}

async fn call(node: &Node, function: &str, arguments: Value) -> Reply {
    node.call(&format!("faulty/{function}"), &arguments.to_string()).await
}

#[tokio::test]
async fn a_guest_reads_what_is_there_and_nothing_past_the_end() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    for (offset, length, read) in [
        (0, 10, "0123456789"),
        (2, 3, "234"),
        (8, 100, "89"),
        (10, 1, ""),
        (1u64 << 60, 5, ""),
        (3, 0, ""),
        (3, 2_000_000_000, "3456789"),
    ] {
        let reply = call(&node, "reads", json!(["data", "digits", offset, length])).await;
        assert_eq!(reply.json(), json!(read), "{length} from {offset}");
    }
    let sought = call(&node, "seeks", json!(["data", "digits", [6, 0, -2, 100, 4]])).await;
    assert_eq!(sought.json(), json!("67890123894567"));
    let before = call(&node, "seeks", json!(["data", "digits", [-11]])).await;
    before.fails_with("guest_error", "before the first byte");
    put(&node, "data/empty", "").await;
    assert_eq!(call(&node, "reads", json!(["data", "empty", 0, 10])).await.json(), json!(""));
}

#[tokio::test]
async fn a_large_object_is_read_whole_in_order_and_across_its_pieces() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    let large: Vec<u8> = (0..2 * PIECE + 5).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
    put(&node, "data/large", large.clone()).await;
    let (words, rest) = large.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    let sum = rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    let walked = call(&node, "walks", json!(["data", "large", 1])).await.json();
    assert_eq!((&walked["bytes"], &walked["sum"]), (&json!(large.len()), &json!(sum)));
    let across = call(&node, "reads", json!(["data", "large", PIECE - 3, 6])).await;
    assert_eq!(across.json(), json!(std::str::from_utf8(&large[PIECE - 3..PIECE + 3]).unwrap()));
}

#[tokio::test]
async fn a_guest_reaches_no_object_that_its_capabilities_do_not_name() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    put(&node, "others/digits", "0123456789").await;
    put(&node, "out/large/a", "large").await;
    let denied = "capability_denied";
    for (function, arguments, says) in [
        ("reads", json!(["others", "digits", 0, 1]), "add objects = [\"others/*:read\"]"),
        ("lists", json!(["others", ""]), "add objects = [\"others/*:read\"]"),
        ("lists", json!(["out", ""]), "may not list `out/`"),
        ("puts", json!(["data", "digits", "x"]), "add objects = [\"data/*:write\"]"),
        ("deletes", json!(["data", "digits"]), "may not write `data/digits`"),
        ("puts", json!(["out", "large/a", "x"]), "may not write `out/large/a`"),
        ("reads", json!(["out", "large/a", 0, 1]), "may not read `out/large/a`"),
    ] {
        call(&node, function, arguments).await.fails_with(denied, says);
    }
    assert_eq!(call(&node, "lists", json!(["data", "d"])).await.json(), json!(["digits"]));
    assert_eq!(node.get("/v1/objects/out/large/a").await.body, "large");

    // Whoever asks for nothing gets nothing.
    node.deploy_with("faulty", "name = \"faulty\"").await.json_of(StatusCode::CREATED);
    call(&node, "reads", json!(["data", "digits", 0, 1])).await.fails_with(denied, "[\"data/*:read\"]");
    let refused = node.deploy_with("faulty", "name = \"faulty\"\n[capabilities]\nobjects = [\"data/*\"]").await;
    refused.fails_with("invalid_request", "`:read,write`");
}

#[tokio::test]
async fn what_a_guest_puts_is_there_for_everybody_and_what_it_deletes_is_gone() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    let first = call(&node, "puts", json!(["out", "small/a", "one"])).await.json();
    let second = call(&node, "puts", json!(["out", "small/a", "two"])).await.json();
    assert!(first.as_u64() < second.as_u64());
    call(&node, "puts", json!(["out", "small/b", ""])).await.json();
    let got = node.get("/v1/objects/out/small/a").await;
    assert_eq!((got.body.as_str(), got.headers["content-type"].to_str().unwrap()), ("two", "text/plain"));
    assert_eq!(call(&node, "lists", json!(["out", "small/"])).await.json(), json!(["small/a", "small/b"]));
    assert_eq!(call(&node, "reads_version", json!(["out", "small/a", second])).await.json(), json!("two"));
    call(&node, "reads_version", json!(["out", "small/a", first])).await.fails_with("not_found", "no such version");
    call(&node, "deletes", json!(["out", "small/a"])).await.json();
    node.get("/v1/objects/out/small/a").await.fails_with("not_found", "out/small/a");
    call(&node, "deletes", json!(["out", "small/a"])).await.fails_with("not_found", "out/small/a");
    call(&node, "reads", json!(["out", "small/a", 0, 1])).await.fails_with("not_found", "out/small/a");
}

#[tokio::test]
async fn names_that_cannot_be_and_too_many_open_objects_are_refused() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    let invalid = "invalid_request";
    call(&node, "reads", json!(["..", "a", 0, 1])).await.fails_with(invalid, "not a valid bucket name");
    call(&node, "reads", json!(["data", "a/../b", 0, 1])).await.fails_with(invalid, "not a valid object key");
    call(&node, "reads", json!(["data", "", 0, 1])).await.fails_with(invalid, "1 to 1024 bytes");
    call(&node, "puts", json!(["data", "k".repeat(10 << 10), "x"])).await.fails_with(invalid, "1 to 1024 bytes");
    call(&node, "lists", json!(["b".repeat(10 << 10), ""])).await.fails_with(invalid, "3 to 63");
    call(&node, "reads", json!(["data", "nothing", 0, 1])).await.fails_with("not_found", "data/nothing");
    assert_eq!(call(&node, "opens_often", json!(["data", "digits", 64])).await.json(), json!(64));
    call(&node, "opens_often", json!(["data", "digits", 65])).await.fails_with(invalid, "64 objects are open");
    assert_eq!(call(&node, "opens_often", json!(["data", "digits", 64])).await.json(), json!(64));
}

#[tokio::test]
async fn a_guest_that_reads_a_damaged_chunk_is_told_which_and_one_that_puts_on_a_full_disk_that_it_is_full() {
    let Some(disk) = SmallDisk::mount(160) else {
        eprintln!("not run: this user may not mount a tmpfs");
        return;
    };
    let data = disk.path().join("data");
    let node = node_with_data(&data).await;
    let chunk = chunks(&data).remove(0);
    std::fs::write(&chunk, "9876543210").unwrap();
    let read = call(&node, "reads", json!(["data", "digits", 0, 1])).await;
    read.fails_with("internal", "data/digits");
    read.fails_with("internal", chunk.file_name().unwrap().to_str().unwrap());
    disk.fill().unwrap();
    call(&node, "puts", json!(["out", "small/a", "one"])).await.fails_with("unavailable", "no space left");
    call(&node, "reads", json!(["out", "small/a", 0, 1])).await.fails_with("not_found", "out");
    disk.empty().unwrap();
    call(&node, "puts", json!(["out", "small/a", "one"])).await.json();
    put(&node, "data/digits", "0123456789").await;
    assert_eq!(call(&node, "reads", json!(["data", "digits", 0, 1])).await.json(), json!("0"));
}

#[tokio::test]
async fn an_agent_reads_on_from_turn_to_turn_until_the_version_is_gone() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    let begun = node.ask("librarian/a", "begin", r#"["data", "digits", 4]"#).await;
    assert_eq!(begun.json(), json!("0123"));
    assert_eq!(node.ask("librarian/a", "go_on", "3").await.json(), json!("456"));
    put(&node, "data/digits", "abcdefghij").await;
    node.ask("librarian/a", "go_on", "3").await.fails_with("not_found", "data/digits");
    // A turn that fails takes what was kept in memory with it.
    node.ask("librarian/a", "go_on", "3").await.fails_with("guest_error", "nothing is open");
    let begun = node.ask("librarian/a", "begin", r#"["data", "digits", 4]"#).await;
    assert_eq!(begun.json(), json!("abcd"));
}

#[tokio::test]
async fn objects_are_no_part_of_a_turn_and_a_method_that_only_reads_changes_none() {
    let (_dir, data) = data();
    let node = node_with_data(&data).await;
    assert_eq!(node.ask("librarian/a", "copies", r#"["data", "digits", ""]"#).await.json(), json!(10));
    let copied = node.ask("librarian/a", "copies", r#"["data", "digits", "data"]"#).await;
    copied.fails_with("capability_denied", "takes &self cannot write state or objects");
    let failed = node.ask("librarian/a", "puts_then_fails", r#"["out", "small/kept"]"#).await;
    failed.fails_with("guest_error", "after putting");
    assert_eq!(node.get("/v1/objects/out/small/kept").await.body, "from a turn that failed");
}
