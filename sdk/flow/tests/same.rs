//! The same flow written in Rust, in Python and by hand is the same artefact, and one that is accepted.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]

#[path = "written/bodies.rs"]
mod bodies;
mod common;
#[path = "written/operators.rs"]
mod operators;
#[path = "../../../examples/shop/order.rs"]
#[expect(unreachable_pub, reason = "the example is a program of its own")]
mod order;

use common::{accepted, here, python, read};
use serde_json::Value;
use stride_flow::Flow;
use stride_flows::expr::FUNCTIONS;

fn same(rust: &Flow, file: &str) -> Value {
    let rust = rust.json().unwrap_or_else(|e| panic!("{e}"));
    let python: Value = serde_json::from_str(&python(&here(file), &[]).unwrap()).unwrap();
    assert_eq!(rust, python, "Rust and Python differ");
    rust
}

#[test]
fn every_operator_and_option_is_the_same_in_rust_in_python_and_by_hand() {
    let built = same(&operators::flow(), "tests/flows/operators.py");
    assert_eq!(accepted(&built), accepted(&read("tests/flows/operators.json")));
    let schema = stride_flows::json_schema();
    let text = built.to_string();
    for operator in schema["$defs"]["Op"]["oneOf"].as_array().unwrap() {
        let name = operator["required"][0].as_str().unwrap();
        assert!(
            text.contains(&format!("{{\"do\":{{\"{name}\":")) || text.contains(&format!("\"do\":{{\"{name}\":")),
            "{name}"
        );
    }
    for field in schema["$defs"]["Node"]["properties"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("\"{field}\":")), "{field}");
    }
}

#[test]
fn bodies_get_values_from_around_them_in_the_same_way() {
    let built = same(&bodies::flow(), "tests/flows/bodies.py");
    assert_eq!(accepted(&built), accepted(&read("tests/flows/bodies.json")));
}

#[test]
fn the_order_of_the_documentation_is_the_one_that_is_written_there_by_hand() {
    let page = std::fs::read_to_string(here("../../docs/flows.md")).unwrap();
    let by_hand = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let built = same(&order::flow(), "../../examples/shop/order.py");
    assert_eq!(accepted(&built), accepted(&serde_json::from_str(by_hand).unwrap()));
    assert_eq!(read("../../examples/shop/order.json"), serde_json::from_str::<Value>(by_hand).unwrap());
    for example in ["../../examples/shop/order.rs", "../../examples/shop/order.py"] {
        let text = std::fs::read_to_string(here(example)).unwrap();
        assert!(page.contains(&text), "docs/flows.md does not show {example} as it is");
    }
}

#[test]
fn both_know_every_function_with_as_many_arguments() {
    use stride_flow::functions::{FIXED, OF_MANY};
    let source = std::fs::read_to_string(here("../python/stride_flow/functions.py")).unwrap();
    for spec in FUNCTIONS {
        let fixed: Vec<usize> = FIXED.iter().filter(|(name, _)| *name == spec.name).map(|(_, count)| *count).collect();
        let is_known = !fixed.is_empty() || OF_MANY.contains(&spec.name) || spec.name == "format";
        assert!(is_known, "Rust has no `{}`", spec.name);
        let range = spec.arguments_min..=spec.arguments_max;
        assert!(fixed.iter().all(|count| range.contains(count)), "`{}` takes other arguments", spec.name);
        assert!(fixed.is_empty() || fixed.contains(&spec.arguments_max), "`{}` can be given more", spec.name);
        let call = source.split("return ").find_map(|call| call.strip_prefix(&format!("Apply(\"{}\", ", spec.name)));
        let call = call.unwrap_or_else(|| panic!("Python has no `{}`", spec.name)).split(")\n").next().unwrap();
        let is_open = call.contains('*') || call.starts_with("list(");
        let count = call.matches(',').count() + 1;
        assert!(is_open || range.contains(&count), "Python: `{}` takes {call}", spec.name);
        assert_eq!(is_open, spec.arguments_min != spec.arguments_max, "Python: `{}`", spec.name);
    }
}

#[test]
fn the_flows_of_the_examples_are_what_their_programs_print() {
    let mut count = 0;
    for folder in std::fs::read_dir(here("../../examples")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "py") {
                let printed: Value = serde_json::from_str(&python(&file, &[]).unwrap()).unwrap();
                let kept: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
                assert!(accepted(&printed) == accepted(&kept), "{} is not what its program prints", file.display());
                count += 1;
            }
        }
    }
    assert!(count >= 3);
}
