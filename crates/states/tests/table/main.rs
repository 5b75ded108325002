//! `docs/states-language.md` is true: every row of its table has machines here that run as it says, or are refused.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]

#[path = "../common/mod.rs"]
mod common;
mod data;
mod machines;
mod states;

use std::collections::BTreeSet;

use common::{draft, run};
use machines::{Fails, Gives, Is, Refused, rule, task};
use serde_json::{Value, json};

/// Whether the table says that this is so.
fn holds(what: &str, is: &Is) {
    match is {
        Gives(machine, input, expected) => {
            assert_eq!(run(machine, input.clone(), &[]).result, Some(Ok(expected.clone())), "{what}: {machine}");
        }
        Fails(machine, input, code) => {
            let error = run(machine, input.clone(), &[]).result.unwrap().expect_err(what);
            assert_eq!(error.split(':').next(), Some(*code), "{what}: {machine}");
        }
        Refused(machine, at) => {
            let problems = draft(machine).expect_err(what);
            let places: Vec<&str> = problems.iter().map(|problem| problem.at.as_str()).collect();
            assert_eq!(places, [*at], "{what}: {problems}");
            assert!(problems.iter().all(|problem| !problem.what.is_empty() && !problem.remedy.is_empty()));
        }
    }
}

#[test]
fn every_row_of_the_table_is_true() {
    let page = include_str!("../../../../docs/states-language.md").split("## JSONata").next().unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| what "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let examples: Vec<_> = states::rows().into_iter().chain(data::rows()).collect();
    let named = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(named(rows.iter().map(|row| row[0]).collect()), named(examples.iter().map(|(what, _)| *what).collect()));
    for (what, all) in &examples {
        let row = rows.iter().find(|row| row[0] == *what).unwrap();
        let refused = all.iter().filter(|is| matches!(is, Refused(..))).count();
        let says = match (refused, all.len() - refused) {
            (0, _) => "yes",
            (_, 0) => "no",
            _ => "partly",
        };
        assert_eq!(row[1], says, "{what}");
        all.iter().for_each(|is| holds(what, is));
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let machine = |states: Value| json!({"StartAt": "S", "States": states});
    let cases = [
        (json!({}), ""),
        (json!([]), ""),
        (json!({"StartAt": "T", "States": {"S": {"Type": "Succeed"}}}), "/StartAt"),
        (machine(json!({"S": {"Type": "Succeed"}, "T~/": {"Type": "Succeed"}})), "/States/T~0~1"),
        (machine(json!({"S": {"Type": "Pass", "Next": "T"}})), "/States/S/Next"),
        (machine(json!({"S": {"Type": "Pass"}})), "/States/S"),
        (machine(json!({"S": {"Type": "Pass", "End": true, "Next": "S"}})), "/States/S"),
        (machine(json!({"S": {"Type": "Sleep", "End": true}})), "/States/S/Type"),
        (machine(json!({"S": {"Type": "Succeed", "Next": "S"}})), "/States/S/Next"),
        (machine(json!({"S": {"Type": "Wait", "End": true}})), "/States/S"),
        (machine(json!({"S": {"Type": "Pass", "End": true, "InputPath": "x"}})), "/States/S/InputPath"),
        (machine(json!({"S": {"Type": "Pass", "End": true, "Result": 1, "Parameters": {}}})), "/States/S/Parameters"),
        (
            machine(json!({"S": {"Type": "Pass", "End": true, "Parameters": {"a.$": "States.Array("}}})),
            "/States/S/Parameters/a.$",
        ),
        (rule(json!({"Variable": "$.x", "StringEquals": 1})), "/States/S/Choices/0/StringEquals"),
        (rule(json!({"StringEquals": "a"})), "/States/S/Choices/0"),
        (task(json!({"Retry": [{"ErrorEquals": ["A"], "MaxAttempts": 1000}]})), "/States/S/Retry/0/MaxAttempts"),
        (task(json!({"Resource": "unknown"})), "/States/S/Resource"),
    ];
    for (machine, at) in cases {
        let problems = draft(&machine).expect_err(&machine.to_string());
        assert!(problems.iter().any(|problem| problem.at == at), "{machine}: {problems}");
    }
    assert!(stride_states::read(b"{", &common::resources()).is_err());
}

#[test]
fn all_problems_are_told_at_once() {
    let machine = json!({"StartAt": "A", "States": {
        "A": {"Type": "Task", "Resource": "none", "Next": "B"},
        "B": {"Type": "Wait", "Seconds": "1", "HeartbeatSeconds": 1, "End": true}
    }});
    let problems = draft(&machine).unwrap_err();
    let places: Vec<&str> = problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(places, ["/States/A/Resource", "/States/B/HeartbeatSeconds", "/States/B/Seconds"]);
}

#[test]
fn ways_that_part_again_and_again_are_refused_and_not_unfolded() {
    let mut states = serde_json::Map::new();
    for at in 0..40 {
        let (next, other) = (format!("S{}", at + 1), format!("S{}", at + 2));
        let choice =
            json!({"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": true, "Next": other}], "Default": next});
        states.insert(format!("S{at}"), choice);
    }
    states.insert("S40".into(), json!({"Type": "Pass", "Result": 1, "End": true}));
    states.insert("S41".into(), json!({"Type": "Pass", "Result": 2, "End": true}));
    let problems = draft(&json!({"StartAt": "S0", "States": states})).unwrap_err();
    assert!(problems.to_string().contains("come together"), "{problems}");
}
