//! Which functions are pure, and what the platform makes of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{prints, stderr, stride},
    support::{Node, Reply, data},
};

/// What a node says of the only component that is deployed.
async fn listed(node: &Node) -> Value {
    node.get("/v1/deployments").await.json()["deployments"][0].clone()
}

#[tokio::test]
async fn a_component_that_is_granted_nothing_and_sees_nothing_that_changes_is_pure_and_others_say_why_not() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let deployed = node.deploy("counter").await;
    assert_eq!((&deployed["pure"], &deployed["impure_because"]), (&json!(true), &json!(null)));
    assert_eq!(listed(&node).await["pure"], json!(true));
    assert!(prints(&node, &["deployments"]).lines().nth(1).unwrap().ends_with("yes"));

    let manifest = "name = \"counter\"\n[capabilities]\nobjects = [\"data/*:read\"]";
    let granted = node.deploy_with("counter", manifest).await.json_of(StatusCode::CREATED);
    assert_eq!(granted["pure"], json!(false));
    assert_eq!(granted["impure_because"], json!("stride.toml asks for `objects` in [capabilities]"));
    assert!(prints(&node, &["deployments"]).contains("no: stride.toml asks for `objects`"));
}

#[tokio::test]
async fn who_can_see_what_changes_on_a_node_is_not_pure() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let deployed = node.deploy_with("faulty", "name = \"faulty\"").await.json_of(StatusCode::CREATED);
    let why = deployed["impure_because"].as_str().unwrap();
    assert!(deployed["pure"] == json!(false) && why.contains("stride:guest/memory"), "{deployed}");
}

const MEMOISED: &str = "name = \"counter\"\n[functions.shout]\nmemoise = true\n";

fn is_memoised(reply: &Reply) -> bool {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let said = reply.headers.get("stride-memoised");
    assert!(said.is_none_or(|said| said == "true"));
    said.is_some()
}

#[tokio::test]
async fn an_answer_that_is_known_is_given_again_and_says_so() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy_with("counter", MEMOISED).await.json_of(StatusCode::CREATED);
    let shout = async |text: &str| node.call("counter/shout", text).await;
    assert!(!is_memoised(&shout("\"a\"").await));
    let again = shout("\"a\"").await;
    assert!(is_memoised(&again) && again.body == "\"A\"" && again.headers["content-type"] == "application/json");
    assert!(!is_memoised(&shout("\"b\"").await), "another input");
    let typed = node.post("/v1/functions/counter/shout", "\"a\"").header("content-type", "text/json");
    assert!(!is_memoised(&Reply::of(typed).await), "another content type");
    // A failure is none of the answers that are kept.
    for _ in 0..2 {
        shout("no json").await.fails_with("invalid_request", "");
    }
    let metrics = node.get("/metrics").await.body;
    for line in ["stride_memo_total{outcome=\"hit\"} 1", "stride_memo_total{outcome=\"miss\"} 5"] {
        assert!(metrics.contains(line), "{metrics}");
    }

    let other = format!("{MEMOISED}memory = \"32MiB\"\n");
    node.deploy_with("counter", &other).await.json_of(StatusCode::CREATED);
    assert!(!is_memoised(&shout("\"a\"").await), "another version");
    node.deploy_with("counter", "name = \"counter\"").await.json_of(StatusCode::CREATED);
    assert!(!is_memoised(&shout("\"a\"").await) && !is_memoised(&shout("\"a\"").await), "it is not asked for");
}

#[tokio::test]
async fn a_function_that_is_not_pure_can_neither_be_memoised_nor_have_its_instances_used_again() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let again = node.deploy_with("faulty", "name = \"faulty\"\n[functions.echo]\nreuse = true\n").await;
    again.fails_with("invalid_request", "stride.toml has reuse in [functions.echo], but the function is not pure");
    let clock = node.deploy_with("faulty", "name = \"faulty\"\n[functions.echo]\nmemoise = true\n").await;
    clock.fails_with("invalid_request", "[functions.echo], but the function is not pure: it imports");
    let granted = node.deploy_with("counter", &format!("{MEMOISED}[capabilities]\nagents = [\"a/*\"]\n")).await;
    granted.fails_with("invalid_request", "not pure: stride.toml asks for `agents`");
    assert_eq!(node.get("/v1/deployments").await.json()["deployments"], json!([]));
}

#[tokio::test]
async fn a_map_of_a_memoised_function_counts_what_was_known_and_comes_to_the_same() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy_with("counter", MEMOISED).await.json_of(StatusCode::CREATED);
    for n in 0..20 {
        let put = node.request(Method::PUT, &format!("/v1/objects/data/in/{n:02}")).body(format!("\"text {n}\""));
        Reply::of(put).await.json_of(StatusCode::CREATED);
    }
    let map = ["map", "counter/shout", "--over", "data/in/"];
    let (first, second) = (stride(&node.url, &map), stride(&node.url, &map));
    assert_eq!(first.stdout, second.stdout);
    assert!(stderr(&first).contains("map: 20 inputs, 0 failed, ") && !stderr(&first).contains("memoised"));
    assert!(stderr(&second).contains("map: 20 inputs, 0 failed, 20 memoised, "), "{}", stderr(&second));
    let maps = node.get("/v1/maps").await.json();
    assert_eq!((&maps["maps"][0]["memoised"], &maps["maps"][1]["memoised"]), (&json!(0), &json!(20)));
    let metrics = node.get("/metrics").await.body;
    for line in [
        "stride_map_items_total{outcome=\"done\"} 40",
        "stride_map_items_memoised_total 20",
        "stride_map_items_hedged_total 0",
        "stride_maps_running 0",
        "stride_map_item_seconds_count 40",
    ] {
        assert!(metrics.contains(line), "`{line}` is not in {metrics}");
    }
}
