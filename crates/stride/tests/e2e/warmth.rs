//! What a cell used goes with it: the node that takes it has the bytes before its agents ask for them, unless labels keep them away.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use stride_sim::Clock;

use crate::{
    cluster::{Cluster, until_shared},
    support::{Node, Reply},
};

const BIG: usize = 4 << 20;
const READS: &str = "name = \"faulty\"\n[capabilities]\nobjects = [\"data/*:read\", \"patients/*:read\"]";

/// How many bytes of an object a node has in memory.
async fn cached(node: &Node, object: &str) -> u64 {
    let explained = node.get(&format!("/v1/explain?of=counter/shout&data={object}")).await.json();
    explained["data"][0]["cached_bytes"].as_u64().unwrap()
}

async fn name(node: &Node) -> String {
    node.get("/healthz").await.headers["stride-node"].to_str().unwrap().to_owned()
}

async fn move_to(node: &Node, cell: u64, to: &str) {
    let asked = node.request(Method::POST, "/v1/cells/move").json(&json!({ "cells": [cell], "to": to }));
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::ACCEPTED);
    while node.get(&format!("/v1/explain?cell={cell}")).await.json()["owner"] != json!(to) {
        Clock::real().sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_cell_has_what_its_agents_read_but_not_what_labels_keep_away() {
    let cluster = Cluster::new();
    let nodes = ["a", "b"].map(|name| cluster.start(name));
    let [a, b] = &nodes;
    until_shared(a, 2).await;
    a.deploy_with("faulty", READS).await.json_of(StatusCode::CREATED);
    a.deploy("counter").await;
    for (object, byte) in [("data/big", b'x'), ("patients/1", b'y')] {
        let put = a.request(Method::PUT, &format!("/v1/objects/{object}")).body(vec![byte; BIG]);
        Reply::of(put).await.json_of(StatusCode::CREATED);
    }
    let [name_a, name_b] = [name(a).await, name(b).await];
    let cell = a.get("/v1/explain?of=librarian/l").await.json()["cell"].as_u64().unwrap();
    move_to(a, cell, &name_a).await;
    // The hottest first.
    for (bucket, key, says) in [("patients", "1", "yyy"), ("patients", "1", "yyy"), ("data", "big", "xxx")] {
        let read = b.ask("librarian/l", "begin", &json!([bucket, key, 3]).to_string()).await;
        assert_eq!(read.json(), json!(says));
    }
    assert_eq!((cached(a, "data/big").await, cached(b, "data/big").await), (BIG as u64, 0));
    let label = json!({ "labels": { "region": "eu" } }).to_string();
    Reply::of(a.request(Method::PUT, "/v1/objects/patients").body(label)).await.json();
    move_to(a, cell, &name_b).await;
    while cached(b, "data/big").await < BIG as u64 {
        Clock::real().sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cached(b, "patients/1").await, 0, "it is not for nodes without the label");
}
