//! What is refused, where, and with which advice.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
mod common;

use common::{Table, draft, program};
use proptest::prelude::*;
use serde_json::{Value, json};
use stride_flows::{Draft, Effect, Problems, Schema};

fn problems(flow: &Value) -> Problems {
    match Draft::read(flow.to_string().as_bytes()).and_then(|draft| draft.check(&Table)) {
        Ok(program) => panic!("it should be refused: {program:?}"),
        Err(problems) => problems,
    }
}

/// The problems of a graph as `place: what; remedy`.
fn told(graph: Value) -> Vec<String> {
    problems(&json!({"version": 1, "name": "test", "graph": graph})).iter().map(ToString::to_string).collect()
}

fn call(function: &str, from: &str) -> Value {
    json!({"do": {"call": {"function": function}}, "in": from})
}

#[test]
fn a_flow_is_read_as_it_was_written_and_checked() {
    let graph = json!({
        "nodes": {
            "pay": {"do": {"call": {"function": "t/pay", "input": {"order": "$.id", "cents": 5}}}, "in": "input", "effects": [],
                    "retry": [{"retries": 2}], "timeout_ms": 1000, "compensate": {"function": "t/refund"}},
            "fan": {"do": {"map": {"items": "$.pay", "body": {"function": "f/inc"}, "window": 3}}, "in": {"pay": "list"}},
            "list": {"do": {"pass": {"value": [1, 2]}}}
        },
        "output": "pay"
    });
    let written = draft(graph);
    let again = Draft::read(&serde_json::to_vec(&written).unwrap()).unwrap();
    assert_eq!(again, written);
    let program = written.check(&Table).unwrap();
    assert_eq!(program.output(), &Schema::record([("receipt", Schema::String)]));
    assert_eq!(program.facts("/graph/nodes/fan").unwrap().input, Schema::record([("pay", Schema::list(Schema::Int))]));
    assert!(program.facts("/graph/nodes/pay").unwrap().effects.is_empty());
    assert_eq!(program.digest().len(), 64);
}

#[test]
fn all_that_cannot_be_read_is_told_at_once_with_its_place() {
    let told = told(json!({
        "nodes": {
            "a": {"do": {"cal": {"function": "f/inc"}}},
            "b": {"do": {"map": {"body": {"function": "f/inc"}, "windo": 3}}},
            "c": {"do": {"map": {"body": {"graph": {"nodes": {"x": {"do": {"pass": {"value": "$oops"}}}, "y": {"do": {}}}}}}}},
            "d e": {"do": {"pass": {}}},
            "f": {"do": {"branch": {"cases": [{"when": true, "body": {"graph": {"nodes": {}, "outptu": "x"}}}]}}}
        },
        "outputs": "a"
    }));
    let expect = [
        ("/graph/nodes/a/do", "did you mean `call`?"),
        ("/graph/nodes/b/do/map", "did you mean `window`?"),
        ("/graph/nodes/c/do/map/body/graph/nodes/x/do/pass", "$literal"),
        ("/graph/nodes/c/do/map/body/graph/nodes/y/do", ""),
        ("/graph/nodes/d e", "title"),
        ("/graph/nodes/f/do/branch/cases/0/body/graph", "did you mean `output`?"),
        ("/graph", "did you mean `output`?"),
    ];
    assert_eq!(told.len(), expect.len(), "{told:#?}");
    for ((place, part), told) in expect.iter().zip(&told) {
        assert!(told.starts_with(place) && told.contains(part), "{place} {part}: {told}");
    }
}

#[test]
fn edges_that_lead_nowhere_and_cycles_are_told() {
    let told = told(json!({
        "nodes": {
            "first": call("f/inc", "frist"),
            "a": call("f/inc", "b"), "b": call("f/inc", "a"),
            "input": call("f/inc", "input")
        },
        "output": "las"
    }));
    let all = told.join("\n");
    for part in [
        "/graph/nodes/first/in: there is no node `frist`",
        "did you mean `first`?",
        "cycle: b -> a -> b",
        "`iterate`",
        "/graph/output",
        "rename the node",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
}

#[test]
fn types_that_do_not_fit_are_told_before_anything_runs() {
    let cases = [
        (json!({"do": {"call": {"function": "t/pay"}}}), "/graph/nodes/n/do/call/function: `t/pay` does not take this"),
        (json!({"do": {"call": {"function": "f/icn"}}}), "did you mean `f/inc`?"),
        (json!({"do": {"pass": {"value": "$.none"}}}), "has no field `none`"),
        (
            json!({"do": {"map": {"items": {"a": 1}, "body": {"function": "f/inc"}}}}),
            "/graph/nodes/n/do/map/items: expected a list",
        ),
        (json!({"do": {"filter": {"items": [1], "body": {"expr": {"$add": ["$", 1]}}}}}), "expected bool, given int"),
        (json!({"do": {"key_by": {"items": [1], "body": {"expr": "$"}}}}), "expected string, given int"),
        (json!({"do": {"reduce": {"items": [1], "by_key": true, "body": {"function": "f/sum"}}}}), "`key_by`"),
        (
            json!({"do": {"branch": {"cases": [{"when": 1, "body": {"expr": 1}}]}}}),
            "/do/branch/cases/0/when: expected bool",
        ),
        (json!({"do": {"branch": {"cases": []}}}), "without a case"),
        (json!({"do": {"iterate": {"body": {"function": "f/inc"}, "rounds_max": 0}}}), "take 1 to"),
        (json!({"do": {"ask": {"agent": "index", "key": "k", "method": "ad"}}}), "did you mean `index/add`?"),
        (json!({"do": {"subflow": {"flow": "others"}}}), "did you mean `other`?"),
        (json!({"do": {"call": {"function": "x/send"}}, "effects": []}), "may do more than it declares: Network"),
        (
            json!({"do": {"call": {"function": "t/pay", "input": {"order": "x", "cents": 1}}}, "output": "int"}),
            "/graph/nodes/n/output",
        ),
        (json!({"do": {"pass": {}}, "timeout_ms": 5}), "takes no time"),
        (json!({"do": {"call": {"function": "f/inc"}}, "retry": [{"rate": 0.5, "errors": []}]}), "retry/0/rate"),
        (
            json!({"do": {"map": {"items": [1], "body": {"function": "f/inc"}, "failures": {"percent_max": 101}}}}),
            "take 0 to 100",
        ),
        (json!({"do": {"call": {"function": "f/inc"}}, "hardware": "a b"}), "class of hardware"),
        (json!({"do": {"call": {"function": "f/inc"}}, "catch": [{"body": {"expr": "$.cause"}}]}), "catch/0/body/expr"),
    ];
    for (node, part) in cases {
        let told = told(json!({"nodes": {"n": node.clone()}})).join("\n");
        assert!(told.contains(part), "{node}: {told}");
    }
}

#[test]
fn limits_hold_for_size_depth_and_version() {
    let mut graph = json!({"nodes": {}});
    for _ in 0..13 {
        graph = json!({"nodes": {"n": {"do": {"parallel": {"branches": {"a": {"graph": graph}}}}}}});
    }
    let deep = problems(&json!({"version": 1, "name": "t", "graph": graph})).to_string();
    assert!(deep.contains("deeper than 12 levels"), "{deep}");
    let old = problems(&json!({"version": 2, "name": "t", "graph": {"nodes": {}}})).to_string();
    assert!(old.contains("/version: version 2 is not known; write 1"), "{old}");
    let large = Draft::read(&vec![b' '; 3 << 20]).unwrap_err().to_string();
    assert!(large.contains("too many"), "{large}");
    assert!(Draft::read(b"{").unwrap_err().to_string().contains("no JSON"));
}

#[test]
fn what_a_node_may_do_includes_what_is_inside_of_it() {
    let program = program(
        json!({"nodes": {"n": {"do": {"map": {"items": [1], "body": {"graph": {"nodes": {"s": call("x/send", "input")}}}}},
        "catch": [{"body": {"graph": {"nodes": {"t": {"do": {"tell": {"agent": "index", "key": "k", "method": "add"}}}}}}}]}}}),
    );
    let effects = &program.facts("/graph/nodes/n").unwrap().effects;
    assert_eq!(effects.iter().copied().collect::<Vec<_>>(), [Effect::Message, Effect::Network]);
}

fn any_node() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!("$")),
        Just(json!("$.a")),
        Just(json!(7)),
        Just(json!("f/inc")),
        Just(json!([])),
        Just(json!({"function": "f/inc"})),
        "[a-c]".prop_map(Value::from)
    ];
    let name = prop_oneof![
        Just("do"),
        Just("in"),
        Just("nodes"),
        Just("graph"),
        Just("map"),
        Just("body"),
        Just("branch"),
        Just("cases"),
        Just("when"),
        Just("a"),
        Just("b"),
        Just("output"),
        Just("catch"),
        Just("version"),
        Just("name"),
        Just("pass"),
        Just("value"),
        Just("iterate"),
        Just("rounds_max"),
        Just("items")
    ];
    leaf.prop_recursive(8, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_reading_and_checking_panic(nodes in prop::collection::btree_map("[a-c]", any_node(), 0..4), whole in any_node()) {
        for flow in [whole, json!({"version": 1, "name": "t", "graph": {"nodes": nodes, "output": "a"}})] {
            match Draft::read(flow.to_string().as_bytes()) {
                Ok(draft) => if let Err(problems) = draft.check(&Table) { prop_assert!(problems.iter().count() > 0) },
                Err(problems) => prop_assert!(problems.iter().count() > 0),
            }
        }
    }
}
