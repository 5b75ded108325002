//! Where calls and the items of maps run among several nodes: where their bytes are, elsewhere when that is sooner, never where
//! labels do not allow it; and that the plan which explains it is the one that is followed.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stride_sim::Clock;

use crate::{
    cli::prints,
    cluster::{Cluster, until_shared},
    maps,
    stores::metric,
    support::{Node, Reply},
};

pub(crate) const EU: &str = "[labels]\nregion = \"eu\"\n";
/// May read what is in `patients`.
const READS_PATIENTS: &str = "name = \"faulty\"\n[capabilities]\nobjects = [\"patients/*:read\"]";
const BIG: usize = 8 << 20;

/// Three nodes, of which the last is in the EU.
async fn three(cluster: &Cluster) -> [Node; 3] {
    let nodes = [cluster.start("a"), cluster.start("b"), cluster.start_configured("c", EU)];
    until_shared(&nodes[0], 3).await;
    nodes
}

pub(crate) async fn name(node: &Node) -> String {
    node.get("/healthz").await.headers["stride-node"].to_str().unwrap().to_owned()
}

pub(crate) async fn put(node: &Node, name: &str, bytes: Vec<u8>) {
    let put = node.request(Method::PUT, &format!("/v1/objects/{name}")).body(bytes);
    Reply::of(put).await.json_of(StatusCode::CREATED);
}

pub(crate) async fn label(node: &Node, bucket: &str, labels: Value) {
    let asked = json!({ "labels": labels }).to_string();
    Reply::of(node.request(Method::PUT, &format!("/v1/objects/{bucket}")).body(asked)).await.json();
}

pub(crate) async fn explained(node: &Node, query: &str) -> Value {
    node.get(&format!("/v1/explain?{query}")).await.json()
}

/// Waits until a node knows that another has all bytes of an object.
pub(crate) async fn until_known(asked: &Node, holder: &str, object: &str) {
    let has_all = |plan: &Value| {
        let mut candidates = plan["candidates"].as_array().unwrap().iter();
        candidates.rfind(|one| one["node"] == holder).is_some_and(|one| one["here_bytes"] == plan["referenced_bytes"])
    };
    while !has_all(&explained(asked, &format!("of=faulty/echo&data={object}")).await["plan"]) {
        Clock::real().sleep(Duration::from_millis(20)).await;
    }
}

/// Calls many times, some at the same time, and counts where that ran.
async fn ran(node: &Node, path: &str, body: &str, times: usize, at_once: usize) -> BTreeMap<String, usize> {
    let call = |_| async {
        let reply = Reply::of(node.post(&format!("/v1/functions/{path}"), body.to_owned())).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.headers["stride-node"].to_str().unwrap().to_owned()
    };
    let replies: Vec<String> = stream::iter(0..times).map(call).buffer_unordered(at_once).collect().await;
    replies.into_iter().fold(BTreeMap::new(), |mut ran, node| {
        *ran.entry(node).or_default() += 1;
        ran
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_runs_where_its_bytes_are_and_elsewhere_when_that_node_is_busy() {
    let cluster = Cluster::new();
    let [a, b, c] = three(&cluster).await;
    a.deploy_with("faulty", "name = \"faulty\"").await.json_of(StatusCode::CREATED);
    put(&a, "data/big", vec![7; BIG]).await;
    assert_eq!(b.get("/v1/objects/data/big").await.body.len(), BIG);
    let (here, holder) = (name(&a).await, name(&b).await);
    for asked in [&a, &c] {
        until_known(asked, &holder, "data/big").await;
    }
    // What the plan says is what is done, by whichever node is asked.
    let plan = explained(&a, "of=faulty/echo&data=data/big").await["plan"].clone();
    let candidates = plan["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 3, "{plan}");
    assert_eq!(candidates[0]["node"], json!(holder), "{plan}");
    for asked in [&a, &b, &c] {
        let ran = ran(asked, "faulty/echo?data=data/big", "1", 40, 1).await;
        // A small share explores.
        assert!(ran[&holder] >= 36, "{ran:?}");
    }
    assert_eq!(ran(&a, "faulty/echo", "1", 10, 1).await, [(here.clone(), 10)].into(), "what names no data stays");
    let missing = ran(&a, "faulty/echo?data=data/none&data=none/none", "1", 20, 1).await;
    assert!(missing[&here] >= 18, "what is not there is no reason to be elsewhere: {missing:?}");
    let text = prints(&a, &["explain", "faulty/echo", "data/big"]);
    assert!(text.contains(&format!("runs on {holder}")) && text.contains("8.0 MiB of 8.0 MiB"), "{text}");
    let printed = prints(&a, &["call", "faulty/echo", "5", "--near", "data/big"]);
    assert_eq!(printed.trim(), "5");
    let wrong = Reply::of(a.post("/v1/functions/faulty/echo?date=data/big", "1")).await;
    wrong.fails_with("invalid_request", "no parameter `date`");
    let wrong = Reply::of(a.post("/v1/functions/faulty/echo?data=data", "1")).await;
    wrong.fails_with("invalid_request", "data=BUCKET/KEY");

    // How long it runs has to be known before it counts. Then waiting there takes longer than fetching 8 MiB elsewhere.
    ran(&a, "faulty/sleeps?data=data/big", "300", 1, 1).await;
    let spilled = ran(&a, "faulty/sleeps?data=data/big", "300", 48, 48).await;
    assert_eq!(spilled.len(), 3, "{spilled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_kept_to_by_calls_and_maps_on_any_node_and_changes_count_at_once() {
    let cluster = Cluster::new();
    let [a, b, c] = three(&cluster).await;
    let eu = name(&c).await;
    for number in 0..20 {
        put(&a, &format!("patients/{number:02}"), b"0123456789".to_vec()).await;
    }
    label(&a, "patients", json!({ "region": "eu" })).await;
    b.deploy_with("faulty", READS_PATIENTS).await.json_of(StatusCode::CREATED);
    let (path, body) = ("faulty/reads?data=patients/07", r#"["patients", "07", 2, 3]"#);
    let reads = |node| ran(node, path, body, 20, 4);
    // Who has just started has not heard of the others yet.
    while explained(&a, "of=faulty/reads").await["plan"]["node"] != json!(eu) {}
    while explained(&b, "of=faulty/reads").await["plan"]["node"] != json!(eu) {}
    for node in [&a, &b, &c] {
        assert_eq!(reads(node).await, [(eu.clone(), 20)].into());
    }
    // The function may read nothing by itself; the items of a map are data all the same.
    b.deploy("echo").await;
    let id = maps::begin(&a, &json!({ "function": "echo/echo", "over": "patients/" })).await;
    let lines = maps::results(&a, &id).await;
    assert!(lines.len() == 20 && lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    assert_eq!((calls(&a).await, calls(&b).await), (0, 0));
    // A straggler may have been called twice.
    assert!(calls(&c).await >= 60 + 20);

    label(&b, "patients", json!({ "region": "us" })).await;
    for node in [&a, &b, &c] {
        let refused = node.call("faulty/reads", body).await;
        refused.fails_with("capability_denied", "region=us");
        refused.fails_with("capability_denied", "none of 3 nodes");
    }
    let refused = Reply::of(a.post("/v1/maps", json!({ "function": "echo/echo", "over": "patients/" }).to_string()));
    refused.await.fails_with("capability_denied", "none of 3 nodes");
    label(&c, "patients", json!({})).await;
    assert_eq!(a.call("faulty/reads", body).await.json(), json!("234"));
    label(&a, "patients", json!({ "region": "eu" })).await;
    c.kill();
    // Until it is known to be gone it is merely not there.
    loop {
        let (code, detail) = a.call("faulty/reads", body).await.problem();
        match code.as_str() {
            "capability_denied" => break,
            other => assert!(["unavailable", "overloaded"].contains(&other), "{other}: {detail}"),
        }
    }
}

/// How many calls a node has answered that ran there.
pub(crate) async fn calls(node: &Node) -> u64 {
    let metrics = node.get("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("stride_calls_total{outcome=\"succeeded\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_uses_all_nodes_each_near_its_bytes_and_goes_on_when_one_of_them_dies() {
    let cluster = Cluster::new();
    let [a, b, c] = three(&cluster).await;
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 8\n";
    b.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    // Four MiB each: a millisecond of work, and much longer to fetch.
    for number in 0..12 {
        let mut body = vec![b' '; 4 << 20];
        body[0] = b'1';
        let name = format!("near/in/{number:02}");
        put(&a, &name, body).await;
        b.get(&format!("/v1/objects/{name}")).await;
    }
    for number in 0..12 {
        until_known(&a, &name(&b).await, &format!("near/in/{number:02}")).await;
    }
    let id = maps::begin(&a, &json!({ "function": "faulty/sleeps", "over": "near/in/" })).await;
    assert!(maps::results(&a, &id).await.iter().all(|line| line["ok"] == true));
    assert!(calls(&b).await >= 10, "{} of 12 ran where the bytes are", calls(&b).await);

    let before = [calls(&a).await, calls(&b).await, calls(&c).await];
    maps::put_many(&b, 600, |_| "20".into()).await;
    let id = maps::begin(&a, &json!({ "function": "faulty/sleeps", "over": "data/in/" })).await;
    while maps::status(&a, &id).await["done"].as_u64().unwrap() < 200 {}
    for (node, before) in [&a, &b, &c].into_iter().zip(before) {
        assert!(calls(node).await > before + 20, "all nodes work");
    }
    c.kill();
    let lines = maps::results(&a, &id).await;
    assert_eq!(lines.len(), 600);
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let ended = maps::status(&a, &id).await;
    assert_eq!((&ended["done"], &ended["failed"], &ended["state"]), (&json!(600), &json!(0), &json!("done")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_and_an_agent_are_explained_by_whichever_node_is_asked() {
    let cluster = Cluster::new();
    let [a, b, c] = three(&cluster).await;
    b.deploy("counter").await;
    assert_eq!(a.ask("counter/alice", "add", "1").await.json(), json!(1));
    let cell = a.get("/v1/agents/counter/alice").await.json()["cell"].as_u64().unwrap();
    for asked in [&a, &b, &c] {
        let place = explained(asked, &format!("cell={cell}")).await;
        let owner = asked.get("/v1/agents/counter/alice").await.headers["stride-node"].to_str().unwrap().to_owned();
        assert_eq!((&place["owner"], &place["wanted"]), (&json!(owner), &json!(owner)), "{place}");
        let nodes = place["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3, "{place}");
        let fills = nodes.iter().map(|node| node["fill"].as_f64().unwrap());
        assert!(fills.into_iter().all(|fill| (0.9..1.1).contains(&fill)), "{place}");
        let agent = explained(asked, "of=counter/alice").await;
        assert_eq!((&agent["live"], &agent["place"]["owner"]), (&json!(true), &json!(owner)), "{agent}");
        assert_eq!(agent["plan"]["node"], json!(owner), "{agent}");
    }
    let owner = explained(&a, &format!("cell={cell}")).await["owner"].clone();
    let (first, second) = (name(&a).await, name(&b).await);
    let pinned = if json!(first) == owner { second } else { first };
    let pin = a.request(Method::POST, "/v1/cells/move").json(&json!({ "cells": [cell], "to": pinned }));
    assert_eq!(pin.send().await.unwrap().status(), StatusCode::ACCEPTED);
    while explained(&c, &format!("cell={cell}")).await["owner"] != json!(pinned) {}
    let text = prints(&c, &["explain", "cell", &cell.to_string()]);
    assert!(text.contains(&format!("owned by {pinned}")) && text.contains("somebody asked for it"), "{text}");
    assert!(text.contains(&format!("pinned to {pinned}")) && text.contains("of its share"), "{text}");
    let text = prints(&a, &["explain", "agent", "counter/alice"]);
    assert!(text.contains("it runs where its cell is") && text.contains(&format!("owned by {pinned}")), "{text}");
    // The size of its state is known once it has been saved, and told now and then.
    while explained(&a, &format!("cell={cell}")).await["bytes"] == json!(0) {
        Clock::real().sleep(Duration::from_millis(100)).await;
    }
    a.get("/v1/explain?cell=1024").await.fails_with("invalid_request", "0 to 1023");
    a.get("/v1/explain?cell=x").await.fails_with("invalid_request", "cell=x");
}

/// Lines of which few are wanted.
fn log() -> Vec<u8> {
    let line =
        |at: usize| format!("{} line {at} {}\n", if at.is_multiple_of(1_000) { "GET" } else { "PUT" }, "x".repeat(90));
    (0..80_000).flat_map(|at| line(at).into_bytes()).collect()
}

fn wanted_lines(bucket: &str) -> String {
    let nodes = json!({
        "lines": {"do": {"source": {"lines": {"bucket": bucket, "prefix": ""}}}},
        "get": {"do": {"filter": {"body": {"expr": {"$matches": ["$", "GET*"]}}}}, "in": "lines"},
        "count": {"do": {"pass": {"value": {"$length": "$"}}}, "in": "get"},
    });
    json!({"version": 1, "name": bucket, "graph": {"nodes": nodes, "output": "count"}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_reads_lines_on_the_node_that_has_them_and_never_where_labels_do_not_allow_it() {
    let cluster = Cluster::new();
    let [a, b, c] = three(&cluster).await;
    a.deploy_with("faulty", "name = \"faulty\"").await.json_of(StatusCode::CREATED);
    let (log, holder) = (log(), name(&b).await);
    put(&a, "logs/big", log.clone()).await;
    assert_eq!(b.get("/v1/objects/logs/big").await.body.len(), log.len());
    for node in [&a, &c] {
        until_known(node, &holder, "logs/big").await;
    }
    Reply::of(a.post("/v1/flows", wanted_lines("logs"))).await.json_of(StatusCode::CREATED);
    for number in 0..6 {
        let run = format!("/v1/flows/logs/runs?run=r{number}&wait_ms=60000");
        assert_eq!(Reply::of(a.post(&run, "null")).await.json_of(StatusCode::OK)["result"], 80);
    }
    // The runs themselves are on all nodes, and each has a call for every part of the object.
    let taken = metric(&b, "stride_run_calls_taken_total").await;
    let sent = [&a, &c].map(async |node| metric(node, "stride_run_calls_sent_total").await);
    assert!(taken > 0.0 && futures::future::join_all(sent).await.into_iter().sum::<f64>() >= taken);

    put(&a, "patients/notes", log).await;
    label(&a, "patients", json!({ "region": "eu" })).await;
    Reply::of(a.post("/v1/flows", wanted_lines("patients"))).await.json_of(StatusCode::CREATED);
    let before = [read_from_storage(&a).await, read_from_storage(&b).await];
    for number in 0..6 {
        let run = format!("/v1/flows/patients/runs?run=r{number}&wait_ms=60000");
        assert_eq!(Reply::of(b.post(&run, "null")).await.json_of(StatusCode::OK)["result"], 80);
    }
    assert_eq!([read_from_storage(&a).await, read_from_storage(&b).await], before);
    label(&a, "patients", json!({ "region": "us" })).await;
    let refused =
        Reply::of(b.post("/v1/flows/patients/runs?run=us&wait_ms=60000", "null")).await.json_of(StatusCode::OK);
    assert_eq!((&refused["state"], &refused["error"]["code"]), (&json!("failed"), &json!("capability_denied")));
}

async fn read_from_storage(node: &Node) -> f64 {
    metric(node, "stride_object_read_bytes_total{from=\"storage\"}").await
}
