//! Names, ends, and what is left of runs.

use std::time::Duration;

use serde_json::json;
use stride_ids::{Code, Payload};
use stride_runs::{Format, Settings};

use crate::world::{name, settings, tenant, world, world_with};

#[tokio::test]
async fn a_run_that_is_begun_again_is_the_same_run_unless_its_input_is_another_one() {
    let world = world().await;
    world.deploy(json!({"a": {"do": {"call": {"function": "t/inc"}}, "in": "input"}}), "a").await;
    assert_eq!(world.run(json!(1)).await.result, Some(json!(2)));
    let again = world.begin("r", json!(1)).await;
    assert_eq!(again.result, Some(json!(2)));
    let other = world.runs.start(&tenant(), &name("f"), Some("r"), Payload::json("5"), Duration::ZERO).await;
    assert_eq!(other.unwrap_err().code, Code::Conflict);
    for bad in ["", "a/b", "a\nb"] {
        let bad = world.runs.start(&tenant(), &name("f"), Some(bad), Payload::json("5"), Duration::ZERO).await;
        assert_eq!(bad.unwrap_err().code, Code::InvalidRequest);
    }
}

#[tokio::test]
async fn runs_are_listed_and_one_that_has_ended_is_removed() {
    let world = world().await;
    world.deploy(json!({"a": {"do": {"call": {"function": "t/large"}}, "in": "input"}}), "a").await;
    for run in ["r1", "r2", "r3"] {
        world.begin(run, json!(100_000)).await;
        world.end(run).await;
    }
    let names = async |after| -> Vec<String> {
        let (all, next) = world.runs.list(&tenant(), &name("f"), after, 2).await.unwrap();
        assert_eq!(next.is_some(), all.len() == 2);
        all.into_iter().map(|status| status.run).collect()
    };
    assert_eq!((names(None).await, names(Some("r2")).await), (vec!["r1".into(), "r2".into()], vec!["r3".into()]));
    world.runs.cancel(&tenant(), &name("f"), "r1").await.unwrap();
    while names(None).await != ["r2", "r3"] {
        tokio::task::yield_now().await;
    }
    let flows = stride_ids::BucketName::new("flows").unwrap();
    let left = world.objects.list(&tenant(), &flows, String::new(), None, 10).await.unwrap();
    assert_eq!(left.objects.len(), 2, "what a run kept goes with it");
    assert_eq!(world.runs.status(&tenant(), &name("f"), "r1").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn a_run_is_forgotten_when_it_has_been_kept_long_enough() {
    let world = world_with(Settings { kept: Duration::from_millis(1), ..settings() }).await;
    world.deploy(json!({"a": {"do": {"pass": {"value": 1}}}}), "a").await;
    world.begin("r", json!(null)).await;
    while world.runs.status(&tenant(), &name("f"), "r").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_plan_is_shown_before_a_run_and_with_what_it_took_after_one() {
    let world = world().await;
    let call = |before: &str| json!({"do": {"call": {"function": "t/pure-inc"}}, "in": before});
    world.deploy(json!({"a": call("input"), "b": call("a")}), "b").await;
    let text = world.runs.explain(&tenant(), &name("f"), &[], Format::Text).await.unwrap();
    assert!(text.contains("LOGICAL") && text.contains("PHYSICAL") && text.contains("fuse"), "{text}");
    let without = world.runs.explain(&tenant(), &name("f"), &["fuse".into()], Format::Text).await.unwrap();
    assert_ne!(text, without);
    let wrong = world.runs.explain(&tenant(), &name("f"), &["fuze".into()], Format::Text).await.unwrap_err();
    assert!(wrong.to_string().contains("did you mean `fuse`"), "{wrong}");
    world.run(json!(1)).await;
    let took = world.runs.explain_run(&tenant(), &name("f"), "r", Format::Text).await.unwrap();
    assert!(took.contains("took 1 call"), "{took}");
    let svg = world.runs.explain_run(&tenant(), &name("f"), "r", Format::Svg).await.unwrap();
    assert!(svg.starts_with("<svg"), "{svg}");
}
