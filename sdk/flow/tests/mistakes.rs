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

/// Runs programs one after the other and prints what each fails with, or nothing, a line each.
const RUN_ALL: &str = "
import runpy, sys
for program in sys.argv[1:]:
    try:
        runpy.run_path(program)
        print()
    except BaseException as e:
        print(e)
";

/// Every case of the file is a program whose mistake is on the line with `# here`.
#[test]
fn python_tells_the_line_that_made_a_mistake() {
    let cases = std::fs::read_to_string(here("tests/flows/mistakes.txt")).unwrap();
    let folder = std::env::temp_dir().join(format!("stride-flow-mistakes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut files, mut expected) = (Vec::new(), Vec::new());
    for (at, case) in cases.split("=== ").skip(1).enumerate() {
        let (what, body) = case.split_once('\n').unwrap();
        let program = format!(
            "from stride_flow import *\nflow = Flow('wrong')\norder = flow.input(id=str, lines=[int])\n{body}flow.draft()\n"
        );
        let line = 1 + program.lines().position(|line| line.ends_with("# here")).unwrap();
        let name = format!("flow-{at}.py");
        files.push(folder.join(&name));
        std::fs::write(&files[at], program).unwrap();
        expected.push((format!("{name}:{line}: "), what));
    }
    let run = folder.join("run_all.py");
    std::fs::write(&run, RUN_ALL).unwrap();
    let told = python(&run, &files).unwrap();
    assert_eq!(told.lines().count(), expected.len(), "{told}");
    for (told, (place, what)) in told.lines().zip(&expected) {
        assert!(told.contains(place) && told.contains(what), "{what}: {told}");
    }
    std::fs::remove_dir_all(folder).unwrap();
    assert!(expected.len() >= 20);
}

#[test]
fn a_program_with_a_mistake_prints_no_flow_and_says_so() {
    let file = std::env::temp_dir().join(format!("stride-flow-mistake-{}.py", std::process::id()));
    let program =
        "from stride_flow import Flow\nflow = Flow('wrong')\nflow.call('a/b', 1, name='not a name')\nflow.print()\n";
    std::fs::write(&file, program).unwrap();
    let error = python(&file, &[]).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert!(error.contains(".py:3: `not a name` is no name of a step"), "{error}");
}
