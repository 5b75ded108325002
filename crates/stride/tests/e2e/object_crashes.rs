//! Objects when clients, processes and disks fail, and when they are large.

use std::{
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc, stream};
use reqwest::{Body, Method, StatusCode};
use serde_json::json;

use crate::support::{Node, Reply, SmallDisk, data};

const CHUNK: usize = 8 << 20;

/// The files of chunks that a node has on disk, those that are being written among them.
pub(crate) fn chunks(data: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    entries(&data.join("objects/chunks/default")).iter().flat_map(|dir| entries(dir)).collect()
}

/// A chunk's worth of bytes, different for each seed.
fn chunk(seed: u32) -> Bytes {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(CHUNK / 4).flatten().collect::<Vec<u8>>().into()
}

async fn put(node: &Node, name: &str, body: impl Into<Body>) -> Reply {
    Reply::of(node.request(Method::PUT, &format!("/v1/objects/{name}")).body(body)).await
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_leaves_the_object_as_it_was() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    put(&node, "data/a", "as it was").await.json_of(StatusCode::CREATED);
    let mut client = TcpStream::connect(node.url.trim_start_matches("http://")).unwrap();
    write!(client, "PUT /v1/objects/data/a HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 3 * CHUNK).unwrap();
    for seed in 1..3 {
        client.write_all(&chunk(seed)).unwrap();
    }
    until(|| chunks(&data).len() >= 3).await;
    drop(client);
    assert_eq!(node.get("/v1/objects/data/a").await.body, "as it was");
    // What was written goes at the next start at the latest.
    node.kill();
    let node = Node::start(&data);
    until(|| chunks(&data).len() == 1).await;
    assert_eq!(node.get("/v1/objects/data/a").await.body, "as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_in_the_middle_of_a_put_has_nothing_of_it() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    put(&node, "data/a", "as it was").await.json_of(StatusCode::CREATED);
    let (send, parts) = mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let request = node.request(Method::PUT, "/v1/objects/data/a").body(Body::wrap_stream(parts)).send();
    let request = tokio::spawn(request);
    for seed in 1..4 {
        send.unbounded_send(Ok(chunk(seed))).unwrap();
    }
    until(|| chunks(&data).len() >= 3).await;
    node.kill();
    assert!(request.await.unwrap().is_err());
    // As if it had been killed while it wrote, too.
    let whole = chunks(&data).remove(0);
    let torn = whole.with_file_name(format!("{}#1", whole.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&torn, b"half").unwrap();
    let node = Node::start(&data);
    assert_eq!(node.get("/v1/objects/data/a").await.body, "as it was");
    until(|| chunks(&data).len() == 1).await;
    put(&node, "data/a", "new").await.json_of(StatusCode::CREATED);
    assert_eq!(node.get("/v1/objects/data/a").await.body, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_sigkill() {
    let (_dir, data) = data();
    let mut sent = 0;
    for _ in 0..3 {
        let node = Node::start(&data);
        for n in 0..sent {
            assert_eq!(node.get(&format!("/v1/objects/data/{n}")).await.body, format!("body {n}"));
        }
        for _ in 0..10 {
            put(&node, &format!("data/{sent}"), format!("body {sent}")).await.json_of(StatusCode::CREATED);
            sent += 1;
        }
        node.kill();
    }
    let node = Node::start(&data);
    let listed = node.get("/v1/objects/data").await.json();
    assert_eq!(listed["objects"].as_array().unwrap().len(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_and_one_that_is_gone_are_named_and_repaired_by_the_same_bytes() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let body = "a body ".repeat(100);
    put(&node, "data/a", body.clone()).await.json_of(StatusCode::CREATED);
    let file = chunks(&data).remove(0);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut damaged = body.clone().into_bytes();
    damaged[10] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let reply = node.get("/v1/objects/data/a").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    reply.fails_with("internal", &name);
    reply.fails_with("internal", "data/a");
    put(&node, "data/a", body.clone()).await.json_of(StatusCode::CREATED);
    assert_eq!(node.get("/v1/objects/data/a").await.body, body);
    assert!(node.get("/metrics").await.body.contains("stride_object_chunks_corrupt_total 1"));
    // A new process has an empty cache.
    node.kill();
    std::fs::remove_file(&file).unwrap();
    let node = Node::start(&data);
    node.get("/v1/objects/data/a").await.fails_with("internal", "is gone");
    put(&node, "data/a", body.clone()).await.json_of(StatusCode::CREATED);
    assert_eq!(node.get("/v1/objects/data/a").await.body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_an_object_keeps_the_others_and_is_free_again() {
    let Some(disk) = SmallDisk::mount(160) else {
        eprintln!("not run: this user may not mount a tmpfs");
        return;
    };
    let data = disk.path().join("data");
    let node = Node::start_configured(&data, "journal_segment_mib = 8");
    put(&node, "data/small", "kept").await.json_of(StatusCode::CREATED);
    // More than the disk has, and far more than is sent before the answer is there.
    let endless = stream::iter(1..1_000).map(|seed| Ok::<_, std::io::Error>(chunk(seed)));
    let refused = put(&node, "data/large", Body::wrap_stream(endless)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    refused.fails_with("unavailable", "no space left");
    node.get("/v1/objects/data/large").await.fails_with("not_found", "data/large");
    assert_eq!(node.get("/v1/objects/data/small").await.body, "kept");
    // What was written of it is removed at once, not in a minute.
    until(|| chunks(&data).len() == 1).await;
    put(&node, "data/next", chunk(1)).await.json_of(StatusCode::CREATED);
    node.kill();
    let node = Node::start(&data);
    let listed = node.get("/v1/objects/data").await.json();
    assert_eq!((&listed["objects"][0]["key"], &listed["objects"][1]["key"]), (&json!("next"), &json!("small")));
}

/// How much memory the node has had at most, in bytes.
fn peak(node: &Node) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_2_gb_goes_in_and_out_in_bounded_memory() {
    const CHUNKS: usize = 256;
    /// So many are different, so that the test takes seconds; each is hashed and looked for all the same.
    const DIFFERENT: u32 = 24;
    let (_dir, data) = data();
    let node = Node::start_configured(&data, "object_cache_mib = 32");
    let different: Vec<Bytes> = (0..DIFFERENT).map(chunk).collect();
    let sent = different.clone();
    let body = stream::iter((0..CHUNKS).map(move |n| Ok::<_, std::io::Error>(sent[n % sent.len()].clone())));
    let before = peak(&node);
    let stored = put(&node, "data/large", Body::wrap_stream(body)).await.json_of(StatusCode::CREATED);
    assert_eq!(stored["bytes"], json!(CHUNKS * CHUNK));
    let mut response = node.request(Method::GET, "/v1/objects/data/large").send().await.unwrap();
    let mut at = 0;
    while let Some(piece) = response.chunk().await.unwrap() {
        for part in [&piece[..piece.len().min(CHUNK - at % CHUNK)], &piece[piece.len().min(CHUNK - at % CHUNK)..]] {
            let of = &different[at / CHUNK % different.len()];
            assert!(*part == of[at % CHUNK..at % CHUNK + part.len()], "other bytes at {at}");
            at += part.len();
        }
    }
    assert_eq!(at, CHUNKS * CHUNK);
    let grown = (peak(&node) - before) >> 20;
    eprintln!("2 GB in and out: {grown} MiB more than before");
    assert!(grown < 160, "{grown} MiB more than before, with a cache of 32 MiB");
}
