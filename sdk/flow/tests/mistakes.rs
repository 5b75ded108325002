//! What is wrong with a flow is told with the line that made it, in both languages.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]

mod common;

use common::{here, python};
use serde_json::json;
use stride_flow::{Expr, Flow, schema};

/// What is told of a flow: lines of this file, and what is wrong there.
fn told(write: impl FnOnce(&Flow)) -> Vec<(u32, String)> {
    let flow = Flow::new("wrong");
    write(&flow);
    let mistakes = flow.json().unwrap_err();
    let line = |at: &str| at.strip_prefix(file!())?.split(':').nth(1)?.parse().ok();
    mistakes.iter().map(|m| (line(&m.at).unwrap_or_else(|| panic!("{m}")), m.what.clone())).collect()
}

#[track_caller]
fn refused(lines: &[u32], parts: &[&str], write: impl FnOnce(&Flow)) {
    let told = told(write);
    assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), lines, "{told:?}");
    for ((_, what), part) in told.iter().zip(parts) {
        assert!(what.contains(part), "{what}");
    }
}

#[test]
fn all_mistakes_of_a_program_are_told_with_their_lines() {
    let from = line!();
    refused(&[from + 4, from + 5, from + 7], &["no field `idd`", "no name of a step", "not see values"], |flow| {
        let input = schema::record([("id", schema::string())]);
        let order = flow.input(input);
        flow.call("a/b", order.field("idd"));
        flow.call("a/b", order.field("id")).named("not a name");
        // The body of an `iterate` has its state and nothing else.
        flow.iterate(1, 9, |_| flow.call("a/c", &order));
    });
}

#[test]
fn names_bodies_and_data_are_checked() {
    let from = line!();
    refused(&[from + 3], &["two steps of the name `x`"], |flow| {
        flow.call("a/b", 1).named("x");
        flow.call("a/b", 1).named("x");
    });
    let from = line!();
    refused(&[from + 4], &["another body"], |flow| {
        let mut leaked = None;
        flow.map([1], |item: Expr| leaked = Some(flow.call("a/b", item)));
        flow.call("a/b", leaked);
    });
    let from = line!();
    refused(&[from + 2], &["an expression"], |flow| {
        flow.iterate(1, 9, "a/b").until(|_| flow.call("a/b", 1));
    });
    let from = line!();
    refused(&[from + 2, from + 3], &["can only select", "`after` takes"], |flow| {
        flow.call("a/b", (context() + 1).select("x"));
        flow.call("a/b", 1).after(context());
    });
    let from = line!();
    refused(&[from + 3], &["begins with `$`"], |flow| {
        let a = flow.call("a/b", 1);
        flow.call("a/c", json!({ "$eq": [a, 1] }));
    });
    let from = line!();
    let other = Flow::new("other");
    let strange = [other.call("a/b", 1), other.call("a/c", 2)];
    refused(&[from + 4, from + 5], &["another flow", "another flow"], |flow| {
        flow.call("a/b", &strange[1]);
        flow.map([1], |item: Expr| json!([item, strange[0].field("x")]));
    });
    let from = line!();
    refused(&[from + 2], &["no JSON"], |flow| {
        flow.call("a/c", std::collections::BTreeMap::from([((1, 2), 3)]));
    });
}

fn context() -> Expr {
    stride_flow::context("run")
}

/// Every case of the file is a program whose mistake is on the line with `# here`.
#[test]
fn python_tells_the_line_that_made_a_mistake() {
    let cases = std::fs::read_to_string(here("tests/flows/mistakes.txt")).unwrap();
    let folder = std::env::temp_dir().join(format!("stride-flow-mistakes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut count = 0;
    for case in cases.split("=== ").skip(1) {
        let (what, body) = case.split_once('\n').unwrap();
        let program = format!(
            "from stride_flow import *\nflow = Flow('wrong')\norder = flow.input(id=str, lines=[int])\n{body}flow.print()\n"
        );
        let line = 1 + program.lines().position(|line| line.ends_with("# here")).unwrap();
        let file = folder.join("flow.py");
        std::fs::write(&file, &program).unwrap();
        let error = python(&file).expect_err(&program);
        let last = error.trim().lines().last().unwrap();
        assert!(last.contains(&format!("flow.py:{line}: ")), "{what}: {error}");
        assert!(last.contains(what), "{what}: {error}");
        count += 1;
    }
    std::fs::remove_dir_all(folder).unwrap();
    assert!(count >= 20);
}
