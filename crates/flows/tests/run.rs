//! What runs do: every operator, failure, compensation, cancellation; crashes and repeated events.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
mod common;

use common::{drive::World, program};
use serde_json::{Value, json};
use stride_flows::{Event, Known, Passes, Plan, run};

fn plan(graph: Value) -> Plan {
    program(graph).plan(&Passes::none(), &Known::default())
}

fn optimised(graph: Value) -> Plan {
    program(graph).plan(&Passes::all(), &Known::default())
}

/// The result of a graph with this input: word by word and optimised, smoothly and through crashes. They have to be the same.
fn result(graph: Value, input: Value) -> Result<Value, String> {
    let mut all = Vec::new();
    for plan in [plan(graph.clone()), optimised(graph)] {
        for mut world in [World::new(1), World::rough(2), World::rough(3)] {
            all.push(world.run(&plan, input.clone()).map_err(|e| e.to_string()));
            assert!(world.timers.is_empty(), "no timer is left: {:?}", world.timers);
        }
    }
    all.dedup();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn one(node: Value, input: Value) -> Result<Value, String> {
    let mut node = node;
    node["in"] = json!("input");
    result(json!({"nodes": {"n": node}, "output": "n"}), input)
}

#[test]
fn every_operator_gives_its_value() {
    let cases = [
        (json!({"pass": {"value": {"a": "$.x"}}}), json!({"x": 1}), json!({"a": 1})),
        (json!({"call": {"function": "f/inc", "input": "$.x"}}), json!({"x": 1}), json!(2)),
        (json!({"map": {"body": {"function": "f/inc"}}}), json!([1, 2, 3]), json!([2, 3, 4])),
        (
            json!({"map": {"items": "$.l", "input": {"$add": ["$$.item.value", {"$mul": ["$$.item.index", "$.k"]}]}, "body": {"expr": "$"}}}),
            json!({"l": [1, 1], "k": 10}),
            json!([1, 11]),
        ),
        (json!({"flat_map": {"body": {"function": "f/twice"}}}), json!([1, 2]), json!([1, 1, 2, 2])),
        (json!({"filter": {"body": {"function": "f/even"}}}), json!([1, 2, 3, 4]), json!([2, 4])),
        (
            json!({"key_by": {"body": {"function": "f/key"}}}),
            json!([1, 3]),
            json!([{"key": "k1", "value": 1}, {"key": "k0", "value": 3}]),
        ),
        (json!({"reduce": {"body": {"function": "f/sum"}}}), json!([1, 2, 3]), json!(6)),
        (json!({"reduce": {"body": {"function": "f/sum"}, "associative": true}}), (0..1_000).collect(), json!(499_500)),
        (json!({"reduce": {"body": {"function": "f/sum"}}}), json!([]), json!(null)),
        (
            json!({"reduce": {"body": {"function": "f/sum"}, "by_key": true}}),
            json!([{"key": "b", "value": 1}, {"key": "a", "value": 2}, {"key": "b", "value": 3}]),
            json!([{"key": "a", "value": 2}, {"key": "b", "value": 4}]),
        ),
        (
            json!({"join": {"left": {"items": "$.l", "key": "$.id"}, "right": {"items": "$.r", "key": "$.of"}, "kind": "full"}}),
            json!({"l": [{"id": 1}, {"id": 2}], "r": [{"of": 2}, {"of": 3}]}),
            json!([{"key": 1, "left": {"id": 1}, "right": null}, {"key": 2, "left": {"id": 2}, "right": {"of": 2}}, {"key": 3, "left": null, "right": {"of": 3}}]),
        ),
        (
            json!({"iterate": {"body": {"function": "f/double"}, "until": {"$gt": ["$", 100]}, "rounds_max": 50}}),
            json!(3),
            json!(192),
        ),
        (json!({"iterate": {"body": {"expr": {"$min": [["$", 5]]}}, "rounds_max": 50}}), json!(9), json!(5)),
        (
            json!({"iterate": {"body": {"expr": {"$add": ["$", 1]}}, "until": {"$ge": ["$$.round", 1000]}, "rounds_max": 2000}}),
            json!(0),
            json!(1_000),
        ),
        (
            json!({"branch": {"cases": [{"when": {"$gt": ["$", 5]}, "body": {"function": "f/inc"}}], "otherwise": {"expr": "small"}}}),
            json!(6),
            json!(7),
        ),
        (
            json!({"branch": {"cases": [{"when": {"$gt": ["$", 5]}, "body": {"function": "f/inc"}}], "otherwise": {"expr": "small"}}}),
            json!(5),
            json!("small"),
        ),
        (
            json!({"parallel": {"branches": {"a": {"function": "f/inc"}, "b": {"expr": "$"}}}}),
            json!(1),
            json!({"a": 2, "b": 1}),
        ),
        (json!({"ask": {"agent": "index", "key": "k", "method": "add"}}), json!(1), json!(7)),
        (json!({"tell": {"agent": "index", "key": "k", "method": "add"}}), json!(1), json!(null)),
        (json!({"wait": {"timer": {"ms": 5000}}}), json!(1), json!(1)),
        (json!({"wait": {"timer": {"until": "1970-01-01T00:01:00Z"}}}), json!(1), json!(1)),
        (
            json!({"sink": {"object": {"bucket": "b", "key": "k"}}}),
            json!("v"),
            json!({"$object": {"bucket": "b", "key": "k", "bytes": 3}}),
        ),
        (json!({"sink": {"topic": {"topic": "t"}}}), json!("v"), json!(null)),
        (json!({"subflow": {"flow": "other"}}), json!(1), json!("done")),
        (json!({"source": {"value": [1, 2]}}), json!(1), json!([1, 2])),
    ];
    for (op, input, expected) in cases {
        assert_eq!(one(json!({ "do": op.clone() }), input), Ok(expected), "{op}");
    }
    let objects = one(json!({"do": {"source": {"objects": {"bucket": "b"}}}}), json!(1)).unwrap();
    assert_eq!(objects.as_array().unwrap().len(), 4);
}

#[test]
fn failures_have_codes_and_places() {
    let cases = [
        (json!({"fail": {"error": "mine", "message": {"$format": ["no {}", "$"]}}}), json!(3), "mine: no 3"),
        (json!({"pass": {"value": "$.none"}}), json!({"a": 1}), "expression: `$.none` selects nothing"),
        (json!({"call": {"function": "f/sick"}}), json!(1), "guest_error: f/sick is sick"),
        (json!({"map": {"body": {"function": "f/sick"}}}), json!([1]), "guest_error: 1 of 1 items have failed"),
        (json!({"map": {"body": {"function": "f/inc"}}}), json!(1), "type_mismatch: expected a list, given int"),
        (json!({"iterate": {"body": {"function": "f/inc"}, "rounds_max": 3}}), json!(1), "iterate_bound"),
        (json!({"branch": {"cases": [{"when": false, "body": {"expr": 1}}]}}), json!(1), "no_case"),
    ];
    for (op, input, part) in cases {
        let error = one(json!({ "do": op.clone() }), input).unwrap_err();
        assert!(error.starts_with(part), "{op}: {error}");
    }
    let wrong = one(json!({"do": {"call": {"function": "f/inc"}}, "output": "string"}), json!(1)).unwrap_err();
    assert_eq!(wrong, "type_mismatch: expected string, given int");
}

#[test]
fn a_step_is_tried_again_after_growing_pauses_and_then_fails() {
    let graph = json!({"nodes": {"n": {"do": {"call": {"function": "x/send"}}, "in": "input", "retry": [{"errors": ["unavailable"], "retries": 2, "backoff_ms": 100, "rate": 3.0}]}}, "output": "n"});
    for (failures, expected, waited) in [(2, Ok(json!(5)), 400), (3, Err("unavailable: not now".to_owned()), 400)] {
        let mut world = World::rough(7);
        world.sick.insert("x/send".into(), failures);
        assert_eq!(world.run(&plan(graph.clone()), json!(5)).map_err(|e| e.to_string()), expected);
        assert_eq!((world.now - 1_000, world.calls.len()), (waited, 3));
    }
}

#[test]
fn items_that_fail_are_tried_again_alone_and_left_out_within_the_limit() {
    let map = |more: Value| {
        let mut map = json!({"items": "$", "body": {"function": "f/inc"}, "window": 4});
        map.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"nodes": {"n": {"do": {"map": map}, "in": "input", "retry": [{"retries": 1, "errors": ["unavailable"]}]}}, "output": "n"})
    };
    for plan in [plan(map(json!({}))), optimised(map(json!({})))] {
        let mut world = World::rough(5);
        world.sick.insert("f/inc".into(), 3);
        assert_eq!(world.run(&plan, json!([1, 2, 3, 4, 5, 6, 7, 8])), Ok(json!([2, 3, 4, 5, 6, 7, 8, 9])));
        assert_eq!(world.calls.len(), 11, "only what failed is called again");
    }
    let failing = |failures: Value| {
        json!({"nodes": {"n": {"do": {"map": {"items": [1, "a", 2], "input": {"ok": {"$is": ["$$.item.value", "int"]}, "v": "$$.item.value"},
        "body": {"graph": {"nodes": {"b": {"do": {"branch": {"cases": [{"when": "$.ok", "body": {"expr": "$.v"}}]}}, "in": "input"}}, "output": "b"}}, "failures": failures}}}}, "output": "n"})
    };
    assert_eq!(result(failing(json!({"count_max": 1})), json!(null)), Ok(json!([1, 2])));
    assert_eq!(result(failing(json!({"percent_max": 34.0})), json!(null)), Ok(json!([1, 2])));
    assert!(
        result(failing(json!({"percent_max": 33.0})), json!(null)).unwrap_err().starts_with("no_case: 1 of 3 items")
    );
}

#[test]
fn what_fails_is_caught_and_what_was_done_is_compensated_in_reverse() {
    let step = |id: u64, after: &str| json!({"do": {"call": {"function": "x/send", "input": id}}, "after": [after], "compensate": {"graph": {"nodes": {"u": {"do": {"call": {"function": "x/undo", "input": "$.result"}}, "in": "input"}}}}});
    let saga = json!({"graph": {"nodes": {"a": step(1, "input"), "b": step(2, "a"),
        "c": {"do": {"parallel": {"branches": {"x": {"graph": {"nodes": {"d": step(3, "input")}, "output": "d"}}}}}, "after": ["b"]},
        "last": {"do": {"call": {"function": "x/sick"}}, "after": ["c"]}}}});
    let graph = json!({"nodes": {"n": {"do": {"parallel": {"branches": {"saga": saga}}}, "catch": [{"errors": ["other"], "body": {"expr": 1}}, {"body": {"expr": {"code": "$.error"}}}]}}, "output": "n"});
    for seed in 0..20 {
        let mut world = World::rough(seed);
        assert_eq!(world.run(&plan(graph.clone()), json!(null)), Ok(json!({"code": "guest_error"})));
        let undone: Vec<_> =
            world.calls.iter().filter(|(name, _)| name == "x/undo").map(|(_, input)| input.clone()).collect();
        assert_eq!(undone, [json!(3), json!(2), json!(1)]);
    }
}

#[test]
fn timeouts_cancel_what_is_late() {
    let graph = json!({"nodes": {"n": {"do": {"wait": {"event": {"name": "paid"}}}, "timeout_ms": 300, "catch": [{"errors": ["timeout"], "body": {"expr": "late"}}]}}, "output": "n"});
    assert_eq!(result(graph.clone(), json!(null)), Ok(json!("late")));
    let plan = plan(graph);
    let mut world = World::new(1);
    world.event(&plan, Event::Started { run: "r".into(), input: json!(null) });
    for _ in 0..2 {
        world.event(&plan, Event::Event { id: "1".into(), name: "paid".into(), payload: json!({"cents": 5}) });
    }
    assert_eq!(world.end, Some(Ok(json!({"cents": 5}))));
    assert!(world.timers.is_empty());
}

#[test]
fn events_that_come_early_wait_and_count_once() {
    let wait = |after: &str| json!({"do": {"wait": {"event": {"name": "e"}}}, "after": [after]});
    let plan = plan(
        json!({"nodes": {"t": {"do": {"wait": {"timer": {"ms": 10}}}}, "a": wait("t"), "b": wait("a"), "all": {"do": {"pass": {}}, "in": {"a": "a", "b": "b"}}}, "output": "all"}),
    );
    let mut world = World::new(1);
    world.event(&plan, Event::Started { run: "r".into(), input: json!(null) });
    for id in ["1", "1", "2", "1"] {
        world.event(&plan, Event::Event { id: id.into(), name: "e".into(), payload: json!(id) });
    }
    world.go_on(&plan);
    assert_eq!(world.end, Some(Ok(json!({"a": "1", "b": "2"}))));
}

#[test]
fn somebody_consents_or_refuses() {
    let plan = plan(
        json!({"nodes": {"n": {"do": {"wait": {"approval": {"question": "pay?"}}}, "catch": [{"errors": ["refused"], "body": {"expr": "$.message"}}]}}, "output": "n"}),
    );
    for (event, expected) in [
        (
            Event::Approved { step: "/n".into(), by: "ada".into(), payload: json!(1) },
            json!({"by": "ada", "payload": 1}),
        ),
        (
            Event::Refused { step: "/n".into(), by: "bob".into(), reason: "too dear".into() },
            json!("bob refuses: too dear"),
        ),
    ] {
        let mut world = World::new(1);
        world.event(&plan, Event::Started { run: "r".into(), input: json!(null) });
        world.out.clear();
        world.event(&plan, Event::Approved { step: "/other".into(), by: "eve".into(), payload: json!(1) });
        assert_eq!(world.end, None);
        world.event(&plan, event);
        assert_eq!(world.end, Some(Ok(expected)));
    }
}

#[test]
fn a_run_that_is_cancelled_undoes_and_ends_once() {
    let graph = json!({"nodes": {"a": {"do": {"call": {"function": "x/send"}}, "compensate": {"function": "x/undo"}}, "w": {"do": {"wait": {"event": {"name": "never"}}}, "after": ["a"], "timeout_ms": 100_000}}});
    let plan = plan(graph);
    let mut world = World::new(1);
    world.event(&plan, Event::Started { run: "r".into(), input: json!(null) });
    world.step(&plan);
    world.event(&plan, Event::Cancelled);
    world.event(&plan, Event::Cancelled);
    world.go_on(&plan);
    assert_eq!(world.end.clone().unwrap().unwrap_err().code, "cancelled");
    assert_eq!(world.calls.last().unwrap().0, "x/undo");
    assert_eq!(run::state(&world.rows).unwrap(), Some(run::State::Cancelled));
    world.event(&plan, Event::Event { id: "x".into(), name: "never".into(), payload: json!(1) });
}

#[test]
fn succeed_ends_the_run_or_the_item_around_it() {
    let early = json!({"graph": {"nodes": {"b": {"do": {"branch": {"cases": [{"when": {"$gt": ["$", 2]}, "body": {"graph": {"nodes": {"s": {"do": {"succeed": {"value": "early"}}, "in": "input"}}}}}], "otherwise": {"expr": "$"}}}, "in": "input"},
        "late": {"do": {"call": {"function": "f/inc"}}, "in": "b"}}, "output": "late"}});
    let graph = json!({"nodes": {"n": {"do": {"map": {"items": [1, 2, 3], "body": early}}}}, "output": "n"});
    assert_eq!(result(graph, json!(null)), Ok(json!([2, 3, "early"])));
    assert_eq!(result(early["graph"].clone(), json!(9)), Ok(json!("early")));
}

#[test]
fn a_fan_out_has_its_window_in_flight_and_writes_little_for_each() {
    let graph = json!({"nodes": {"l": {"do": {"source": {"value": "$"}}, "in": "input"}, "n": {"do": {"map": {"body": {"function": "x/send"}, "window": 16}}, "in": "l"},
        "count": {"do": {"reduce": {"associative": true, "body": {"function": "f/sum"}}}, "in": "n"}}, "output": "count"});
    let plan = plan(graph);
    let mut world = World::new(3);
    let items: Vec<u64> = (0..10_000).collect();
    assert_eq!(world.run(&plan, json!(items)), Ok(json!(49_995_000)));
    assert_eq!(world.in_flight_max.max(16), 64, "the reduction has its own window");
    let mut world = World::new(3);
    world.event(&plan, Event::Started { run: "r".into(), input: json!(items) });
    world.changed_max = 0;
    for _ in 0..5_000 {
        world.step(&plan);
        assert!(world.out.len() <= 16);
    }
    assert!(world.changed_max < 4_000, "{} bytes were written for one item", world.changed_max);
}

#[test]
fn what_is_large_becomes_an_object_by_itself() {
    let big: Vec<String> = (0..2_000).map(|at| format!("{at:064}")).collect();
    let graph = json!({"nodes": {"l": {"do": {"source": {"value": "$"}}, "in": "input"}, "m": {"do": {"map": {"body": {"expr": "$"}}}, "in": "l"},
        "c": {"do": {"call": {"function": "f/id"}}, "in": "m"}, "p": {"do": {"pass": {"value": {"l": "$$.run.id", "c": "$"}}}, "in": "c"}}, "output": "p"});
    let plan = plan(graph);
    let mut world = World::rough(1);
    let end = world.run(&plan, json!(big)).unwrap();
    assert_eq!(end["l"], "run-1");
    let key = end["c"]["$object"]["key"].as_str().unwrap();
    assert_eq!(world.objects[key], json!(big));
}

#[test]
fn a_run_keeps_to_its_plan() {
    let mut world = World::new(1);
    let first = plan(json!({"nodes": {"n": {"do": {"wait": {"event": {"name": "e"}}}}}}));
    world.event(&first, Event::Started { run: "r".into(), input: json!(null) });
    let other = plan(json!({"nodes": {}}));
    let refused = run::advance(&other, &mut world.rows, 1, Event::Cancelled).unwrap_err();
    assert!(refused.to_string().contains("pinned"), "{refused}");
    let stored: Plan = serde_json::from_slice(&serde_json::to_vec(&first).unwrap()).unwrap();
    assert_eq!(stored, first);
}

#[test]
fn a_thousand_steps_survive_crashes_everywhere_with_each_effect_once() {
    let mut nodes = serde_json::Map::new();
    for at in 0..1_000 {
        let from = if at == 0 { "input".to_owned() } else { format!("n{}", at - 1) };
        nodes.insert(format!("n{at}"), json!({"do": {"call": {"function": "x/send"}}, "in": from}));
    }
    let plan = plan(json!({"nodes": nodes, "output": "n999"}));
    let mut world = World { crash: 100, twice: 50, ..World::new(9) };
    assert_eq!(world.run(&plan, json!(1)), Ok(json!(1)));
    assert_eq!(world.calls.len(), 1_000);
}

#[test]
fn branches_that_fail_together_undo_everything_once() {
    let branch = |id: u64| {
        json!({"graph": {"nodes": {
        "a": {"do": {"call": {"function": "x/send", "input": id}}, "compensate": {"function": "x/undo"}},
        "b": {"do": {"call": {"function": "x/sick"}}, "after": ["a"]}}}})
    };
    let graph =
        json!({"nodes": {"n": {"do": {"parallel": {"branches": {"a": branch(1), "b": branch(2), "c": branch(3)}}}}}});
    for seed in 0..50 {
        let mut world = World::rough(seed);
        assert_eq!(world.run(&plan(graph.clone()), json!(null)).unwrap_err().code, "guest_error");
        let of = |wanted: &str| {
            let mut inputs: Vec<_> =
                world.calls.iter().filter(|(name, _)| name == wanted).map(|(_, input)| input.clone()).collect();
            inputs.sort_by_key(|input| input["result"].as_u64().or_else(|| input.as_u64()));
            inputs
        };
        let done: Vec<_> = of("x/send").into_iter().map(|id| json!({"input": null, "result": id})).collect();
        assert!(of("x/undo").len() <= done.len());
        // What was cancelled before its answer counted has no compensation; what counted has exactly one.
        assert!(of("x/undo").iter().all(|undo| done.contains(undo)));
        let mut once = of("x/undo");
        once.dedup();
        assert_eq!(once, of("x/undo"), "nothing is undone twice");
    }
}

#[test]
fn a_long_list_inside_of_an_item_becomes_an_object_and_what_is_too_deep_an_error() {
    let big: Vec<String> = (0..2_000).map(|at| format!("{at:064}")).collect();
    let inner = json!({"graph": {"nodes": {"l": {"do": {"source": {"value": "$"}}, "in": "input"}}, "output": "l"}});
    let plan =
        plan(json!({"nodes": {"n": {"do": {"parallel": {"branches": {"a": inner}}}, "in": "input"}}, "output": "n"}));
    let mut world = World::rough(1);
    let end = world.run(&plan, json!(big)).unwrap();
    assert_eq!(world.objects[end["a"]["$object"]["key"].as_str().unwrap()], json!(big));
    let nest = json!({"iterate": {"body": {"expr": ["$"]}, "until": false, "rounds_max": 500}});
    assert!(one(json!({ "do": nest }), json!(1)).unwrap_err().starts_with("value_too_deep"));
}
