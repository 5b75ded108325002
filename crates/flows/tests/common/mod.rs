//! What the tests of this crate know: functions as a table, written in Rust.
#![allow(dead_code, reason = "every test file takes what it needs")]

pub(crate) mod drive;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stride_flows::{Catalog, Draft, Effect, Function, Program, Schema, Signature};

/// All functions are pure unless their name begins with `x/`. `t/...` have types.
pub(crate) struct Table;

const NAMES: [&str; 14] = [
    "f/inc", "f/double", "f/id", "f/sum", "f/key", "f/even", "f/twice", "f/words", "f/sick", "t/pay", "t/refund",
    "x/send", "x/undo", "x/sick",
];

impl Catalog for Table {
    fn function(&self, name: &str) -> Option<Function> {
        let effects: BTreeSet<Effect> = if name.starts_with("x/") { [Effect::Network].into() } else { BTreeSet::new() };
        let mut function = Function { effects, ..Function::default() };
        if name == "t/pay" {
            function.input = Schema::record([("order", Schema::String), ("cents", Schema::Int)]);
            function.output = Schema::record([("receipt", Schema::String)]);
        }
        if name == "f/double" {
            function.micros = vec![(String::new(), 40_000), ("gpu".into(), 900)];
            function.bytes_out = Some(16);
        }
        NAMES.contains(&name).then_some(function)
    }

    fn agent(&self, agent: &str, method: &str) -> Option<Signature> {
        (agent == "index" && method == "add").then_some(Signature { input: Schema::Any, output: Schema::Int })
    }

    fn flow(&self, name: &str) -> Option<Signature> {
        (name == "other").then_some(Signature { input: Schema::Any, output: Schema::String })
    }

    fn names(&self) -> Vec<String> {
        NAMES.iter().map(|name| (*name).to_owned()).chain(["index/add".into(), "other".into()]).collect()
    }
}

/// What a function of the table gives.
pub(crate) fn call(name: &str, input: &Value) -> Result<Value, (String, String)> {
    let int = |value: &Value| value.as_i64().unwrap_or(0);
    Ok(match name {
        "f/inc" => json!(int(input).wrapping_add(1)),
        "f/double" => json!(int(input).wrapping_mul(2)),
        "f/id" | "x/send" | "x/undo" => input.clone(),
        "f/sum" => json!(input.as_array().into_iter().flatten().map(int).fold(0_i64, i64::wrapping_add)),
        "f/key" => json!(format!("k{}", int(input).rem_euclid(3))),
        "f/even" => json!(int(input) % 2 == 0),
        "f/twice" => json!([input, input]),
        "f/words" => input.as_str().unwrap_or("").split_whitespace().map(Value::from).collect(),
        "t/pay" => json!({ "receipt": format!("r-{}", input["order"]) }),
        "t/refund" => json!(null),
        _ => return Err(("guest_error".into(), format!("{name} is sick"))),
    })
}

/// What every agent answers.
fn ask(_: &str, _: &str, _: &str, _: &Value) -> Result<Value, (String, String)> {
    Ok(json!(7))
}

/// How many parts the lines have.
const PARTS: u64 = 4;

/// The lines of one part.
fn lines(part: u64) -> Value {
    let words = [
        "get ok 200 fine and well",
        "get bad 500 out of luck",
        "put ok 201 stored somewhere",
        "get ok 200 another line",
    ];
    (0..100).map(|at| json!(format!("{} {}", words[(at + part as usize) % 4], "x".repeat(40)))).collect()
}

pub(crate) fn draft(graph: Value) -> Draft {
    let text = json!({ "version": 1, "name": "test", "graph": graph }).to_string();
    Draft::read(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

pub(crate) fn program(graph: Value) -> Program {
    draft(graph).check(&Table).unwrap_or_else(|e| panic!("{e}"))
}
