//! Agents that are close to something: they share its cell on whichever node, move with it, and are found again after kills, restarts
//! and on the way into a cluster and back; and no deployment puts them elsewhere later.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stride_sim::Clock;

use crate::{
    cli::stderr,
    cluster::{Cluster, until_shared},
    support::{Node, Reply, data},
};

/// Accounts of a branch are together.
const BRANCHES: &str = "name = \"bank\"\n[capabilities]\nagents = [\"account/*\"]\n[agents.account]\naffinity = \"agent:branch/{key.1}\"\n";
const COUNT: u64 = 8;

fn account(branch: u64, who: &str) -> String {
    format!("account/b{branch}%2F{who}")
}

async fn open_branches(nodes: &[&Node]) {
    for branch in 0..COUNT {
        let node = |nth: u64| nodes[(branch + nth) as usize % nodes.len()];
        node(0).ask(&account(branch, "x"), "deposit", "100").await.json();
        let payment = json!({ "id": "p", "to": format!("b{branch}/y"), "cents": 30 });
        node(1).ask(&account(branch, "x"), "pay", &payment.to_string()).await.json();
        let other = json!({ "id": "q", "to": format!("b{}/y", (branch + 1) % COUNT), "cents": 5 });
        node(2).ask(&account(branch, "x"), "pay", &other.to_string()).await.json();
    }
    all_has_arrived(nodes).await;
}

/// Waits until every account has what it is to have, by whichever node is asked.
async fn all_has_arrived(nodes: &[&Node]) {
    for node in nodes {
        for branch in 0..COUNT {
            for (who, cents) in [("x", 65), ("y", 35)] {
                loop {
                    let reply = node.ask(&account(branch, who), "balance", "").await;
                    if reply.status == StatusCode::OK && reply.json() == json!(cents) {
                        break;
                    }
                    assert!(
                        [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE]
                            .contains(&reply.status),
                        "{}",
                        reply.body
                    );
                    Clock::real().sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

async fn explained(node: &Node, of: &str) -> Value {
    node.get(&format!("/v1/explain?of={of}")).await.json()
}

/// The cell that both accounts of a branch have.
async fn cell_of(node: &Node, branch: u64) -> u64 {
    let [x, y] = [
        explained(node, &format!("account/b{branch}%2Fx")).await,
        explained(node, &format!("account/b{branch}%2Fy")).await,
    ];
    assert_eq!(x["cell"], y["cell"]);
    assert_eq!(x["near"], json!(format!("agent branch/b{branch}")));
    x["cell"].as_u64().unwrap()
}

async fn runs_on(node: &Node, agent: &str) -> String {
    node.ask(agent, "balance", "").await.headers["stride-node"].to_str().unwrap().to_owned()
}

async fn other_rules_are_refused(node: &Node) {
    for rule in ["", "affinity = \"agent:branch/{key}\"\n", "affinity = \"object:data/{key.1}\"\n"] {
        let manifest = BRANCHES.split("affinity").next().unwrap().to_owned() + rule;
        node.deploy_with("bank", &manifest).await.fails_with("conflict", "under another name");
    }
    let twice = "name = \"counter\"\n[agents.counter]\naffinity = \"agent:account/{key}\"\n";
    node.deploy_with("counter", twice).await.fails_with("invalid_request", "themselves placed");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_branch_share_a_cell_move_together_and_survive_their_node() {
    let cluster = Cluster::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| cluster.start(name));
    until_shared(&a, 3).await;
    a.deploy_with("bank", BRANCHES).await.json_of(StatusCode::CREATED);
    open_branches(&[&a, &b, &c]).await;
    let (cell, target) = (cell_of(&a, 3).await, runs_on(&a, "account/b0%2Fx").await);
    let asked = a.request(Method::POST, "/v1/cells/move").json(&json!({ "cells": [cell], "to": target }));
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::ACCEPTED);
    while runs_on(&b, &account(3, "x")).await != target {
        Clock::real().sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(runs_on(&c, &account(3, "y")).await, target);
    other_rules_are_refused(&b).await;
    c.kill();
    // Who joins later has never heard of a branch.
    let d = cluster.start("d");
    all_has_arrived(&[&a, &b, &d]).await;
    open_accounts_are_listed(&d).await;
    assert_eq!(cell_of(&d, 3).await, cell);
}

async fn open_accounts_are_listed(node: &Node) {
    let listed = node.get("/v1/agents/account?limit=100").await.json();
    assert_eq!(listed["agents"].as_array().unwrap().len() as u64, 2 * COUNT, "{listed}");
}

fn transfer(what: &str, dir: &Path, cluster: &Cluster) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stride"));
    command.args(["cluster", what]).arg(dir).args(["--objects", &cluster.objects()]);
    let output = command.env("STRIDE_CLUSTER", cluster.server.url("postgres")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_close_are_found_after_a_kill_in_a_cluster_and_back_from_there() {
    let (_guard, alone) = data();
    let node = Node::start(&alone);
    node.deploy_with("bank", BRANCHES).await.json_of(StatusCode::CREATED);
    open_branches(&[&node]).await;
    let cell = cell_of(&node, 2).await;
    node.kill();
    let node = Node::start(&alone);
    all_has_arrived(&[&node]).await;
    assert_eq!(cell_of(&node, 2).await, cell);
    other_rules_are_refused(&node).await;
    node.terminate();

    let cluster = Cluster::new();
    transfer("adopt", &alone, &cluster);
    let nodes = ["a", "b"].map(|name| cluster.start(name));
    all_has_arrived(&[&nodes[0], &nodes[1]]).await;
    cell_of(&nodes[0], 2).await;
    for node in nodes {
        node.terminate();
    }
    let back = cluster.data("back");
    transfer("export", &back, &cluster);
    let node = Node::start(&back);
    all_has_arrived(&[&node]).await;
    open_accounts_are_listed(&node).await;
    assert_eq!(cell_of(&node, 2).await, cell);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_close_to_an_object_is_where_the_object_is_brought_first() {
    let cluster = Cluster::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| cluster.start(name));
    until_shared(&a, 3).await;
    let close = "name = \"counter\"\n[agents.counter]\naffinity = \"object:data/{key}\"\n";
    a.deploy_with("counter", close).await.json_of(StatusCode::CREATED);
    a.deploy_with("faulty", "name = \"faulty\"").await.json_of(StatusCode::CREATED);
    let (mut homes, mut at_home) = (BTreeSet::new(), 0);
    for number in 0..6 {
        let key = format!("big{number}");
        let put = a.request(Method::PUT, &format!("/v1/objects/data/{key}")).body(vec![number; 4 << 20]);
        Reply::of(put).await.json_of(StatusCode::CREATED);
        // A node that has just started has not heard of the others yet, cells may still be on their way, and a home that was sent work a
        // moment ago counts as busy until it says that it is not.
        let agent = loop {
            let agent = b.ask(&format!("counter/{key}"), "add", "1").await.headers["stride-node"].clone();
            let explained = explained(&c, &format!("faulty/echo&data=data/{key}")).await;
            let candidates = explained["plan"]["candidates"].as_array().unwrap();
            let home = json!(agent.to_str().unwrap());
            if candidates.len() == 3 && explained["home"] == home && candidates[0]["node"] == home {
                break agent;
            }
        };
        let reply = Reply::of(c.post(&format!("/v1/functions/faulty/echo?data=data/{key}"), "1")).await;
        assert_eq!(reply.status, StatusCode::OK);
        at_home += usize::from(reply.headers["stride-node"] == agent);
        homes.insert(agent.to_str().unwrap().to_owned());
    }
    // A small share explores.
    assert!(at_home >= 4, "{at_home} of 6");
    assert!(homes.len() > 1, "objects have their own homes: {homes:?}");
}
