//! Steps that do something.

use std::sync::atomic::Ordering;

use serde_json::json;
use stride_ids::Payload;

use crate::world::{name, tenant, world};

#[tokio::test]
async fn a_chain_of_pure_calls_is_one_commit() {
    let world = world().await;
    let call = |before: &str| json!({"do": {"call": {"function": "t/pure-inc"}}, "in": before});
    let nodes = json!({"a": call("input"), "b": call("a"), "c": call("b"), "d": call("c"), "e": call("d")});
    world.deploy(nodes, "e").await;
    let before = world.engine.stats().committed;
    let status = world.begin("r", json!(1)).await;
    assert_eq!((status.state.as_str(), status.result), ("done", Some(json!(6))));
    assert_eq!(world.engine.stats().committed - before, 1);
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn steps_that_may_do_something_run_one_after_the_other_and_each_once() {
    let world = world().await;
    let call = |before: &str| json!({"do": {"call": {"function": "t/inc"}}, "in": before});
    world.deploy(json!({"a": call("input"), "b": call("a"), "c": call("b")}), "c").await;
    let status = world.run(json!(1)).await;
    assert_eq!((status.state.as_str(), status.result), ("done", Some(json!(4))));
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), 3);
    assert_eq!(world.runs.stats().active, 0);
}

#[tokio::test]
async fn ten_thousand_items_are_done_and_never_more_than_the_window_at_a_time() {
    let world = world().await;
    let map = json!({"do": {"map": {"items": {"$range": [1, 10_000, 1]}, "body": {"function": "t/inc"}, "window": 16}}, "in": "input"});
    let sum = json!({"do": {"reduce": {"associative": true, "body": {"function": "t/sum"}}}, "in": "map"});
    world.deploy(json!({"map": map, "sum": sum}), "sum").await;
    let status = world.run(json!(null)).await;
    assert_eq!(status.result, Some(json!(10_000 * 10_001 / 2 + 10_000)), "{status:?}");
    assert!(world.functions.most.load(Ordering::Relaxed) <= 16);
}

#[tokio::test]
async fn agents_are_told_and_asked_and_topics_are_published_to() {
    let world = world().await;
    let nodes = json!({
        "tell": {"do": {"tell": {"agent": "topic", "key": "a", "method": "add"}}},
        "ask": {"do": {"ask": {"agent": "topic", "key": "b", "method": "add"}}, "after": ["tell"]},
        "publish": {"do": {"sink": {"topic": {"topic": "news", "value": "hello"}}}, "after": ["ask"]},
        "all": {"do": {"pass": {"value": "$"}}, "in": "ask", "after": ["publish"]},
    });
    world.deploy(nodes, "all").await;
    assert_eq!(world.run(json!(null)).await.result, Some(json!(1)));
    for key in ["a", "b", "news"] {
        while world.counted(key).await != 1 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_agent_of_the_platform_cannot_be_reached() {
    let world = world().await;
    let tell = json!({"a": {"do": {"tell": {"agent": "stride-bucket", "key": "a", "method": "add"}}}});
    assert!(world.try_deploy("f", tell, "a").await.unwrap_err().to_string().contains("stride-bucket"));
}

#[tokio::test]
async fn more_messages_than_one_turn_sends_go_out_in_several() {
    let world = world().await;
    let body =
        json!({"graph": {"nodes": {"tell": {"do": {"tell": {"agent": "topic", "key": "many", "method": "add"}}}}}});
    let map = json!({"do": {"map": {"items": {"$range": [1, 500, 1]}, "body": body, "window": 300}}, "in": "input"});
    world.deploy(json!({"map": map, "n": {"do": {"pass": {"value": {"$length": "$"}}}, "in": "map"}}), "n").await;
    assert_eq!(world.run(json!(null)).await.result, Some(json!(500)));
    while world.counted("many").await != 500 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flow_runs_another_one_and_takes_its_result_or_its_failure() {
    let world = world().await;
    let inner = json!({"x": {"do": {"call": {"function": "t/flaky"}}, "in": "input"}});
    world.try_deploy("inner", inner, "x").await.unwrap();
    let outer = json!({"sub": {"do": {"subflow": {"flow": "inner", "input": {"n": "$"}}}, "in": "input",
        "catch": [{"errors": ["guest_error"], "body": {"expr": {"caught": "$.error"}}}]}});
    world.deploy(outer, "sub").await;
    assert_eq!(world.run(json!(7)).await.result, Some(json!({"n": 7})));
    world.functions.flaky.store(1, Ordering::Relaxed);
    world.begin("again", json!(8)).await;
    assert_eq!(world.end("again").await.result, Some(json!({"caught": "guest_error"})));
    assert_eq!(world.runs.list(&tenant(), &name("inner"), None, 10).await.unwrap().0.len(), 2);
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again_as_often_as_its_rule_says() {
    let world = world().await;
    let retry = json!([{"errors": ["guest_error"], "retries": 3, "backoff_ms": 1}]);
    world.deploy(json!({"a": {"do": {"call": {"function": "t/flaky"}}, "in": "input", "retry": retry}}), "a").await;
    world.functions.flaky.store(3, Ordering::Relaxed);
    assert_eq!(world.run(json!(1)).await.state, "done");
    world.functions.flaky.store(4, Ordering::Relaxed);
    world.begin("more", json!(1)).await;
    let status = world.end("more").await;
    assert_eq!((status.state.as_str(), status.error.unwrap().code.as_str()), ("failed", "guest_error"));
}

#[tokio::test]
async fn what_is_wrong_with_a_flow_is_said_all_at_once_before_anything_is_kept() {
    let world = world().await;
    let nodes = json!({
        "a": {"do": {"call": {"function": "t/nothing"}}, "in": "input"},
        "b": {"do": {"ask": {"agent": "topic", "key": "k", "method": "sub"}}, "in": "c"},
        "s": {"do": {"subflow": {"flow": "missing"}}},
    });
    let refused = world.try_deploy("f", nodes, "a").await.unwrap_err().to_string();
    for part in ["t/nothing", "topic/sub", "`c`", "missing"] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    let missing = world.runs.start(&tenant(), &name("f"), None, Payload::json("1"), Default::default()).await;
    assert!(missing.unwrap_err().message.contains("stride flow deploy"));
}

#[tokio::test]
async fn a_flow_has_versions_and_a_run_keeps_the_one_that_it_began_with() {
    let world = world().await;
    let wait = |value: u64| json!({"w": {"do": {"wait": {"event": {"name": "go"}}}}, "v": {"do": {"pass": {"value": value}}, "after": ["w"]}});
    assert_eq!(world.try_deploy("f", wait(1), "v").await.unwrap(), 1);
    assert_eq!(world.try_deploy("f", wait(1), "v").await.unwrap(), 1, "the same is no new version");
    world.begin("old", json!(null)).await;
    assert_eq!(world.try_deploy("f", wait(2), "v").await.unwrap(), 2);
    world.begin("new", json!(null)).await;
    for (run, result) in [("old", 1), ("new", 2)] {
        world.runs.event(&tenant(), &name("f"), run, Payload::json(r#"{"name": "go"}"#)).await.unwrap();
        let status = world.end(run).await;
        assert_eq!((status.result, status.version), (Some(json!(result)), result));
    }
}
