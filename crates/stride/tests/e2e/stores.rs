//! A node whose objects are in a store of their own, emulated: started, killed, cut off, and refused where it does not belong.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::json;
use stride_emulators::Emulator;

use crate::support::{Node, Reply, SmallDisk, data};

/// More than one chunk, and one that is not whole.
fn large() -> Vec<u8> {
    (0..20_000_000u32).map(|n| (n * 31 % 251) as u8).collect()
}

/// A node that keeps its objects there.
struct Place {
    url: String,
    environment: Vec<(String, String)>,
}

impl Place {
    fn of(emulator: &Emulator) -> Self {
        Self { url: emulator.url("nodes/one"), environment: emulator.environment() }
    }

    fn begin(&self, data: &Path) -> Result<Node, String> {
        Node::try_start_in(&self.environment, data, &["--objects", &self.url])
    }

    /// Without a word about where the objects are.
    fn again(&self, data: &Path) -> Node {
        let node = Node::try_start_in(&self.environment, data, &[]);
        node.unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"))
    }
}

async fn put(node: &Node, name: &str, bytes: Vec<u8>) -> Reply {
    Reply::of(node.request(Method::PUT, &format!("/v1/objects/{name}")).body(bytes)).await
}

async fn read(node: &Node, name: &str) -> Vec<u8> {
    let response = node.request(Method::GET, &format!("/v1/objects/{name}")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap().to_vec()
}

/// What a metric says.
pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    let metrics = node.get("/metrics").await.body;
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not there"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

async fn keeps_objects(place: &Place, data: &Path) -> Node {
    let node = place.begin(data).unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"));
    put(&node, "data/small", b"hello world".to_vec()).await.json_of(StatusCode::CREATED);
    put(&node, "data/large", large()).await.json_of(StatusCode::CREATED);
    put(&node, "data/gone", b"not for long".to_vec()).await.json_of(StatusCode::CREATED);
    assert!(read(&node, "data/large").await == large());
    let range = node.request(Method::GET, "/v1/objects/data/large").header("range", "bytes=8388600-8388615");
    let range = range.send().await.unwrap();
    assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
    assert!(range.bytes().await.unwrap() == large()[8_388_600..=8_388_615]);
    let removed = Reply::of(node.request(Method::DELETE, "/v1/objects/data/gone")).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert!(!data.join("objects").exists(), "nothing is kept in the data directory");

    node.kill();
    let node = place.again(data);
    let listed = node.get("/v1/objects/data").await.json();
    let keys: Vec<_> = listed["objects"].as_array().unwrap().iter().map(|object| object["key"].clone()).collect();
    assert_eq!(keys, [json!("large"), json!("small")]);
    assert!(read(&node, "data/large").await == large());
    node.get("/v1/objects/data/gone").await.fails_with("not_found", "data/gone");
    node
}

/// What is on the local disk is given out while the store is away; the rest is unavailable, and there when it is back.
async fn is_unavailable(node: &Node) {
    assert!(read(node, "data/large").await == large());
    assert!(metric(node, "stride_object_disk_chunks_total{outcome=\"hit\"}").await > 0.0);
    let lost = node.get("/v1/objects/data/small").await;
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE);
    lost.fails_with("unavailable", "cannot read a chunk");
    let refused = put(node, "data/late", b"too early".to_vec()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    refused.fails_with("unavailable", "the object storage cannot");
    node.get("/v1/objects/data/late").await.fails_with("not_found", "data/late");
}

async fn has_lost_nothing(node: &Node) {
    assert_eq!(read(node, "data/small").await, b"hello world");
    assert!(read(node, "data/large").await == large());
    put(node, "data/late", b"in time".to_vec()).await.json_of(StatusCode::CREATED);
    assert_eq!(read(node, "data/late").await, b"in time");
}

/// A node with nothing in memory, whose disk has what was read before.
async fn with_cold_memory(place: &Place, data: &Path, node: Node) -> Node {
    // Files are written while nobody waits for them.
    while metric(&node, "stride_object_disk_cache_bytes").await < large().len() as f64 {
        tokio::task::yield_now().await;
    }
    node.kill();
    place.again(data)
}

fn is_refused_elsewhere(place: &Place, emulator: &Emulator, data: &Path) {
    let elsewhere = Place { url: emulator.url("nodes/two"), environment: place.environment.clone() };
    let stderr = elsewhere.begin(data).err().unwrap();
    assert!(stderr.contains(&place.url) && stderr.contains(&elsewhere.url) && stderr.contains("missing"), "{stderr}");
    let other = data.with_extension("other");
    let stderr = place.begin(&other).err().unwrap();
    assert!(stderr.contains("belongs to nod-") && stderr.contains("another prefix"), "{stderr}");
    // What was refused is not remembered.
    elsewhere.begin(&other).unwrap_or_else(|stderr| panic!("{stderr}")).kill();
    let missing = Place { url: place.url.replace("stride-test", "nowhere"), environment: place.environment.clone() };
    let stderr = missing.begin(&data.with_extension("third")).err().unwrap();
    assert!(stderr.contains("make it first"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_s3_survive_kills_and_a_store_that_stops_answering() {
    let emulator = Emulator::s3();
    let place = Place::of(&emulator);
    let (_dir, data) = data();
    let node = keeps_objects(&place, &data).await;
    let node = with_cold_memory(&place, &data, node).await;
    emulator.freeze();
    is_unavailable(&node).await;
    emulator.thaw();
    has_lost_nothing(&node).await;
    node.kill();
    is_refused_elsewhere(&place, &emulator, &data);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_s3_are_given_out_while_there_is_no_space_to_keep_them_here() {
    let Some(disk) = SmallDisk::mount(96) else {
        eprintln!("not run: this user may not mount a tmpfs");
        return;
    };
    let emulator = Emulator::s3();
    let data = disk.path().join("data");
    let (place, config) = (Place::of(&emulator), disk.path().join("stride.toml"));
    // Its log gives space back now and then, but not as much as the object has.
    std::fs::write(&config, "journal_segment_mib = 8").unwrap();
    let arguments = ["--objects", &place.url, "--config", config.to_str().unwrap()];
    let node = Node::try_start_in(&place.environment, &data, &arguments);
    let node = node.unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"));
    put(&node, "data/large", large()).await.json_of(StatusCode::CREATED);
    disk.fill().unwrap();
    assert!(read(&node, "data/large").await == large());
    // Nobody waits for what is kept.
    while metric(&node, "stride_object_disk_chunks_dropped_total").await < 1.0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_azure_survive_kills_and_a_store_that_is_gone_for_a_while() {
    let mut emulator = Emulator::azure();
    let place = Place::of(&emulator);
    let (_dir, data) = data();
    let node = keeps_objects(&place, &data).await;
    let node = with_cold_memory(&place, &data, node).await;
    emulator.without(is_unavailable(&node)).await;
    has_lost_nothing(&node).await;
    node.kill();
    is_refused_elsewhere(&place, &emulator, &data);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_at_google_survive_kills_and_a_store_that_stops_answering() {
    let emulator = Emulator::google();
    let place = Place::of(&emulator);
    let (_dir, data) = data();
    let node = keeps_objects(&place, &data).await;
    let node = with_cold_memory(&place, &data, node).await;
    emulator.freeze();
    is_unavailable(&node).await;
    emulator.thaw();
    has_lost_nothing(&node).await;
    node.kill();
    is_refused_elsewhere(&place, &emulator, &data);

    // Neither the environment nor the machine has credentials.
    let mut place = place;
    place.environment.retain(|(name, _)| name != "GOOGLE_SERVICE_ACCOUNT_KEY");
    let nobody = ["GCE_METADATA_HOST", "GCE_METADATA_IP"].map(|name| (name.to_owned(), "127.0.0.1:1".to_owned()));
    place.environment.extend(nobody);
    let stderr = place.begin(&data).err().unwrap();
    assert!(stderr.contains("there are no credentials") && stderr.contains("GOOGLE_SERVICE_ACCOUNT"), "{stderr}");
}

#[test]
fn a_place_that_is_none_is_wrong_usage() {
    let (_dir, data) = data();
    let stderr = Node::try_start(&data, &["--objects", "ftp://host/dir"]).err().unwrap();
    assert!(stderr.contains("`ftp` is not known") && stderr.contains("s3://BUCKET"), "{stderr}");
}
