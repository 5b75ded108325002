//! Whole runs.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use serde_json::{Value, json};
use stride_ids::{Code, Payload};
use stride_maps::{Settings, State};

use crate::world::{World, is_done, tenant, world, world_with};

fn inputs(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["input"].as_str().unwrap()).collect()
}

async fn with_objects(world: &World, count: usize) {
    for n in 0..count {
        world.put(&format!("data/in/{n:04}"), n.to_string()).await;
    }
}

#[tokio::test]
async fn every_object_of_a_prefix_has_one_result_in_the_order_of_the_keys() {
    let world = world().await;
    with_objects(&world, 600).await;
    world.put("data/other", "no").await;
    let (lines, status) = world.run(json!({"function": "f/echo", "over": "data/in/"})).await;
    let expected: Vec<_> =
        (0..600).map(|n| json!({"input": format!("in/{n:04}"), "ok": true, "result": n.to_string()})).collect();
    assert_eq!(lines, expected);
    assert!(is_done(&status) && status.is_planned && status.ended_at.is_some());
    assert_eq!((status.items, status.done, status.failed.len()), (600, 600, 0));
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), 600);
}

#[tokio::test]
async fn a_map_over_nothing_ends_with_no_items_and_one_over_no_bucket_does_not_begin() {
    let world = world().await;
    with_objects(&world, 1).await;
    let (lines, status) = world.run(json!({"function": "f/echo", "over": "data/nothing/"})).await;
    assert!(lines.is_empty() && is_done(&status) && status.is_planned && status.items == 0);
    let (lines, _) = world.run(json!({"function": "f/echo", "over": "data/nothing/", "reduce": "f/sum"})).await;
    assert_eq!(lines, [json!({"reduce": "f/sum", "ok": true, "result": null})]);
    let begun = |spec| world.try_begin(spec);
    assert_eq!(begun(json!({"function": "f/echo", "over": "no-bucket/"})).await.unwrap_err().code, Code::NotFound);
    assert_eq!(begun(json!({"function": "f/nothing", "over": "data/"})).await.unwrap_err().code, Code::NotFound);
    for out in ["data/in/x", "data/", "data/in"] {
        let refused = begun(json!({"function": "f/echo", "over": "data/in/", "out": out})).await.unwrap_err();
        assert!(refused.code == Code::InvalidRequest && refused.message.contains("become inputs"), "{refused}");
    }
}

#[tokio::test]
async fn a_failure_has_its_cause_and_stops_no_other() {
    let world = world().await;
    with_objects(&world, 3).await;
    world.put("data/in/0001x", "bad").await;
    world.put("data/in/large", vec![b'x'; Payload::LEN_MAX + 1]).await;
    world.put("data/in/medium", vec![b'x'; (1 << 20) + 1]).await;
    let (lines, status) = world.run(json!({"function": "f/fails", "over": "data/in/"})).await;
    assert_eq!(inputs(&lines), ["in/0000", "in/0001", "in/0001x", "in/0002", "in/large", "in/medium"]);
    assert_eq!(lines[2], json!({"input": "in/0001x", "ok": false, "code": "guest_error", "message": "it is bad"}));
    assert!(lines[4]["message"].as_str().unwrap().contains("--split"), "{}", lines[4]);
    assert!(lines[5]["message"].as_str().unwrap().contains("--out"), "{}", lines[5]);
    assert!(is_done(&status));
    assert_eq!(status.failed, [(Code::GuestError, 1), (Code::PayloadTooLarge, 2)]);
}

#[tokio::test]
async fn what_is_overloaded_is_tried_again_until_it_is_done() {
    let world = world().await;
    with_objects(&world, 5).await;
    world.functions.overloaded.store(12, Ordering::Relaxed);
    let (lines, status) = world.run(json!({"function": "f/echo", "over": "data/in/"})).await;
    assert_eq!((lines.len(), status.failed.len()), (5, 0));
}

#[tokio::test]
async fn objects_are_split_at_lines_and_at_fixed_places() {
    let world = world_with(Settings { part_len: 10, ..Settings::default() }).await;
    let text = "one\ntwo\nthree\na line that is longer than a part\n\nlast without end";
    world.put("data/text", text).await;
    world.put("data/zero", "").await;
    let (lines, status) = world.run(json!({"function": "f/echo", "over": "data/", "split": "lines"})).await;
    let results: Vec<_> = lines.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert_eq!(
        results,
        ["one\ntwo\nthree\n", "a line that is longer than a part\n", "\nlast without end"],
        "a line is whole in one item"
    );
    assert_eq!(inputs(&lines)[..2], ["text[0..14]", "text[14..48]"]);
    assert!(is_done(&status) && status.items == 3);
    let (lines, _) = world.run(json!({"function": "f/echo", "over": "data/", "split": "bytes"})).await;
    let results: Vec<_> = lines.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert_eq!(results.concat(), text);
    assert!(results.iter().all(|part| part.len() <= 10));
}

#[tokio::test]
async fn an_object_of_more_parts_than_a_page_is_planned_in_several() {
    let world = world_with(Settings { part_len: 4, ..Settings::default() }).await;
    let text: String = (0..1_000).map(|n| format!("{n:03}\n")).collect();
    world.put("data/a", text.clone()).await;
    world.put("data/b", "end\n").await;
    let (lines, _) = world.run(json!({"function": "f/echo", "over": "data/", "split": "lines"})).await;
    let results: Vec<_> = lines.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert_eq!((results.len(), results.concat()), (1_001, text + "end\n"));
}

#[tokio::test]
async fn results_are_objects_where_they_are_wanted() {
    let world = world_with(Settings { part_len: 4, ..Settings::default() }).await;
    world.put("data/in/a", "1\n2\n3\n").await;
    world.put("data/in/b/c", "4\n").await;
    let (lines, _) = world.run(json!({"function": "f/echo", "over": "data/in/", "out": "data/out/"})).await;
    assert_eq!(lines[1], json!({"input": "in/b/c", "ok": true, "object": "data/out/b/c", "bytes": 2}));
    assert_eq!((world.get("data/out/a").await, world.get("data/out/b/c").await), ("1\n2\n3\n".into(), "4\n".into()));
    let spec = json!({"function": "f/echo", "over": "data/in/", "split": "lines", "out": "other/parts-"});
    let (lines, status) = world.run(spec).await;
    assert_eq!((lines.len(), status.bytes), (3, 0));
    assert_eq!(world.get("other/parts-a/000000").await + &world.get("other/parts-a/000001").await, "1\n2\n3\n");
    let spec = json!({"function": "f/len", "over": "data/in/", "reduce": "f/sum", "out": "other/total"});
    let (lines, _) = world.run(spec).await;
    assert_eq!(lines[2], json!({"reduce": "f/sum", "ok": true, "object": "other/total", "bytes": 1}));
    assert_eq!(world.get("other/total").await, "8");
}

#[tokio::test]
async fn a_reduction_folds_all_results_in_the_order_of_their_items() {
    let world = world().await;
    with_objects(&world, 300).await;
    let (lines, status) = world.run(json!({"function": "f/echo", "over": "data/in/", "reduce": "f/join"})).await;
    let all: String = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(lines.last().unwrap(), &json!({"reduce": "f/join", "ok": true, "result": all}));
    assert_eq!((lines.len(), status.done), (301, 300));
    // Five groups of items, and one of groups.
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), 306);
}

#[tokio::test]
async fn a_reduction_that_fails_ends_the_map_and_leaves_the_results() {
    let world = world().await;
    world.put("data/in/bad", "bad").await;
    let (lines, status) = world.run(json!({"function": "f/echo", "over": "data/in/", "reduce": "f/fails"})).await;
    assert_eq!(lines.len(), 1);
    let State::Failed(cause) = status.state else { panic!("{:?}", status.state) };
    assert_eq!((cause.code, cause.message.as_str()), (Code::GuestError, "the reduction failed: it is bad"));
}

#[test]
fn a_map_goes_on_after_a_restart_and_every_result_is_there_once() {
    // Each life has a runtime of its own: with that, everything ends wherever it is.
    let life = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = life();
    let (mut world, id) = first.block_on(async {
        let world = world().await;
        with_objects(&world, 700).await;
        world.functions.stuck_after.store(250, Ordering::Relaxed);
        let id = world.begin(json!({"function": "f/len", "over": "data/in/", "reduce": "f/sum"})).await;
        world.wait_for(&id, 250).await;
        (world, id)
    });
    drop(first);
    for stuck_after in [200, 0] {
        let next = life();
        world = next.block_on(async {
            let world = world.restarted().await;
            world.functions.stuck_after.store(stuck_after, Ordering::Relaxed);
            world.maps.take_up([tenant()]).await.unwrap();
            if stuck_after > 0 {
                world.wait_for(&id, 250 + stuck_after).await;
                return world;
            }
            let lines = world.results(&id).await;
            let status = world.status(&id).await;
            assert!(is_done(&status), "{status:?}");
            assert_eq!((status.items, status.done), (700, 700));
            let names: BTreeSet<_> = inputs(&lines[..700]).into_iter().collect();
            assert_eq!((lines.len(), names.len()), (701, 700));
            let total: usize = (0..700).map(|n: u64| n.to_string().len()).sum();
            assert_eq!(lines[700]["result"], json!(total));
            // What was recorded is not called again: these are the other items, eleven groups of them, and one of those.
            assert_eq!(world.functions.calls.load(Ordering::Relaxed), 250 + 12);
            world
        });
        drop(next);
    }
}

#[tokio::test]
async fn a_map_that_is_cancelled_begins_nothing_new_and_keeps_what_it_has() {
    let world = world().await;
    with_objects(&world, 400).await;
    world.functions.stuck_after.store(100, Ordering::Relaxed);
    let id = world.begin(json!({"function": "f/echo", "over": "data/in/"})).await;
    world.wait_for_calls(104).await;
    world.wait_for(&id, 100).await;
    world.maps.cancel(&tenant(), &id).await.unwrap();
    let status = world.status(&id).await;
    assert_eq!((status.state, status.done), (State::Cancelled, 100));
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), 104);
}

#[tokio::test]
async fn maps_that_have_ended_are_kept_up_to_a_bound_and_can_be_removed() {
    let world = world_with(Settings { kept_max: 2, ..Settings::default() }).await;
    with_objects(&world, 1).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let id = world.begin(json!({"function": "f/echo", "over": "data/in/"})).await;
        world.results(&id).await;
        ids.push(id);
    }
    loop {
        let kept: Vec<_> = world.maps.list(&tenant()).await.unwrap().into_iter().map(|status| status.id).collect();
        if kept == ids[2..] {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.maps.status(&tenant(), &ids[0]).await.unwrap_err().code, Code::NotFound);
    world.maps.cancel(&tenant(), &ids[3]).await.unwrap();
    assert_eq!(world.maps.cancel(&tenant(), &ids[3]).await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.maps.list(&tenant()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn as_many_maps_run_as_may_and_no_more() {
    let world = world_with(Settings { running_max: 1, ..Settings::default() }).await;
    with_objects(&world, 10).await;
    world.functions.stuck_after.store(1, Ordering::Relaxed);
    let spec = json!({"function": "f/echo", "over": "data/in/"});
    world.begin(spec.clone()).await;
    assert_eq!(world.try_begin(spec).await.unwrap_err().code, Code::Overloaded);
}

#[tokio::test]
async fn who_asks_again_with_the_same_key_gets_the_map_that_was_begun_first() {
    let world = world().await;
    with_objects(&world, 3).await;
    let spec =
        |over: &str| serde_json::from_value::<stride_maps::Spec>(json!({"function": "f/echo", "over": over})).unwrap();
    let tenant = tenant();
    let begin = |over, key: &str| world.maps.begin(&tenant, spec(over), Some(key.to_owned()));
    // At the same time, and again when it has ended.
    let (one, other) = futures::join!(begin("data/in/", "a"), begin("data/in/", "a"));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((&one.status.id, one.is_replayed, other.is_replayed), (&other.status.id, false, true));
    world.results(&one.status.id).await;
    let again = begin("data/in/", "a").await.unwrap();
    assert!(again.is_replayed && again.status.id == one.status.id && is_done(&again.status));
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), 3);

    let refused = begin("data/", "a").await.err().unwrap();
    assert!(refused.code == Code::Conflict && refused.message.contains("another map"), "{refused}");
    for key in [String::new(), "x".repeat(257)] {
        assert_eq!(begin("data/in/", &key).await.err().unwrap().code, Code::InvalidRequest);
    }
    assert!(!begin("data/in/", "b").await.unwrap().is_replayed);
    assert_eq!(world.maps.list(&tenant).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_maps_have_done_is_counted() {
    let world = world().await;
    with_objects(&world, 3).await;
    world.put("data/in/bad", "bad").await;
    world.run(json!({"function": "f/fails", "over": "data/in/"})).await;
    let stats = world.maps.stats();
    assert_eq!((stats.done, stats.failed, stats.hedged, stats.memoised), (3, 1, 0, 0));
}

#[test]
fn a_map_whose_data_may_not_be_here_does_not_begin_and_one_that_runs_ends_with_why() {
    // As above, a life ends wherever it is.
    let life = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let forbid = |world: &World| *world.functions.forbidden.lock() = Some("data".to_owned());
    let first = life();
    let (world, id) = first.block_on(async {
        let world = world().await;
        with_objects(&world, 10).await;
        let spec = json!({"function": "f/echo", "over": "data/in/", "reduce": "f/join"});
        forbid(&world);
        let refused = world.try_begin(spec.clone()).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (Code::CapabilityDenied, "data: not here"));
        assert!(world.maps.list(&tenant()).await.unwrap().is_empty());
        *world.functions.forbidden.lock() = None;
        world.functions.stuck_after.store(1, Ordering::Relaxed);
        let id = world.begin(spec).await;
        world.wait_for_calls(2).await;
        (world, id)
    });
    drop(first);
    life().block_on(async {
        let world = world.restarted().await;
        forbid(&world);
        world.maps.take_up([tenant()]).await.unwrap();
        world.results(&id).await;
        let status = world.status(&id).await;
        assert!(matches!(&status.state, State::Failed(why) if why.code == Code::CapabilityDenied), "{status:?}");
    });
}
