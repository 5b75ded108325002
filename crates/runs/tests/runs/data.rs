//! Objects: read, written, and what stands for values that are large.

use std::sync::atomic::Ordering;

use serde_json::json;
use stride_runs::{RunStats, Settings};

use crate::world::{settings, world, world_with};

fn log(lines: usize) -> String {
    (0..lines)
        .map(|at| format!("{} line {at} {}\n", if at % 3 == 0 { "GET" } else { "PUT" }, "x".repeat(at % 50)))
        .collect()
}

#[tokio::test]
async fn the_lines_of_objects_are_the_same_whether_they_come_to_the_code_or_it_to_them() {
    let world = world().await;
    // Over several parts, with ends of lines everywhere, and the last one without.
    let (long, short) = (log(60_000), "one\r\n\nGET two".to_owned());
    let expected = [&long, &short].iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("GET")).count();
    world.put("logs/a", long).await;
    world.put("logs/b", short).await;
    world.put("logs/c", "").await;
    let nodes = json!({
        "lines": {"do": {"source": {"lines": {"bucket": "logs", "prefix": ""}}}},
        "get": {"do": {"filter": {"body": {"expr": {"$matches": ["$", "GET*"]}}}}, "in": "lines"},
        "ones": {"do": {"map": {"body": {"expr": 1}}}, "in": "get"},
        "count": {"do": {"reduce": {"associative": true, "body": {"function": "t/pure-sum"}}}, "in": "ones"},
    });
    let flow = json!({"version": 1, "name": "f", "graph": {"nodes": nodes, "output": "count"}});
    let without = ["fuse", "push_code_to_data", "combine_before_shuffle", "batch"].map(str::to_owned).to_vec();
    for (run, without) in [("pushed", Vec::new()), ("plain", without)] {
        let deployed = world.runs.deploy(&crate::world::tenant(), flow.to_string().as_bytes(), without).await.unwrap();
        world.begin(run, json!(null)).await;
        let status = world.end(run).await;
        assert_eq!(status.result, Some(json!(expected)), "version {}: {status:?}", deployed.version);
    }
}

#[tokio::test]
async fn calls_that_read_lines_are_done_where_those_are_and_here_if_that_node_may_not_or_has_enough_to_do() {
    let node = world().await;
    let busy = world_with(Settings { commands_max: 0, ..settings() }).await;
    let elsewhere = world().await;
    *elsewhere.functions.forbidden.lock() = Some("logs".into());
    let text = log(60_000);
    let expected = text.lines().filter(|line| line.starts_with("GET")).count();
    node.put("logs/a", text).await;
    let nodes = json!({
        "lines": {"do": {"source": {"lines": {"bucket": "logs", "prefix": ""}}}},
        "get": {"do": {"filter": {"body": {"expr": {"$matches": ["$", "GET*"]}}}}, "in": "lines"},
        "ones": {"do": {"map": {"body": {"expr": 1}}}, "in": "get"},
        "count": {"do": {"reduce": {"associative": true, "body": {"function": "t/pure-sum"}}}, "in": "ones"},
    });
    node.deploy(nodes, "count").await;
    for (run, other) in [("there", &node), ("refused", &busy), ("forbidden", &elsewhere)] {
        *node.functions.other.lock() = Some(other.runs.clone());
        node.begin(run, json!(null)).await;
        assert_eq!(node.end(run).await.result, Some(json!(expected)), "{run}");
    }
    let RunStats { calls_sent, calls_taken, .. } = node.runs.stats();
    assert!(calls_sent > 0 && calls_sent == calls_taken, "{calls_sent} {calls_taken}");
    assert_eq!(node.functions.sent.load(Ordering::Relaxed), 3 * calls_sent);
    assert_eq!(elsewhere.runs.stats().calls_taken, 0);
    // What was sent is read as what it is, or refused.
    let wrong = node.runs.work(b"{}").await.unwrap_err();
    assert_eq!(wrong.code, stride_ids::Code::Internal);
}

#[tokio::test]
async fn a_large_value_travels_as_an_object_and_a_function_gets_its_content() {
    let world = world().await;
    let nodes = json!({
        "large": {"do": {"call": {"function": "t/large"}}, "in": "input"},
        "length": {"do": {"call": {"function": "t/length"}}, "in": "large"},
    });
    world.deploy(nodes, "length").await;
    assert_eq!(world.run(json!(200_000)).await.result, Some(json!(200_002)));
}

#[tokio::test]
async fn a_list_is_written_to_an_object_and_objects_are_listed() {
    let world = world().await;
    let nodes = json!({
        "items": {"do": {"map": {"items": {"$range": [1, 3_000, 1]}, "body": {"function": "t/inc"}, "window": 64}}, "in": "input"},
        "out": {"do": {"sink": {"object": {"bucket": "out", "key": {"$format": ["{}.json", "$$.run.id"]}}}}, "in": "items"},
        "all": {"do": {"source": {"objects": {"bucket": "out", "prefix": ""}}}, "after": ["out"]},
        "length": {"do": {"map": {"body": {"function": "t/length"}}}, "in": "all"},
    });
    world.deploy(nodes, "length").await;
    let list: Vec<u64> = (2..=3_001).collect();
    assert_eq!(world.run(json!(null)).await.result, Some(json!([serde_json::to_string(&list).unwrap().len()])));
}

#[tokio::test]
async fn a_source_that_is_not_there_fails_with_its_name() {
    let world = world().await;
    let nodes = json!({"lines": {"do": {"source": {"lines": {"bucket": "nowhere", "prefix": ""}}}}});
    world.deploy(nodes, "lines").await;
    let error = world.run(json!(null)).await.error.unwrap();
    assert_eq!(error.code, "not_found");
    assert!(error.message.contains("nowhere"), "{error}");
}
