//! Nodes that are killed in the midst of runs.

use serde_json::json;

use crate::world::{name, tenant, world};

#[tokio::test]
async fn a_run_goes_on_after_a_restart_and_a_call_without_an_answer_is_made_again() {
    let world = world().await;
    let call = |before: &str| json!({"do": {"call": {"function": "t/inc"}}, "in": before});
    let tell = json!({"do": {"tell": {"agent": "topic", "key": "told", "method": "add"}}, "after": ["a"]});
    world.deploy(json!({"a": call("input"), "told": tell, "b": call("a"), "c": call("b")}), "c").await;
    world.functions.stuck.lock().insert("2".into());
    world.begin("r", json!(1)).await;
    world.until("r", |status| status.steps.iter().any(|step| step.step == "/b")).await;
    let world = world.restarted().await;
    assert_eq!(world.end("r").await.result, Some(json!(4)));
    while world.counted("told").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.counted("told").await, 1);
}

#[tokio::test]
async fn an_agent_is_asked_once_however_often_the_node_restarts() {
    let mut world = world().await;
    // Rounds of an ask and a call; each round the agent has counted one more.
    let body = json!({"graph": {"nodes": {
        "ask": {"do": {"ask": {"agent": "topic", "key": "asked", "method": "add"}}, "in": "input"},
        "call": {"do": {"call": {"function": "t/echo"}}, "in": "ask"}}, "output": "call"}});
    let rounds = json!({"do": {"iterate": {"state": 0, "body": body, "until": {"$ge": ["$", 200]}, "rounds_max": 500}}, "in": "input"});
    world.deploy(json!({"rounds": rounds}), "rounds").await;
    world.begin("r", json!(null)).await;
    for restart in 1..=8 {
        while world.counted("asked").await < restart * 20 {
            tokio::task::yield_now().await;
        }
        world = world.restarted().await;
    }
    assert_eq!(world.end("r").await.result, Some(json!(200)));
    assert_eq!(world.counted("asked").await, 200);
}

#[tokio::test]
async fn a_run_whose_driver_is_lost_is_taken_up_when_its_watch_is_due() {
    let world = world().await;
    let call = |before: &str| json!({"do": {"call": {"function": "t/inc"}}, "in": before});
    world.deploy(json!({"a": call("input"), "b": call("a")}), "b").await;
    world.functions.stuck.lock().insert("2".into());
    world.begin("r", json!(1)).await;
    world.until("r", |status| status.steps.iter().any(|step| step.step == "/b")).await;
    // Nobody looks for runs when this one starts.
    let world = world.restarted_without_looking().await;
    assert_eq!(world.end("r").await.result, Some(json!(3)));
}

#[tokio::test]
async fn a_fan_out_goes_on_where_it_was() {
    let world = world().await;
    let map = json!({"do": {"map": {"items": {"$range": [1, 2_000, 1]}, "body": {"function": "t/inc"}, "window": 8}}, "in": "input"});
    let sum = json!({"do": {"reduce": {"associative": true, "body": {"function": "t/sum"}}}, "in": "map"});
    world.deploy(json!({"map": map, "sum": sum}), "sum").await;
    world.begin("r", json!(null)).await;
    let half = |world: &crate::world::World| world.functions.calls.load(std::sync::atomic::Ordering::Relaxed) > 1_000;
    while !half(&world) {
        tokio::task::yield_now().await;
    }
    let world = world.restarted().await;
    assert_eq!(world.end("r").await.result, Some(json!(2_000 * 2_001 / 2 + 2_000)));
    let again = world.functions.calls.load(std::sync::atomic::Ordering::Relaxed);
    assert!(again < 1_100, "{again} calls after the restart: what had an answer is not done again");
}

#[tokio::test]
async fn a_run_with_more_rows_than_are_kept_in_memory_comes_to_the_same_also_after_a_restart() {
    const ITEMS: u64 = 600;
    let world = world().await;
    let each = json!({"map": {"items": {"$range": [1, ITEMS, 1]}, "body": {"function": "t/inc"}, "window": 400}});
    world.deploy(json!({"all": {"do": each, "in": "input"}}), "all").await;
    // All but the first few, with whose answers the window fills.
    world.functions.stuck.lock().extend((9..=ITEMS).map(|item| item.to_string()));
    world.begin("r", json!(null)).await;
    let run = stride_ids::Address {
        tenant: tenant(),
        kind: name(stride_runs::KIND),
        key: stride_ids::AgentKey::new("f/r").unwrap(),
    };
    while world.engine.state(&run, "x/", None, 1_000).await.unwrap().entries.len() < 300 {
        tokio::task::yield_now().await;
    }
    let world = world.restarted().await;
    let expected: Vec<u64> = (2..=ITEMS + 1).collect();
    assert_eq!(world.end("r").await.result, Some(json!(expected)));
    let left = world.engine.state(&run, "x/", None, 1_000).await.unwrap().entries;
    assert!(left.is_empty(), "{left:?}");
}
