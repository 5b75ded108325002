//! Steps that wait for people, for events and for time.

use serde_json::{Value, json};
use stride_ids::{Code, Payload};

use crate::world::{World, name, tenant, world};

fn approval() -> Value {
    json!({
        "paid": {"do": {"call": {"function": "t/inc"}}, "in": "input", "compensate": {"graph": {"nodes": {
            "undo": {"do": {"tell": {"agent": "topic", "key": "refunds", "method": "add"}}}}}}},
        "ok": {"do": {"wait": {"approval": {"question": "pay?", "of": "ops"}}}, "after": ["paid"]},
        "end": {"do": {"pass": {"value": {"paid": "$.paid", "by": "$.ok.by"}}}, "in": {"paid": "paid", "ok": "ok"}},
    })
}

async fn say(world: &World, consents: bool, said: Value) -> Result<(), stride_ids::Failure> {
    world.runs.approve(&tenant(), &name("f"), "r", consents, Payload::json(said.to_string())).await
}

#[tokio::test]
async fn a_run_waits_until_somebody_consents() {
    let world = world().await;
    world.deploy(approval(), "end").await;
    world.begin("r", json!(1)).await;
    let status = world.until("r", |status| status.steps.iter().any(|step| step.does == "approval")).await;
    let step = &status.steps[0];
    assert_eq!((step.question.clone(), step.of.clone()), (Some(json!("pay?")), Some(json!("ops"))));
    assert_eq!(say(&world, true, json!({"step": "other"})).await.unwrap_err().code, Code::NotFound);
    say(&world, true, json!({"step": "ok", "by": "ann"})).await.unwrap();
    assert_eq!(world.end("r").await.result, Some(json!({"paid": 2, "by": "ann"})));
    assert_eq!(say(&world, true, json!(null)).await.unwrap_err().code, Code::Conflict);
    assert_eq!(world.counted("refunds").await, 0);
}

#[tokio::test]
async fn a_refusal_fails_the_run_and_what_was_done_is_compensated() {
    let world = world().await;
    world.deploy(approval(), "end").await;
    world.begin("r", json!(1)).await;
    world.until("r", |status| status.steps.iter().any(|step| step.does == "approval")).await;
    say(&world, false, json!({"by": "ann", "reason": "too dear"})).await.unwrap();
    let status = world.end("r").await;
    assert_eq!(status.state, "failed");
    let error = status.error.unwrap();
    assert_eq!(error.code, "refused");
    assert!(error.message.contains("ann") && error.message.contains("too dear"), "{error}");
    while world.counted("refunds").await != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_run_compensates_and_so_do_the_runs_that_it_began() {
    let world = world().await;
    world.try_deploy("inner", approval(), "end").await.unwrap();
    world.deploy(json!({"sub": {"do": {"subflow": {"flow": "inner"}}, "in": "input"}}), "sub").await;
    world.begin("r", json!(1)).await;
    let runs = &world.runs;
    let inner = loop {
        let (all, _) = runs.list(&tenant(), &name("inner"), None, 10).await.unwrap();
        match all.into_iter().next() {
            Some(status) if status.steps.iter().any(|step| step.does == "approval") => break status,
            _ => tokio::task::yield_now().await,
        }
    };
    runs.cancel(&tenant(), &name("f"), "r").await.unwrap();
    assert_eq!(world.end("r").await.state, "cancelled");
    let status = runs.wait_for(&tenant(), &name("inner"), &inner.run, crate::world::PATIENCE).await.unwrap();
    assert_eq!(status.state, "cancelled");
    while world.counted("refunds").await != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_event_counts_once_and_may_come_early() {
    let world = world().await;
    let nodes = json!({
        "first": {"do": {"wait": {"event": {"name": "a"}}}},
        "second": {"do": {"wait": {"event": {"name": "b"}}}, "after": ["first"]},
        "both": {"do": {"pass": {"value": "$"}}, "in": {"a": "first", "b": "second"}},
    });
    world.deploy(nodes, "both").await;
    world.begin("r", json!(null)).await;
    let tell = async |event: Value| {
        world.runs.event(&tenant(), &name("f"), "r", Payload::json(event.to_string())).await.unwrap();
    };
    tell(json!({"id": "1", "name": "b", "payload": 2})).await;
    tell(json!({"id": "1", "name": "b", "payload": "said again"})).await;
    tell(json!({"name": "a", "payload": 1})).await;
    assert_eq!(world.end("r").await.result, Some(json!({"a": 1, "b": 2})));
}

#[tokio::test]
async fn what_takes_too_long_times_out() {
    let world = world().await;
    let wait = json!({"do": {"wait": {"event": {"name": "never"}}}, "timeout_ms": 20,
        "catch": [{"errors": ["timeout"], "body": {"expr": "late"}}]});
    let pause = json!({"do": {"wait": {"timer": {"ms": 20}}}, "after": ["w"]});
    world
        .deploy(json!({"w": wait, "p": pause, "v": {"do": {"pass": {"value": "$"}}, "in": "w", "after": ["p"]}}), "v")
        .await;
    assert_eq!(world.run(json!(null)).await.result, Some(json!("late")));
}

#[tokio::test]
async fn a_run_goes_over_to_a_newer_version_on_request() {
    let world = world().await;
    let flow = |last: &str| {
        json!({
            "w": {"do": {"wait": {"event": {"name": "go"}}}},
            "end": {"do": {"call": {"function": last}}, "in": "w"},
        })
    };
    world.deploy(flow("t/echo"), "end").await;
    world.begin("r", json!(null)).await;
    world.deploy(flow("t/inc"), "end").await;
    world.runs.move_run(&tenant(), &name("f"), "r", None).await.unwrap();
    let event = Payload::json(r#"{"name": "go", "payload": 1}"#);
    world.runs.event(&tenant(), &name("f"), "r", event).await.unwrap();
    let status = world.end("r").await;
    assert_eq!((status.result, status.version), (Some(json!(2)), 2));
    let late = world.runs.move_run(&tenant(), &name("f"), "r", Some(1)).await;
    assert_eq!(late.unwrap_err().code, Code::Conflict);
}
