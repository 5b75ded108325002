//! Messages that fail too often, through the real binary and HTTP.

use crate::{
    cli::{prints, stderr, stride},
    rollback::deploy_version,
    support::{Node, Reply, data},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn tell(node: &Node, agent: &str, n: u64) {
    let request = node.post(&format!("/v1/agents/{agent}/take?mode=tell"), n.to_string());
    Reply::of(request).await.json_of(StatusCode::ACCEPTED);
}

/// Waits until so many messages are parked.
async fn parked(node: &Node, count: usize) -> Vec<Value> {
    loop {
        let listed = node.get("/v1/parked").await.json();
        let parked = listed["parked"].as_array().unwrap();
        if parked.len() == count {
            return parked.clone();
        }
        tokio::task::yield_now().await;
    }
}

async fn taken(node: &Node, agent: &str) -> Value {
    node.ask(agent, "taken", "").await.json()
}

#[tokio::test]
async fn a_message_that_keeps_failing_is_parked_with_its_cause_and_taken_up_again_on_a_repaired_version() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let broken = deploy_version(&node, 1).await;
    for n in [1, 2, 4] {
        tell(&node, "fragile/a", n).await;
    }
    let message = parked(&node, 1).await.remove(0);
    assert_eq!(taken(&node, "fragile/a").await, json!([2, 4]));
    assert_eq!((&message["agent"], &message["method"]), (&json!("fragile/a"), &json!("take")));
    assert_eq!((&message["attempts"], &message["from"]), (&json!(5), &json!(null)));
    assert_eq!((&message["cause"]["code"], &message["version"]), (&json!("guest_trap"), &broken["version"]));
    let cause = message["cause"]["message"].as_str().unwrap();
    assert!(cause.contains("version 1 cannot take 1"), "{cause}");
    assert!(cause.contains("\n  in faulty::fragile::"), "the backtrace names the guest's functions: {cause}");

    let table = prints(&node, &["agents", "parked"]);
    assert!(table.contains("fragile/a") && table.contains("guest_trap"), "{table}");
    let whole = prints(&node, &["agents", "parked", "fragile/a"]);
    assert!(whole.contains("version 1 cannot take 1") && whole.lines().count() >= table.lines().count(), "{whole}");
    assert_eq!(prints(&node, &["agents", "parked", "fragile/b"]), "");
    let listed: Value = serde_json::from_str(&prints(&node, &["agents", "parked", "--json"])).unwrap();
    assert_eq!(listed, json!([message]));

    // It is there after a crash, and with nothing repaired it is parked again.
    node.kill();
    let node = Node::start(&data);
    assert_eq!(parked(&node, 1).await, [message]);
    deploy_version(&node, 2).await;
    assert!(prints(&node, &["agents", "resume", "fragile/a"]).starts_with("1 message is tried again"));
    while taken(&node, "fragile/a").await != json!([2, 4, 1]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(parked(&node, 0).await, Vec::<Value>::new());
    let nothing = stride(&node.url, &["agents", "resume", "fragile/a"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("no message of `fragile/a` is parked"), "{}", stderr(&nothing));
}

#[tokio::test]
async fn an_agent_that_has_only_parked_messages_is_removed_with_them() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy_version(&node, 1).await;
    tell(&node, "fragile/a", 1).await;
    parked(&node, 1).await;
    let status = node.get("/v1/agents/fragile/a").await.json();
    assert_eq!((&status["turns"], &status["created_at"]), (&json!(0), &json!(null)));
    prints(&node, &["agents", "rm", "fragile/a"]);
    assert_eq!(parked(&node, 0).await, Vec::<Value>::new());
    node.get("/v1/agents/fragile/a").await.fails_with("not_found", "fragile/a");
    let remove = node.request(Method::DELETE, "/v1/agents/fragile/a");
    Reply::of(remove).await.fails_with("not_found", "fragile/a");
}

#[tokio::test]
async fn parked_messages_are_listed_per_tenant_and_agent_and_wrong_queries_are_refused() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy_version(&node, 1).await;
    tell(&node, "fragile/a", 1).await;
    tell(&node, "fragile/b", 3).await;
    parked(&node, 2).await;
    let only = node.get("/v1/parked?agent=fragile/b").await.json();
    assert_eq!((only["parked"].as_array().unwrap().len(), &only["more"]), (1, &json!(false)));
    assert_eq!(node.get("/v1/parked?limit=1").await.json()["more"], json!(true));
    let other = node.request(Method::GET, "/v1/parked").header("stride-tenant", "other");
    assert_eq!(Reply::of(other).await.json()["parked"], json!([]));
    node.get("/v1/parked?agent=fragile").await.fails_with("invalid_request", "TYPE/KEY");
    node.get("/v1/parked?limit=0").await.fails_with("invalid_request", "use 1 to 1000");
    let resume = node.post("/v1/parked/fragile/c/resume", "");
    Reply::of(resume).await.fails_with("not_found", "no message of `fragile/c` is parked");
}
