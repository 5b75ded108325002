//! What each pass makes of a plan, as text before and after; and that no pass changes a result.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
mod common;

use common::{drive::World, program};
use proptest::prelude::*;
use serde_json::{Value, json};
use stride_flows::{Known, PASSES, Passes, Plan, explain, plan::Hardware};
use stride_placement::{DatumId, Holding, Input, Link, Load, Node, NodeId, Price, Rate};

/// The nodes of a plan, each as `name: what it does`.
fn told(plan: &Plan) -> Vec<String> {
    let all = explain::json(plan, None);
    let graph = &all["graphs"][plan.root];
    let line = |node: &Value| {
        let parts: Vec<&str> =
            ["does", "notes"].iter().filter_map(|part| node[part].as_str()).filter(|part| !part.is_empty()).collect();
        format!("{}: {}", node["name"].as_str().unwrap(), parts.join(", "))
    };
    graph["nodes"].as_array().unwrap().iter().map(line).collect()
}

fn with(pass: &str, graph: &Value, known: &Known<'_>) -> (Vec<String>, Vec<String>) {
    let program = program(graph.clone());
    let before = program.plan(&Passes::none(), known);
    let after = program.plan(&Passes::none().with(pass).unwrap(), known);
    assert_eq!(after.passes, [pass]);
    (told(&before), told(&after))
}

fn call(function: &str, from: &str) -> Value {
    json!({"do": {"call": {"function": function}}, "in": from})
}

fn over(op: &str, function: &str, from: &str) -> Value {
    json!({"do": {op: {"body": {"function": function}}}, "in": from})
}

fn log_analysis() -> Value {
    json!({"nodes": {
        "lines": {"do": {"source": {"lines": {"bucket": "logs", "prefix": "2026/"}}}},
        "ok": {"do": {"filter": {"body": {"expr": {"$matches": ["$", "*ok*"]}}}}, "in": "lines"},
        "verb": {"do": {"map": {"body": {"function": "f/words"}}}, "in": "ok"},
        "key": {"do": {"key_by": {"body": {"expr": "$[0]"}}}, "in": "verb"},
        "one": {"do": {"map": {"body": {"expr": {"key": "$.key", "value": 1}}}}, "in": "key"},
        "count": {"do": {"reduce": {"by_key": true, "associative": true, "body": {"function": "f/sum"}}}, "in": "one"}
    }, "output": "count"})
}

#[test]
fn fuse_makes_one_step_of_pure_neighbours() {
    let graph = json!({"nodes": {"a": call("f/inc", "input"), "b": call("f/double", "a"), "c": call("x/send", "b"), "m": over("map", "f/inc", "l"),
        "l": {"do": {"source": {"value": [1, 2]}}}, "k": over("filter", "f/even", "m")}});
    let (before, after) = with("fuse", &graph, &Known::default());
    assert_eq!(
        before,
        ["a: call f/inc", "b: call f/double", "c: call x/send", "l: source [1,2]", "m: f/inc", "k: filter f/even"]
    );
    assert_eq!(after, ["b: call f/inc > f/double", "c: call x/send", "l: source [1,2]", "k: f/inc > filter f/even"]);
}

#[test]
fn fuse_leaves_what_others_read_and_what_looks_at_the_run() {
    let graph = json!({"nodes": {"a": call("f/inc", "input"), "b": call("f/double", "a"), "c": call("f/id", "a"),
        "d": {"do": {"pass": {"value": "$$.step.id"}}, "in": "c"}, "e": {"do": {"call": {"function": "f/id"}}, "in": "d", "timeout_ms": 5}}});
    let (before, after) = with("fuse", &graph, &Known::default());
    assert_eq!(before, after);
}

#[test]
fn push_code_to_data_reads_lines_where_they_lie() {
    let graph = json!({"nodes": {"lines": {"do": {"source": {"lines": {"bucket": "logs"}}}}, "w": over("flat_map", "f/words", "lines"),
        "o": {"do": {"source": {"objects": {"bucket": "images"}}}}, "r": over("map", "f/id", "o")}});
    let (before, after) = with("push_code_to_data", &graph, &Known::default());
    assert_eq!(before, ["lines: source lines logs/", "o: source objects images/", "r: f/id", "w: flat_map f/words"]);
    assert_eq!(
        after,
        [
            "o: source objects images/",
            "r: f/id, where the data is",
            "w: at parts of logs/: lines > flat_map f/words, where the data is"
        ]
    );
}

#[test]
fn combine_before_shuffle_folds_what_one_call_gives() {
    let graph = json!({"nodes": {"k": over("key_by", "f/key", "input"), "s": {"do": {"reduce": {"by_key": true, "associative": true, "body": {"function": "f/sum"}}}, "in": "k"},
        "j": over("map", "f/inc", "input"), "t": {"do": {"reduce": {"body": {"function": "f/sum"}}}, "in": "j"}}});
    let (before, after) = with("combine_before_shuffle", &graph, &Known::default());
    assert_eq!(before, ["j: f/inc", "k: key_by f/key", "s: reduce f/sum by key", "t: reduce f/sum"]);
    assert_eq!(
        after,
        ["j: f/inc", "k: key_by f/key, combined by f/sum by key", "s: reduce f/sum by key", "t: reduce f/sum"]
    );
}

#[test]
fn batch_sends_small_pure_calls_together() {
    let graph = json!({"nodes": {"a": over("map", "f/inc", "input"), "b": over("map", "f/double", "input"), "c": over("map", "x/send", "input")}});
    let (before, after) = with("batch", &graph, &Known::default());
    assert_eq!(before, ["a: f/inc", "b: f/double", "c: x/send"]);
    assert_eq!(
        after,
        ["a: f/inc, 64 at a time", "b: f/double", "c: x/send"],
        "`f/double` takes 40 ms, and `x/send` is not pure"
    );
}

#[test]
fn memoise_makes_one_of_twins_and_remembers_answers() {
    let graph = json!({"nodes": {"a": call("f/inc", "input"), "b": call("f/inc", "input"), "c": call("x/send", "input"), "d": call("x/send", "input"),
        "e": {"do": {"pass": {}}, "in": {"a": "a", "b": "b"}}}});
    let (before, after) = with("memoise", &graph, &Known::default());
    assert_eq!(before, ["a: call f/inc", "b: call f/inc", "c: call x/send", "d: call x/send", "e: pass $"]);
    assert_eq!(after, ["a: call f/inc, memoised", "c: call x/send", "d: call x/send", "e: pass $"]);
}

#[test]
fn choose_hardware_takes_the_cheapest_that_keeps_the_promise() {
    let hardware = [Hardware { class: String::new(), price: 1 }, Hardware { class: "gpu".into(), price: 100 }];
    let known = Known { hardware: &hardware, nodes: None };
    let node = |slo: Value| json!({"do": {"call": {"function": "f/double"}}, "in": "input", "slo": slo});
    let mut asked = node(json!({}));
    asked["hardware"] = json!("tpu");
    let graph = json!({"nodes": {"asked": asked, "fast": node(json!({"p99_ms": 5})), "slow": node(json!({"p99_ms": 50})), "unknown": call("f/inc", "input")}});
    let (before, after) = with("choose_hardware", &graph, &known);
    assert_eq!(
        before,
        ["asked: call f/double, on tpu", "fast: call f/double", "slow: call f/double", "unknown: call f/inc"]
    );
    assert_eq!(
        after,
        [
            "asked: call f/double, on tpu",
            "fast: call f/double, best on gpu",
            "slow: call f/double",
            "unknown: call f/inc"
        ]
    );
    // The plain node takes 40 ms and a `gpu` 0.9 ms. Where nothing has a price, what is faster is better.
    let graph = json!({"nodes": {"free": node(json!({}))}});
    let prices = |gpu: u64, plain: u64| {
        let hardware = [("", plain), ("gpu", gpu)].map(|(class, price)| Hardware { class: class.into(), price });
        with("choose_hardware", &graph, &Known { hardware: &hardware, nodes: None }).1
    };
    assert_eq!(prices(0, 0), ["free: call f/double, best on gpu"]);
    assert_eq!(prices(30, 1), ["free: call f/double, best on gpu"]);
    assert_eq!(prices(40, 1), ["free: call f/double"], "a tenth is no reason");
}

#[test]
fn place_puts_a_step_where_its_object_is() {
    let mut nodes = Input::default();
    for name in ["a", "b"] {
        let node = Node {
            slots: 4,
            accepted_max: 100,
            load: Load::default(),
            link: Link { rate: Rate(1_000_000), ..Link::default() },
            labels: Default::default(),
            hardware: Default::default(),
            price: Price(0),
        };
        nodes.set_node(NodeId(name.parse().unwrap()), node);
    }
    let holding = Holding { here: bytesize::ByteSize(1_000_000), ..Holding::default() };
    nodes.set_holding(&DatumId::new("images/cat.jpg").unwrap(), &NodeId("b".parse().unwrap()), holding);
    let known = Known { hardware: &[], nodes: Some(&nodes) };
    let mut near = call("f/id", "input");
    near["affinity"] = json!("object:images/cat.jpg");
    let graph = json!({"nodes": {"near": near, "any": call("f/id", "input")}});
    let (before, after) = with("place", &graph, &known);
    assert_eq!(before, ["any: call f/id", "near: call f/id, close to object:images/cat.jpg"]);
    assert_eq!(after, ["any: call f/id", "near: call f/id, close to object:images/cat.jpg, at node b"]);
}

#[test]
fn a_pass_that_is_not_there_is_told_with_the_nearest() {
    assert_eq!(Passes::all().without("fuze").unwrap_err(), "there is no pass `fuze`: did you mean `fuse`?");
}

#[test]
fn the_log_analysis_moves_a_third_of_the_bytes_at_most() {
    let program = program(log_analysis());
    let run = |passes: &Passes| {
        let plan = program.plan(passes, &Known::default());
        let mut world = World::rough(11);
        let end = world.run(&plan, json!(null)).unwrap();
        (plan, end, world)
    };
    let (logical, expected, unoptimised) = run(&Passes::none());
    let (physical, given, optimised) = run(&Passes::all());
    assert_eq!(given, expected);
    assert_eq!(told(&physical).len(), 2);
    assert!(optimised.bytes * 3 <= unoptimised.bytes, "{} of {} bytes", optimised.bytes, unoptimised.bytes);
    assert!(physical.bytes_between() * 3 <= logical.bytes_between());
    let mut world = optimised;
    let measures = stride_flows::run::measures(&mut world.rows).unwrap();
    let text = explain::text(&physical, Some(&measures));
    assert!(text.contains("took 5 calls"), "{text}");
}

#[test]
fn a_plan_is_explained_as_text_json_and_picture() {
    let plan = program(json!({"nodes": {
        "list": {"do": {"source": {"value": [1, 2, 3]}}}, "fan": {"do": {"map": {"body": {"graph": {"nodes": {"s": call("x/send", "input")}, "output": "s"}}}}, "in": "list", "retry": [{}]},
        "end": {"do": {"sink": {"object": {"bucket": "b", "key": {"$format": ["<{}>", "$$.run.id"]}}}}, "in": "fan", "after": ["list"]}}, "output": "end"}))
        .plan(&Passes::all(), &Known::default());
    let text = explain::text(&plan, None);
    assert_eq!(
        text,
        "\
flow test
  passes  fuse, push_code_to_data, combine_before_shuffle, memoise, choose_hardware, batch, place
  between nodes  4.1 KiB

the flow
  list  source [1,2,3]                                                      3 items, 7 B
  fan   map graph 0, retried                            <- list             3 items, 3 calls, 3.0 KiB, 3.0 ms
  end   sink object b/{\"$format\":[\"<{}>\",\"$$.run.id\"]}  <- fan, after list  1 call, 64 B, 1.0 ms
  = end

graph 0
  s  call x/send  <- input  1 call, 1.0 KiB, 1.0 ms
  = s
",
        "{text}"
    );
    let svg = explain::svg(&plan, None);
    assert!(
        svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("&lt;{}&gt;") && !svg.contains("<{}>")
    );
    assert_eq!(svg.matches("<rect").count(), 4);
    assert_eq!(explain::json(&plan, None)["graphs"][1]["nodes"][0]["name"], "list");
}

// --- random flows ---

/// A random graph of numbers and lists of numbers: nodes `n0`, `n1`, ..., each reading ones before it.
fn any_graph(depth: u32) -> BoxedStrategy<Value> {
    let function = prop_oneof![Just("f/inc"), Just("f/double"), Just("f/id"), Just("x/send")];
    let body = {
        let simple = function.clone().prop_map(|name| json!({"function": name}));
        if depth == 0 {
            simple.boxed()
        } else {
            prop_oneof![3 => simple, 1 => any_graph(depth - 1).prop_map(|graph| json!({"graph": graph}))].boxed()
        }
    };
    let node = (0..11_u8, any::<prop::sample::Index>(), function, body, any::<u8>());
    prop::collection::vec(node, 1..7)
        .prop_map(move |nodes| {
            // Every value is kept as a number or as a list of numbers, and known as such here.
            let (mut numbers, mut lists) = (vec!["input".to_owned()], Vec::<String>::new());
            let mut graph = serde_json::Map::new();
            for (at, (op, from, function, body, other)) in nodes.into_iter().enumerate() {
                let name = format!("n{at}");
                let number = numbers[from.index(numbers.len())].clone();
                let list = (!lists.is_empty()).then(|| lists[from.index(lists.len())].clone());
                let (op, from, gives_list) = match (op, list) {
                    (0, _) => (json!({"call": {"function": function}}), json!(number), false),
                    (1, _) => (json!({"pass": {"value": {"$add": ["$", other]}}}), json!(number), false),
                    (2, _) => (json!({"source": {"value": {"$range": ["$", {"$add": ["$", other % 90]}, 1]}}}), json!(number), true),
                    (3, _) => (json!({"branch": {"cases": [{"when": {"$gt": ["$", 3]}, "body": body}], "otherwise": {"expr": "$"}}}), json!(number), false),
                    (4, _) => (json!({"iterate": {"body": body, "until": {"$ge": ["$$.round", other % 4 + 1]}, "rounds_max": 9}}), json!(number), false),
                    (5, Some(list)) => (json!({"map": {"body": body, "window": other % 5 + 1}}), json!(list), true),
                    (6, Some(list)) => (json!({"filter": {"body": {"function": "f/even"}}}), json!(list), true),
                    (7, Some(list)) => (json!({"flat_map": {"body": {"function": "f/twice"}}}), json!(list), true),
                    (8, Some(list)) => (json!({"reduce": {"associative": true, "body": {"function": "f/sum"}}}), json!(list), false),
                    (9, Some(list)) => (json!({"key_by": {"body": {"function": "f/key"}}}), json!(list), true),
                    (_, Some(list)) => (json!({"map": {"body": {"expr": {"$if": [{"$is": ["$", "record"]}, {"$default": ["$.value", 0]}, "$"]}}}}), json!(list), true),
                    (_, None) => (json!({"call": {"function": function}}), json!(number), false),
                };
                // Functions of this table take whatever they get, records as nothing.
                graph.insert(name.clone(), json!({"do": op, "in": from}));
                if gives_list { lists.push(name) } else { numbers.push(name) }
            }
            let all: serde_json::Map<String, Value> = graph.keys().map(|name| (name.clone(), json!(name))).collect();
            graph.insert("all".into(), json!({"do": {"pass": {}}, "in": all}));
            // A body gives a number, so that what is around it can compute with it.
            if depth == 0 { graph.insert("n".into(), json!({"do": {"call": {"function": "f/inc"}}, "in": numbers.last()})); }
            let output = if depth == 0 { "n" } else { "all" };
            json!({"nodes": graph, "output": output})
        })
        .boxed()
}

fn run(plan: &Plan, mut world: World, input: Value) -> Result<Value, ()> {
    let end = world.run(plan, input).map_err(|_| ());
    assert!(world.timers.is_empty() && world.out.is_empty());
    end
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn results_are_the_same_with_and_without_each_pass_in_any_order_and_through_crashes(graph in any_graph(1), input in -9..9_i64, seed in any::<u64>()) {
        let program = program(graph);
        let expected = run(&program.plan(&Passes::none(), &Known::default()), World::new(0), json!(input));
        let rough = run(&program.plan(&Passes::none(), &Known::default()), World::rough(seed), json!(input));
        prop_assert_eq!(&rough, &expected, "crashes, repeated events and another order");
        for pass in PASSES {
            for passes in [Passes::none().with(pass).unwrap(), Passes::all().without(pass).unwrap()] {
                let given = run(&program.plan(&passes, &Known::default()), World::rough(seed), json!(input));
                prop_assert_eq!(&given, &expected, "{:?}", passes);
            }
        }
    }
}
