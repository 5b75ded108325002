//! Which functions are pure, and what the platform makes of it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    cli::prints,
    support::{Node, data},
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
async fn who_can_read_a_clock_is_not_pure() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let deployed = node.deploy_with("faulty", "name = \"faulty\"").await.json_of(StatusCode::CREATED);
    let why = deployed["impure_because"].as_str().unwrap();
    assert!(deployed["pure"] == json!(false) && why.contains("wasi:clocks/"), "{deployed}");
}
