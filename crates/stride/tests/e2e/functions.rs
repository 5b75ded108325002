//! Functions through the real binary and HTTP.

use std::sync::Arc;

use crate::support::{Node, Reply, data};
use serde_json::json;

#[tokio::test]
async fn a_function_answers_in_a_fresh_instance_and_says_where_the_time_went() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let deployed = node.deploy("counter").await;
    assert_eq!(deployed["functions"], json!(["shout"]));
    let reply = node.call("counter/shout", "\"hello\"").await;
    assert_eq!(reply.json(), json!("HELLO"));
    assert!(reply.headers["stride-node"].to_str().unwrap().starts_with("nod-"));
    assert!(reply.headers["stride-call"].to_str().unwrap().starts_with("call-"));
    let timing = reply.headers["server-timing"].to_str().unwrap();
    assert!(timing.contains("queue;dur=") && timing.contains("start;dur=") && timing.contains("run;dur="), "{timing}");
}

#[tokio::test]
async fn no_two_calls_share_an_instance_also_if_it_was_made_ahead() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    for _ in 0..20 {
        assert_eq!(node.call("faulty/served", "").await.json(), json!(1));
    }
    let calls = (0..20).map(|_| node.call("faulty/served", ""));
    for reply in futures::future::join_all(calls).await {
        assert_eq!(reply.json(), json!(1));
    }
}

#[tokio::test]
async fn an_instance_made_ahead_does_not_outlive_its_deployment() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let ask = r#"["ledger", "a", "add", 5]"#;
    node.deploy("faulty").await;
    node.call("faulty/asks", ask).await.fails_with("capability_denied", "[capabilities]");
    node.call("faulty/asks", ask).await.fails_with("capability_denied", "[capabilities]");
    let manifest = "name = \"faulty\"\n[capabilities]\nagents = [\"ledger/*\"]";
    assert_eq!(node.deploy_with("faulty", manifest).await.status, 201);
    assert_eq!(node.call("faulty/asks", ask).await.json(), json!(5));
}

#[tokio::test]
async fn a_payload_passes_through_unchanged_with_its_content_type() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("echo").await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let request = node.post("/v1/functions/echo/echo", bytes.clone()).header("content-type", "image/x-test");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/x-test");
    assert_eq!(response.bytes().await.unwrap(), bytes);
}

#[tokio::test]
async fn what_a_guest_prints_is_logged_under_its_call() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    let reply = node.call("faulty/prints", "\"a line to find\"").await;
    let call = reply.headers["stride-call"].to_str().unwrap().to_owned();
    let logs = node.get("/v1/logs?component=faulty").await.json();
    let lines = logs["lines"].as_array().unwrap();
    for stream in ["stdout", "stderr"] {
        let line = lines.iter().find(|line| line["stream"] == stream).unwrap();
        assert_eq!(line["call"], json!(call));
        assert!(line["text"].as_str().unwrap().contains("a line to find"));
    }
}

#[tokio::test]
async fn a_function_asks_the_agents_that_its_capabilities_name_and_no_others() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    let ask = r#"["ledger", "a", "add", 5]"#;
    node.call("faulty/asks", ask).await.fails_with("capability_denied", "[capabilities]");
    assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(0));

    let manifest = "name = \"faulty\"\n[capabilities]\nagents = [\"ledger/*\"]";
    assert_eq!(node.deploy_with("faulty", manifest).await.status, 201);
    assert_eq!(node.call("faulty/asks", ask).await.json(), json!(5));
    assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(5));
    node.call("faulty/asks", r#"["counter", "a", "add", 5]"#).await.fails_with("capability_denied", "counter/a");
}

/// Waits until so many calls run and so many wait.
async fn until_active(node: &Node, running: u32, waiting: u32) {
    let wanted = [("running", running), ("waiting", waiting)]
        .map(|(state, calls)| format!("stride_calls_active{{state=\"{state}\"}} {calls}"));
    for _ in 0..100_000 {
        let metrics = node.get("/metrics").await.body;
        if wanted.iter().all(|wanted| metrics.lines().any(|line| line == wanted)) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("there never are {running} calls running and {waiting} waiting");
}

#[tokio::test]
async fn calls_run_to_a_bound_then_queue_to_a_bound_then_are_refused() {
    let (_dir, data) = data();
    let node = Arc::new(Node::start(&data));
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 2\nqueue = 3\ntimeout = \"1h\"";
    assert_eq!(node.deploy_with("faulty", manifest).await.status, 201);
    let start = |milliseconds: &'static str| {
        let node = node.clone();
        tokio::spawn(async move { node.call("faulty/sleeps", milliseconds).await })
    };
    // Long enough for all that follows on a machine that is busy.
    const LONG: &str = "10000";
    let running = [start(LONG), start(LONG)];
    until_active(&node, 2, 0).await;
    let waiting = [start("1"), start("1"), start("1")];
    until_active(&node, 2, 3).await;
    for _ in 0..3 {
        let refused = node.call("faulty/sleeps", "1").await;
        refused.fails_with("overloaded", "2 calls running and 3 waiting");
        assert_eq!(refused.headers["retry-after"], "1");
    }
    // Those that waited say so.
    let queued = |reply: &Reply| -> f64 {
        let timing = reply.headers["server-timing"].to_str().unwrap();
        timing.strip_prefix("queue;dur=").unwrap().split(',').next().unwrap().parse().unwrap()
    };
    let mut waits = Vec::new();
    for call in running {
        assert_eq!(call.await.unwrap().status, 200);
    }
    for call in waiting {
        let reply = call.await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        waits.push(queued(&reply));
    }
    until_active(&node, 0, 0).await;
    let alone = node.call("faulty/sleeps", "1").await;
    assert_eq!(alone.status, 200);
    assert!(waits.iter().all(|wait| *wait > queued(&alone)), "{waits:?}, and {} alone", queued(&alone));
}

#[tokio::test]
async fn a_damaged_cache_entry_is_compiled_again() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("echo").await;
    node.kill();
    let entries: Vec<_> = std::fs::read_dir(data.join("cache")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(entries.len(), 1);
    let sound = std::fs::read(&entries[0]).unwrap();
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    for damaged in [flipped, sound[..sound.len() / 2].to_vec(), Vec::new()] {
        std::fs::write(&entries[0], &damaged).unwrap();
        let node = Node::start(&data);
        assert_eq!(node.call("echo/echo", "1").await.json(), json!(1));
        node.kill();
        assert_eq!(std::fs::read(&entries[0]).unwrap().len(), sound.len());
    }
}
