//! Agents through the real binary and HTTP.

use crate::support::{Node, Reply, data};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_turn_is_durable_when_its_reply_is_seen() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    let reply = node.ask("counter/alice", "add", "5").await;
    assert_eq!(reply.json(), json!(5));
    assert_eq!(reply.headers["stride-turn"], "1");
    assert!(reply.headers["server-timing"].to_str().unwrap().contains("commit;dur="));
    node.kill();
    let node = Node::start(&data);
    assert_eq!(node.ask("counter/alice", "get", "").await.json(), json!(5));
    assert_eq!(node.ask("counter/alice", "add", "2").await.json(), json!(7));
    assert_eq!(node.ask("counter/bob", "get", "").await.json(), json!(0));
}

#[tokio::test]
async fn a_method_that_takes_self_by_reference_commits_nothing() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    node.ask("ledger/a", "total", "").await.json();
    node.get("/v1/agents/ledger/a").await.fails_with("not_found", "ledger/a");
    node.ask("ledger/a", "add", "1").await.json();
    node.ask("ledger/a", "write_in_read_only", "").await.fails_with("capability_denied", "&mut self");
    assert_eq!(node.get("/v1/agents/ledger/a").await.json()["turns"], 1);
    assert_eq!(node.get("/v1/agents/ledger/a/state").await.json()["entries"], json!([]));
}

#[tokio::test]
async fn a_failed_turn_leaves_no_trace_and_the_agent_usable() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    assert_eq!(node.ask("ledger/a", "add", "10").await.json(), json!(10));
    node.ask("ledger/a", "put", r#"["k", "kept"]"#).await.json();
    for (method, code) in [
        ("add_then_panic", "guest_trap"),
        ("add_then_fail", "guest_error"),
        ("add_then_spin", "limit_time"),
        ("add_then_hog", "limit_memory"),
    ] {
        let (found, _) = node.ask("ledger/a", method, "1000").await.problem();
        assert_eq!(found, code);
        assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(10), "after {method}");
        assert_eq!(node.ask("ledger/a", "read", "\"k\"").await.json(), json!("kept"), "after {method}");
    }
    assert_eq!(node.ask("ledger/a", "add", "1").await.json(), json!(11));
    assert_eq!(node.get("/v1/agents/ledger/a").await.json()["turns"], 3);
}

#[tokio::test]
async fn the_keyed_map_sets_gets_deletes_and_scans_by_prefix() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    for key in ["b/2", "a/1", "b/1", "c"] {
        node.ask("ledger/m", "put", &json!([key, key.to_uppercase()]).to_string()).await.json();
    }
    node.ask("ledger/m", "remove", "\"b/2\"").await.json();
    let check = async |node: &Node| {
        assert_eq!(node.ask("ledger/m", "list", "\"b/\"").await.json(), json!([["b/1", "B/1"]]));
        assert_eq!(node.ask("ledger/m", "list", "\"\"").await.json().as_array().unwrap().len(), 3);
        assert_eq!(node.ask("ledger/m", "read", "\"b/2\"").await.json(), json!(null));
    };
    check(&node).await;
    node.kill();
    check(&Node::start(&data)).await;
}

#[tokio::test]
async fn turns_of_one_agent_run_one_at_a_time_and_none_is_lost() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    let asks = (0..200).map(|_| node.ask("counter/busy", "add", "1"));
    let replies = futures::future::join_all(asks).await;
    let mut seen: Vec<u64> = replies.iter().map(|reply| reply.json().as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_repeated_idempotency_key_gets_the_first_answer_also_after_a_restart() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    let add = |node: &Node, body: &'static str| {
        Reply::of(node.post("/v1/agents/counter/a/add", body).header("idempotency-key", "order-17"))
    };
    assert_eq!(add(&node, "5").await.json(), json!(5));
    let again = add(&node, "5").await;
    assert_eq!(again.json(), json!(5));
    assert_eq!(again.headers["stride-replayed"], "true");
    add(&node, "6").await.fails_with("conflict", "another request");
    node.kill();
    let node = Node::start(&data);
    assert_eq!(add(&node, "5").await.json(), json!(5));
    assert_eq!(node.ask("counter/a", "get", "").await.json(), json!(5));
}

#[tokio::test]
async fn a_failed_turn_is_not_remembered_under_its_idempotency_key() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    let keyed = |method: &str| {
        let request = node.post(&format!("/v1/agents/ledger/a/{method}"), "1");
        Reply::of(request.header("idempotency-key", method.to_owned()))
    };
    keyed("add_then_fail").await.fails_with("guest_error", "");
    keyed("add_then_fail").await.fails_with("guest_error", "");
    assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(0));
}

#[tokio::test]
async fn idle_agents_leave_memory_and_come_back_by_themselves() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"counter\"\n[agents.counter]\nidle = \"100ms\"";
    assert_eq!(node.deploy_with("counter", manifest).await.status, 201);
    assert_eq!(node.ask("counter/a", "add", "3").await.json(), json!(3));
    while node.get("/v1/agents/counter/a").await.json()["live"] == json!(true) {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.ask("counter/a", "add", "1").await.json(), json!(4));
}

#[tokio::test]
async fn the_least_recently_used_agents_make_room_for_others() {
    let (dir, data) = data();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "live_agents_max = 8").unwrap();
    let node = Node::try_start(&data, &["--config", config.to_str().unwrap()]).unwrap();
    node.deploy("counter").await;
    for i in 0..40 {
        assert_eq!(node.ask(&format!("counter/k{i}"), "add", "1").await.json(), json!(1));
    }
    let metrics = node.get("/metrics").await.body;
    let live = metrics.lines().find(|line| line.starts_with("stride_agents_live")).unwrap();
    assert_eq!(live.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap(), 8.0);
    for i in 0..40 {
        assert_eq!(node.ask(&format!("counter/k{i}"), "get", "").await.json(), json!(1));
    }
}

#[tokio::test]
async fn agents_are_listed_in_key_order_page_by_page() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    let mut keys: Vec<String> = (0..25).map(|i| format!("k{i:02}")).collect();
    for key in keys.iter().rev() {
        node.ask(&format!("counter/{key}"), "add", "1").await.json();
    }
    keys.push("with%2Fslash".into());
    node.ask("counter/with%2Fslash", "add", "1").await.json();
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = node.get(&format!("/v1/agents/counter?limit=10{after}")).await.json();
        listed
            .extend(page["agents"].as_array().unwrap().iter().map(|a| a["key"].as_str().unwrap().replace('/', "%2F")));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(listed, keys);
}

#[tokio::test]
async fn state_can_be_seen_edited_and_removed_without_running_the_agent() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    node.ask("ledger/a", "add", "7").await.json();
    node.ask("ledger/a", "put", r#"["k", "v"]"#).await.json();
    let state = node.get("/v1/agents/ledger/a/state").await.json();
    assert_eq!(state["entries"], json!([{"key": "k", "bytes": 3}]));
    assert_eq!(node.get("/v1/agents/ledger/a/state/k").await.json(), json!("v"));

    let mut typed = state["state"].clone();
    typed["total"] = json!(100);
    let put = node.request(Method::PUT, "/v1/agents/ledger/a/state").body(typed.to_string());
    assert_eq!(Reply::of(put).await.status, 204);
    let put = node.request(Method::PUT, "/v1/agents/ledger/a/state/k").body("\"w\"");
    assert_eq!(Reply::of(put).await.status, 204);
    assert_eq!(node.ask("ledger/a", "add", "1").await.json(), json!(101));
    assert_eq!(node.ask("ledger/a", "read", "\"k\"").await.json(), json!("w"));

    let bad = node.request(Method::PUT, "/v1/agents/ledger/a/state").body("not json");
    Reply::of(bad).await.fails_with("invalid_request", "JSON");
    let gone = || Reply::of(node.request(Method::DELETE, "/v1/agents/ledger/a/state/k"));
    assert_eq!(gone().await.status, 204);
    gone().await.fails_with("not_found", "state key");

    let remove = || Reply::of(node.request(Method::DELETE, "/v1/agents/ledger/a"));
    assert_eq!(remove().await.status, 204);
    remove().await.fails_with("not_found", "ledger/a");
    assert_eq!(node.ask("ledger/a", "total", "").await.json(), json!(0));
    node.kill();
    let node = Node::start(&data);
    node.get("/v1/agents/ledger/a").await.fails_with("not_found", "ledger/a");
}
