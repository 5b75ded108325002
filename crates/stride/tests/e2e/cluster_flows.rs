//! Flows in a cluster: any node takes any request about a run, and runs go on when the node dies that worked on them.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, until_shared},
    cluster_placement::{calls, explained, name},
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
    let removed = Reply::of(c.request(Method::DELETE, "/v1/flows/rounds/runs/r0")).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    while a.get("/v1/flows/rounds/runs/r0").await.status != StatusCode::NOT_FOUND {}
}

#[tokio::test]
async fn a_step_is_planned_onto_the_node_that_holds_the_object_that_it_is_close_to() {
    let cluster = Cluster::new();
    let nodes = ["a", "b", "c"].map(|name| cluster.start(name));
    let [a, b, c] = &nodes;
    until_shared(a, 3).await;
    a.deploy("counter").await;
    let put = a.request(Method::PUT, "/v1/objects/data/big").body(vec![7; 4 << 20]);
    Reply::of(put).await.json_of(StatusCode::CREATED);
    assert_eq!(b.get("/v1/objects/data/big").await.status, StatusCode::OK);
    let shout = json!({"do": {"call": {"function": "counter/shout"}}, "in": "input", "affinity": "object:data/big"});
    let flow =
        json!({"version": 1, "name": "close", "graph": {"nodes": {"shout": shout}, "output": "shout"}}).to_string();
    // The others say five times a second what they hold.
    let holder = name(b).await;
    loop {
        let plan = Reply::of(c.post("/v1/flows?explain=text", flow.clone())).await.body;
        if plan.contains(&format!("at node {holder}")) {
            break;
        }
        assert!(plan.contains("at node"), "{plan}");
    }
    let without = Reply::of(c.post("/v1/flows?explain=text&without=place", flow.clone())).await.body;
    assert!(!without.contains("at node"), "{without}");
    Reply::of(c.post("/v1/flows", flow)).await.json_of(StatusCode::CREATED);
    let ended = Reply::of(c.post("/v1/flows/close/runs?wait_ms=60000", r#""hi""#)).await;
    assert_eq!(ended.json()["result"], "HI");
}

#[tokio::test]
async fn a_step_runs_on_the_hardware_where_it_is_cheapest_and_elsewhere_when_that_is_gone() {
    let cluster = Cluster::new();
    let a = cluster.start_configured("a", "price_per_hour = 10.0\n");
    let b = cluster.start_configured("b", "price_per_hour = 1.0\nhardware = [\"spot\"]\n");
    until_shared(&a, 2).await;
    a.deploy("counter").await;
    let shout = json!({"do": {"call": {"function": "counter/shout"}}, "in": "input"});
    let flow =
        json!({"version": 1, "name": "loud", "graph": {"nodes": {"shout": shout}, "output": "shout"}}).to_string();
    let plan = async |node: &Node, without: &str| {
        Reply::of(node.post(&format!("/v1/flows?explain=text&without={without}"), flow.clone())).await.body
    };
    assert!(!plan(&a, "").await.contains("best on"), "nobody knows yet how long it takes");
    for node in [&a, &b] {
        assert_eq!(node.call("counter/shout", r#""hi""#).await.json(), "HI");
    }
    // A node says once a second how long functions take.
    for node in [&a, &b] {
        while !plan(node, "").await.contains("best on spot") {}
        assert!(!plan(node, "choose_hardware").await.contains("best on"));
    }
    Reply::of(a.post("/v1/flows", flow.clone())).await.json_of(StatusCode::CREATED);
    let before = calls(&b).await;
    for number in 0..5 {
        let run = Reply::of(a.post(&format!("/v1/flows/loud/runs?run=r{number}&wait_ms=60000"), r#""hi""#)).await;
        assert_eq!(run.json_of(StatusCode::OK)["result"], "HI");
    }
    // A small share explores.
    assert!(calls(&b).await >= before + 4);
    b.kill();
    let ended = loop {
        let run = Reply::of(a.post("/v1/flows/loud/runs?run=alone&wait_ms=60000", r#""hi""#)).await;
        // For a moment nobody has the cells of the node that died.
        if run.status == StatusCode::OK && run.json()["state"] != "running" {
            break run.json();
        }
    };
    assert_eq!(ended["result"], "HI", "{ended}");
}

#[tokio::test]
async fn a_step_runs_on_the_node_of_the_agent_that_it_is_close_to_and_elsewhere_when_that_is_gone() {
    const RUNS: u64 = 24;
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    until_shared(&a, 2).await;
    a.deploy("counter").await;
    let home = a.ask("counter/alice", "get", "null").await.headers["stride-node"].to_str().unwrap().to_owned();
    let (near, far) = if name(&a).await == home { (a, b) } else { (b, a) };
    for node in [&near, &far] {
        while explained(node, "of=counter/shout").await["plan"]["candidates"].as_array().unwrap().len() < 2 {}
    }
    let shout =
        json!({"do": {"call": {"function": "counter/shout"}}, "in": "input", "affinity": "agent:counter/alice"});
    let flow =
        json!({"version": 1, "name": "beside", "graph": {"nodes": {"shout": shout}, "output": "shout"}}).to_string();
    Reply::of(far.post("/v1/flows", flow)).await.json_of(StatusCode::CREATED);
    // Runs are agents themselves, about as many on each node.
    for number in 0..RUNS {
        let run = Reply::of(far.post(&format!("/v1/flows/beside/runs?run=r{number}&wait_ms=60000"), r#""hi""#)).await;
        assert_eq!(run.json_of(StatusCode::OK)["result"], "HI");
    }
    let ran = (calls(&near).await, calls(&far).await);
    assert!(ran.0 >= RUNS * 5 / 6, "{ran:?}: all but a small share that explores");
    near.kill();
    let ended = loop {
        let run = Reply::of(far.post("/v1/flows/beside/runs?run=alone&wait_ms=60000", r#""hi""#)).await;
        // For a moment nobody has the cells of the node that died.
        if run.status == StatusCode::OK && run.json()["state"] != "running" {
            break run.json();
        }
    };
    assert_eq!(ended["result"], "HI", "{ended}");
}
