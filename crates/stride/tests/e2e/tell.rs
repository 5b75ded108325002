//! Telling an agent through the real binary and HTTP.

use std::collections::BTreeMap;

use crate::{
    cli::prints,
    support::{Node, Reply, data},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn tell(node: &Node, agent: &str, method: &str, body: &str, key: Option<&str>) -> Reply {
    let request = node.post(&format!("/v1/agents/{agent}/{method}?mode=tell"), body.to_owned());
    Reply::of(match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    })
    .await
}

/// Waits until no message waits for the agent.
async fn handled(node: &Node, agent: &str) {
    loop {
        let status = node.get(&format!("/v1/agents/{agent}")).await;
        if status.status == StatusCode::OK && status.json()["waiting"] == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_told_survives_sigkill_and_is_handled_once() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    for n in 1..=40 {
        let told = tell(&node, "ledger/a", "add", &n.to_string(), None).await.json_of(StatusCode::ACCEPTED);
        assert!(!told["message"].as_str().unwrap().is_empty());
    }
    node.kill();
    let node = Node::start(&data);
    handled(&node, "ledger/a").await;
    assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(820));
    assert_eq!(node.get("/v1/agents/ledger/a").await.json()["turns"], 40);
}

#[tokio::test]
async fn the_same_idempotency_key_twice_is_one_message_also_after_a_restart() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    let first = tell(&node, "ledger/a", "add", "5", Some("k")).await;
    assert!(!first.headers.contains_key("stride-replayed"));
    let again = tell(&node, "ledger/a", "add", "5", Some("k")).await;
    assert_eq!(again.headers["stride-replayed"], "true");
    let accepted = StatusCode::ACCEPTED;
    assert_eq!(again.json_of(accepted), first.json_of(accepted));
    handled(&node, "ledger/a").await;
    node.kill();
    let node = Node::start(&data);
    assert_eq!(tell(&node, "ledger/a", "add", "5", Some("k")).await.json_of(accepted), first.json_of(accepted));
    tell(&node, "ledger/a", "add", "6", Some("k")).await.fails_with("conflict", "new key");
    tell(&node, "ledger/a", "add", "1", Some("another")).await.json_of(accepted);
    handled(&node, "ledger/a").await;
    assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(6));
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_at_once() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    let large = tell(&node, "ledger/a", "put", &"x".repeat((4 << 20) + 1), None).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    large.fails_with("payload_too_large", "limit");
    tell(&node, "leger/a", "add", "1", None).await.fails_with("not_found", "did you mean `ledger`?");
    tell(&node, "ledger/a", "ad", "1", None).await.fails_with("not_found", "it has: add, ");
    tell(&node, "ledger/a", "add", "1", Some("")).await.fails_with("invalid_request", "idempotency key");
    node.get("/v1/agents/ledger/a").await.fails_with("not_found", "ledger/a");
}

#[tokio::test]
async fn a_trace_goes_from_a_call_through_what_it_asks_to_what_that_tells() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[capabilities]\nagents = [\"post/*\"]";
    assert_eq!(node.deploy_with("faulty", manifest).await.status, 201);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let call = node.post("/v1/functions/faulty/asks_to_tell", r#"["a", "b"]"#).header("traceparent", trace);
    assert_eq!(Reply::of(call).await.status, 200);
    assert_eq!(node.call("faulty/posts", r#"["b", "without a trace"]"#).await.status, 200);
    // Of the call, of the agent that it asked, and of the one that this told; and of one that no trace knows.
    let traced = ["asks a", "got 0", "tells b"].map(|text| (text.to_owned(), Some(trace.to_owned())));
    let expected = BTreeMap::from_iter(traced.into_iter().chain([("got without a trace".to_owned(), None)]));
    let mut found = BTreeMap::new();
    for _ in 0..20_000 {
        let page = node.get("/v1/logs").await.json();
        let lines = page["lines"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        found = lines.map(|line| (text(&line["text"]).unwrap(), text(&line["trace"]))).collect();
        if found.len() >= expected.len() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_trace_that_is_none_is_ignored() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    for trace in ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "nonsense"] {
        let ask = node.post("/v1/agents/ledger/a/add", "1").header("traceparent", trace);
        assert_eq!(Reply::of(ask).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn stride_tell_says_which_message_it_was_and_metrics_count_it() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    assert!(prints(&node, &["tell", "ledger/a", "add", "5"]).starts_with("told ledger/a, message "));
    let key = ["tell", "ledger/a", "add", "5", "--idempotency-key", "k", "--json"];
    let told = prints(&node, &key);
    assert!(told.contains("\"message\""), "{told}");
    assert_eq!(prints(&node, &key), told);
    handled(&node, "ledger/a").await;
    let metrics = node.get("/metrics").await.body;
    for line in [
        "stride_messages_total{outcome=\"handled\"} 2",
        "stride_messages_total{outcome=\"failed\"} 0",
        "stride_messages{place=\"waiting\"} 0",
        "stride_messages{place=\"parked\"} 0",
        "stride_timers 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
