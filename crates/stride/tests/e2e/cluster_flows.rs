//! Flows in a cluster: any node takes any request about a run, and runs go on when the node dies that worked on them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, until_shared},
    support::{Node, Reply},
};

const RUNS: usize = 24;
const ROUNDS: u64 = 60;

/// Rounds that each ask an agent of the run's own and tell another one.
fn rounds() -> String {
    let body = json!({"graph": {"nodes": {
        "ask": {"do": {"ask": {"agent": "counter", "key": "$$.run.id", "method": "add", "input": 1}}, "in": "input"},
        "tell": {"do": {"tell": {"agent": "counter", "key": "told", "method": "add", "input": 1}}, "after": ["ask"]},
        "next": {"do": {"pass": {"value": "$"}}, "in": "ask", "after": ["tell"]}}, "output": "next"}});
    let until = json!({"$ge": ["$", ROUNDS]});
    let rounds =
        json!({"do": {"iterate": {"state": 0, "body": body, "until": until, "rounds_max": 1000}}, "in": "input"});
    json!({"version": 1, "name": "rounds", "graph": {"nodes": {"rounds": rounds}, "output": "rounds"}}).to_string()
}

async fn run(node: &Node, name: &str) -> Value {
    node.get(&format!("/v1/flows/rounds/runs/{name}")).await.json()
}

#[tokio::test]
async fn runs_go_on_when_the_node_dies_that_worked_on_them_and_every_effect_is_there_once() {
    let cluster = Cluster::new();
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    until_shared(&a, 3).await;
    a.deploy("counter").await;
    Reply::of(b.post("/v1/flows", rounds())).await.json_of(StatusCode::CREATED);
    assert_eq!(c.get("/v1/flows").await.json()["flows"][0]["name"], "rounds");
    for number in 0..RUNS {
        let node = [&a, &b, &c][number % 3];
        let begun = Reply::of(node.post(&format!("/v1/flows/rounds/runs?run=r{number}"), "null")).await;
        begun.json_of(StatusCode::ACCEPTED);
    }
    // Any node knows of any run, while it runs.
    assert_eq!(run(&a, "r0").await["flow"], "rounds");
    while b.ask("counter/told", "get", "null").await.body.parse::<u64>().unwrap() < ROUNDS {}
    b.kill();
    for number in 0..RUNS {
        let name = format!("r{number}");
        let ended = loop {
            let status = c.get(&format!("/v1/flows/rounds/runs/{name}?wait_ms=5000")).await;
            // For a moment nobody has the cells of the node that died.
            if status.status == StatusCode::OK && status.json()["state"] != "running" {
                break status.json();
            }
        };
        assert_eq!((&ended["state"], &ended["result"]), (&json!("done"), &json!(ROUNDS)), "{ended}");
        let counted = a.ask(&format!("counter/rounds%2F{name}"), "get", "null").await;
        assert_eq!(counted.body, ROUNDS.to_string());
    }
    let told = (RUNS as u64 * ROUNDS).to_string();
    while a.ask("counter/told", "get", "null").await.body != told {}
    assert_eq!(a.get("/v1/flows/rounds/runs").await.json()["runs"].as_array().unwrap().len(), RUNS);
    let removed = Reply::of(c.request(reqwest::Method::DELETE, "/v1/flows/rounds/runs/r0")).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    while a.get("/v1/flows/rounds/runs/r0").await.status != StatusCode::NOT_FOUND {}
}
