//! The reference page and the published JSON Schema say what is true.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use stride_flows::{Catalog, Draft, Function, Known, PASSES, Passes, Signature, explain, expr::FUNCTIONS, json_schema};

/// Has whatever the page names.
struct Anything;

impl Catalog for Anything {
    fn function(&self, _: &str) -> Option<Function> {
        Some(Function::default())
    }
    fn agent(&self, _: &str, _: &str) -> Option<Signature> {
        Some(Signature::default())
    }
    fn flow(&self, _: &str) -> Option<Signature> {
        Some(Signature::default())
    }
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn every_example_of_the_page_is_a_flow_or_a_node_that_is_accepted_and_explained() {
    let page = fs::read_to_string(docs("flows.md")).unwrap();
    let examples: Vec<&str> = page.split("```json\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(examples.len() > 25);
    for example in examples {
        let value: Value = serde_json::from_str(example).unwrap_or_else(|e| panic!("{e}: {example}"));
        let flow = if value.get("version").is_some() {
            value
        } else {
            json!({"version": 1, "name": "example", "graph": {"nodes": {"node": value}, "output": "node"}})
        };
        let draft = Draft::read(flow.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {example}"));
        let program = draft.check(&Anything).unwrap_or_else(|e| panic!("{e}: {example}"));
        let plan = program.plan(&Passes::all(), &Known::default());
        assert!(explain::text(&plan, None).contains("= "), "{example}");
    }
}

#[test]
fn the_page_has_every_operator_function_and_pass() {
    let page = fs::read_to_string(docs("flows.md")).unwrap();
    let schema = json_schema();
    let operators = schema["$defs"]["Op"]["oneOf"].as_array().unwrap();
    assert_eq!(operators.len(), 19);
    for operator in operators {
        let name = operator["required"][0].as_str().unwrap();
        let section =
            page.split(&format!("### {name}\n")).nth(1).unwrap_or_else(|| panic!("there is no section on `{name}`"));
        let section = section.split("\n##").next().unwrap_or_default();
        assert!(section.contains(&format!("\"{name}\"")), "the section on `{name}` has no example of it");
    }
    for spec in FUNCTIONS {
        assert!(page.contains(&format!("| `${}` |", spec.name)) && page.contains(spec.doc), "`${}`", spec.name);
    }
    assert!(PASSES.iter().all(|pass| page.contains(&format!("`{pass}`"))));
}

/// `STRIDE_WRITE_SCHEMA=1 cargo test -p stride-flows --test docs` writes it anew.
#[test]
fn the_published_schema_is_that_of_the_types() {
    let text = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    if std::env::var_os("STRIDE_WRITE_SCHEMA").is_some() {
        fs::write(docs("flow.schema.json"), &text).unwrap();
    }
    let published = fs::read_to_string(docs("flow.schema.json")).unwrap_or_default();
    assert!(published == text, "docs/flow.schema.json is not that of the types; write it with STRIDE_WRITE_SCHEMA=1");
}
