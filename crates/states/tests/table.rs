//! `docs/states-language.md` is true: every row of its table has machines here that run as it says, or are refused.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
mod common;

use std::collections::BTreeSet;

use common::{arn, draft, run};
use serde_json::{Value, json};

enum Is {
    /// Runs with this input to this value.
    Gives(Value, Value, Value),
    /// Runs with this input and fails with this code.
    Fails(Value, Value, &'static str),
    /// Is refused at this place.
    Refused(Value, &'static str),
}
use Is::{Fails, Gives, Refused};

/// A machine of one state, which ends it unless it says otherwise.
fn one(mut state: Value) -> Value {
    if !["Succeed", "Fail", "Choice"].iter().any(|kind| state["Type"] == *kind) {
        state["End"] = json!(true);
    }
    let rest = json!({"Type": "Pass", "Result": "yes", "End": true});
    let no = json!({"Type": "Pass", "Result": "no", "End": true});
    match state["Type"] == "Choice" {
        true => json!({"StartAt": "S", "States": {"S": state, "Yes": rest, "No": no}}),
        false => json!({"StartAt": "S", "States": {"S": state}}),
    }
}

fn task(more: Value) -> Value {
    let mut state = json!({"Type": "Task", "Resource": arn("id")});
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one(state)
}

/// A `Choice` by this rule.
fn rule(mut rule: Value) -> Value {
    rule["Next"] = json!("Yes");
    one(json!({"Type": "Choice", "Choices": [rule], "Default": "No"}))
}

fn chosen(of: Value, input: Value) -> Is {
    Gives(rule(of), input, json!("yes"))
}

fn not_chosen(of: Value, input: Value) -> Is {
    Gives(rule(of), input, json!("no"))
}

/// What an intrinsic function gives of `{"a": [1, 2, 2], "t": "x,y", "n": 5}`.
fn computes(call: &str, value: Value) -> Is {
    let machine = one(json!({"Type": "Pass", "Parameters": {"v.$": call}}));
    Gives(machine, json!({"a": [1, 2, 2], "t": "x,y", "n": 5, "r": {"k": 1}}), json!({ "v": value }))
}

fn no_function(call: &str) -> Is {
    Refused(one(json!({"Type": "Pass", "Parameters": {"v.$": call}})), "/States/S/Parameters/v.$")
}

fn map(more: Value) -> Value {
    let mut state = json!({"Type": "Map", "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Task", "Resource": arn("count"), "End": true}}}});
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one(state)
}

fn invoke(parameters: Value) -> Value {
    task(json!({"Resource": "arn:aws:states:::lambda:invoke", "Parameters": parameters}))
}

fn retrying(errors: Value) -> Value {
    task(json!({"Retry": [{"ErrorEquals": errors, "MaxAttempts": 1}]}))
}

fn examples() -> Vec<(&'static str, Vec<Is>)> {
    let x = || json!({"x": 1});
    let sick = |errors: Value| {
        json!({"StartAt": "P", "States": {
            "P": {"Type": "Parallel", "Branches": [{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Mine", "Cause": "why"}}}],
                "Catch": [{"ErrorEquals": errors, "ResultPath": "$.e", "Next": "Q"}], "End": true},
            "Q": {"Type": "Pass", "End": true}}})
    };
    let caught = || json!({"x": 1, "e": {"Error": "Mine", "Cause": "why"}});
    vec![
        ("`Task`", vec![Gives(task(json!({})), x(), x())]),
        (
            "`Task` with `arn:aws:states:::lambda:invoke`",
            vec![
                Gives(
                    invoke(json!({"FunctionName": arn("count"), "Payload.$": "$.x"})),
                    x(),
                    json!({"Payload": 2, "StatusCode": 200}),
                ),
                Refused(
                    invoke(json!({"FunctionName": arn("count"), "Qualifier": "1"})),
                    "/States/S/Parameters/Qualifier",
                ),
                Refused(invoke(json!({"FunctionName": "none"})), "/States/S/Parameters/FunctionName"),
            ],
        ),
        (
            "`Task` with another service",
            vec![
                Gives(
                    task(json!({"Resource": "arn:aws:states:::sns:publish", "Parameters": {"m.$": "$.x"}})),
                    x(),
                    json!({"m": 1}),
                ),
                Refused(task(json!({"Resource": "arn:aws:states:::sqs:sendMessage"})), "/States/S/Resource"),
            ],
        ),
        (
            "`.waitForTaskToken` and activities",
            vec![
                Refused(
                    task(json!({"Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken"})),
                    "/States/S/Resource",
                ),
                Refused(task(json!({"Resource": "arn:aws:states:eu-west-1:1:activity:a"})), "/States/S/Resource"),
            ],
        ),
        (
            "`TimeoutSeconds`",
            vec![
                Gives(task(json!({"TimeoutSeconds": 5})), x(), x()),
                Fails(
                    json!({"TimeoutSeconds": 5, "StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 9, "End": true}}}),
                    x(),
                    "timeout",
                ),
            ],
        ),
        (
            "`TimeoutSecondsPath`, `HeartbeatSeconds`, `Credentials`",
            vec![
                Refused(task(json!({"TimeoutSecondsPath": "$.x"})), "/States/S/TimeoutSecondsPath"),
                Refused(task(json!({"HeartbeatSeconds": 1})), "/States/S/HeartbeatSeconds"),
                Refused(task(json!({"Credentials": {}})), "/States/S/Credentials"),
            ],
        ),
        (
            "`Pass`",
            vec![
                Gives(one(json!({"Type": "Pass"})), x(), x()),
                Gives(
                    one(json!({"Type": "Pass", "Result": {"$.a": "$.x"}, "ResultPath": "$.r"})),
                    x(),
                    json!({"x": 1, "r": {"$.a": "$.x"}}),
                ),
            ],
        ),
        (
            "`Wait`",
            vec![
                Gives(one(json!({"Type": "Wait", "Seconds": 3})), x(), x()),
                Gives(one(json!({"Type": "Wait", "SecondsPath": "$.x"})), x(), x()),
                Gives(one(json!({"Type": "Wait", "Timestamp": "1970-01-01T00:01:00Z"})), x(), x()),
                Gives(
                    one(json!({"Type": "Wait", "TimestampPath": "$.t", "OutputPath": "$.x"})),
                    json!({"t": "1970-01-01T00:01:00Z", "x": 1}),
                    json!(1),
                ),
            ],
        ),
        ("`Succeed`", vec![Gives(one(json!({"Type": "Succeed", "InputPath": "$.x"})), x(), json!(1))]),
        (
            "`Fail`",
            vec![
                Fails(one(json!({"Type": "Fail", "Error": "Mine", "Cause": "why"})), x(), "Mine"),
                Fails(
                    one(json!({"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}', $.e)"})),
                    json!({"e": "Ours"}),
                    "Ours",
                ),
            ],
        ),
        (
            "`Choice`",
            vec![
                chosen(json!({"Variable": "$.x", "NumericEquals": 1}), x()),
                not_chosen(json!({"Variable": "$.x", "NumericEquals": 2}), x()),
                Fails(
                    json!({"StartAt": "S", "States": {"S": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsNull": true, "Next": "T"}]}, "T": {"Type": "Succeed"}}}),
                    x(),
                    "no_case",
                ),
            ],
        ),
        (
            "`And`, `Or`, `Not`",
            vec![
                chosen(
                    json!({"And": [{"Variable": "$.x", "NumericEquals": 1}, {"Not": {"Variable": "$.x", "NumericEquals": 2}}]}),
                    x(),
                ),
                chosen(
                    json!({"Or": [{"Variable": "$.x", "NumericEquals": 2}, {"Variable": "$.x", "NumericEquals": 1}]}),
                    x(),
                ),
            ],
        ),
        (
            "`StringEquals` and the like",
            vec![
                chosen(json!({"Variable": "$.s", "StringGreaterThanEquals": "b"}), json!({"s": "c"})),
                not_chosen(json!({"Variable": "$.s", "StringLessThan": "b"}), json!({"s": 1})),
                chosen(json!({"Variable": "$.s", "StringEqualsPath": "$.t"}), json!({"s": "c", "t": "c"})),
                chosen(json!({"Variable": "$.s", "StringEquals": "$.t"}), json!({"s": "$.t"})),
                chosen(json!({"Variable": "$.x", "NumericLessThanEqualsPath": "$.y"}), json!({"x": 1, "y": 1.5})),
                chosen(json!({"Variable": "$.x", "BooleanEquals": false}), json!({"x": false})),
                chosen(
                    json!({"Variable": "$.t", "TimestampLessThan": "2026-01-01T00:00:00Z"}),
                    json!({"t": "2026-01-01T00:00:00+01:00"}),
                ),
            ],
        ),
        (
            "`StringMatches`",
            vec![
                chosen(json!({"Variable": "$.s", "StringMatches": "log-*.txt"}), json!({"s": "log-1.txt"})),
                not_chosen(json!({"Variable": "$.s", "StringMatches": "log-\\*"}), json!({"s": "log-1"})),
            ],
        ),
        (
            "`IsPresent`, `IsNull`, `IsString`, `IsNumeric`, `IsBoolean`",
            vec![
                chosen(json!({"Variable": "$.y", "IsPresent": false}), x()),
                chosen(json!({"Variable": "$.x", "IsNull": true}), json!({"x": null})),
                not_chosen(json!({"Variable": "$.x", "IsString": true}), x()),
                chosen(json!({"Variable": "$.x", "IsNumeric": true}), x()),
                chosen(json!({"Variable": "$.x", "IsBoolean": false}), x()),
            ],
        ),
        (
            "`IsTimestamp`",
            vec![Refused(rule(json!({"Variable": "$.x", "IsTimestamp": true})), "/States/S/Choices/0/IsTimestamp")],
        ),
        (
            "`Parallel`",
            vec![Gives(
                one(json!({"Type": "Parallel", "Parameters": {"y.$": "$.x"}, "Branches": [
                    {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}},
                    {"StartAt": "B", "States": {"B": {"Type": "Pass", "Result": 2, "End": true}}}
                ]})),
                x(),
                json!([{"y": 1}, 2]),
            )],
        ),
        (
            "`Map`, inline",
            vec![
                Gives(map(json!({"MaxConcurrency": 1})), json!([1, 2]), json!([2, 3])),
                Gives(
                    map(json!({"ItemsPath": "$.l", "Parameters": {"i.$": "$$.Map.Item.Index"}, "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}})),
                    json!({"l": [7, 8]}),
                    json!([{"i": 0}, {"i": 1}]),
                ),
            ],
        ),
        (
            "`Map`, distributed",
            vec![
                Gives(
                    map(json!({"ToleratedFailureCount": 1, "ItemProcessor": {
                        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "I",
                        "States": {"I": {"Type": "Pass", "InputPath": "$.a", "End": true}}}})),
                    json!([{"a": 1}, {"b": 1}]),
                    json!([1]),
                ),
                Refused(map(json!({"ItemReader": {}})), "/States/S/ItemReader"),
                Refused(map(json!({"ItemBatcher": {}})), "/States/S/ItemBatcher"),
                Refused(map(json!({"ResultWriter": {}})), "/States/S/ResultWriter"),
            ],
        ),
        (
            "Jumps back",
            vec![Gives(
                json!({"StartAt": "A", "States": {
                    "A": {"Type": "Task", "Resource": arn("count"), "Next": "B"},
                    "B": {"Type": "Choice", "Choices": [{"Variable": "$", "NumericLessThan": 5, "Next": "A"}], "Default": "C"},
                    "C": {"Type": "Succeed"}}}),
                json!(0),
                json!(5),
            )],
        ),
        (
            "`Retry`",
            vec![Gives(
                task(
                    json!({"Retry": [{"ErrorEquals": ["A"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1.5, "MaxDelaySeconds": 9, "JitterStrategy": "FULL"}]}),
                ),
                x(),
                x(),
            )],
        ),
        ("`Catch`", vec![Gives(sick(json!(["Mine"])), x(), caught()), Fails(sick(json!(["Other"])), x(), "Mine")]),
        (
            "Names of errors",
            vec![
                Gives(sick(json!(["States.ALL"])), x(), caught()),
                Gives(sick(json!(["States.TaskFailed"])), x(), caught()),
                Fails(
                    sick(json!(["States.Timeout", "States.NoChoiceMatched", "States.DataLimitExceeded"])),
                    x(),
                    "Mine",
                ),
                Gives(
                    retrying(json!([
                        "States.ParameterPathFailure",
                        "States.ResultPathMatchFailure",
                        "States.IntrinsicFailure"
                    ])),
                    x(),
                    x(),
                ),
                Refused(retrying(json!(["A", "States.Permissions"])), "/States/S/Retry/0/ErrorEquals/1"),
            ],
        ),
        (
            "`InputPath`, `OutputPath`",
            vec![
                Gives(task(json!({"InputPath": "$.x", "OutputPath": "$.y"})), json!({"x": {"y": 1}}), json!(1)),
                Gives(task(json!({"InputPath": null})), x(), json!({})),
            ],
        ),
        (
            "`Parameters`, `ResultSelector`",
            vec![Gives(
                task(
                    json!({"Parameters": {"a": [{"b.$": "$.x"}], "c": "$.x"}, "ResultSelector": {"d.$": "$.a[0].b", "e.$": "$.c"}}),
                ),
                x(),
                json!({"d": 1, "e": "$.x"}),
            )],
        ),
        (
            "`ResultPath`",
            vec![
                Gives(task(json!({"Parameters": {"y": 2}, "ResultPath": null})), x(), x()),
                Gives(task(json!({"Parameters": {"y": 2}, "ResultPath": "$"})), x(), json!({"y": 2})),
                Gives(
                    task(json!({"Parameters": {"y": 2}, "ResultPath": "$.a.b"})),
                    x(),
                    json!({"x": 1, "a": {"b": {"y": 2}}}),
                ),
                Refused(task(json!({"ResultPath": "$.a[0]"})), "/States/S/ResultPath"),
            ],
        ),
        (
            "JSONPath",
            vec![Gives(
                one(
                    json!({"Type": "Pass", "Parameters": {"a.$": "$.l[?(@.n > 1)].n", "b.$": "$.l[-1].n", "c.$": "$..n", "d.$": "$['l'][0]"}}),
                ),
                json!({"l": [{"n": 1}, {"n": 2}]}),
                json!({"a": [2], "b": 2, "c": [1, 2], "d": {"n": 1}}),
            )],
        ),
        (
            "`$$`",
            vec![
                Gives(
                    one(
                        json!({"Type": "Pass", "Parameters": {"a.$": "$$.Execution.Id", "b.$": "$$.Execution.Input.x", "c.$": "$$.StateMachine.Name", "d.$": "$$.State.Name", "e.$": "$$.State.RetryCount", "f.$": "$$.Execution.Name"}}),
                    ),
                    x(),
                    json!({"a": "run-1", "b": 1, "c": "machine", "d": "S", "e": 0, "f": "run-1"}),
                ),
                Gives(
                    map(
                        json!({"ItemSelector": {"v.$": "$$.Map.Item.Value"}, "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}}),
                    ),
                    json!([1]),
                    json!([{"v": 1}]),
                ),
                no_function("$$.Task.Token"),
                no_function("$$.Execution.StartTime"),
            ],
        ),
        (
            "`States.Format`",
            vec![
                computes("States.Format('it\\'s {} of {}', $.n, States.Format('{}', $.t))", json!("it's 5 of x,y")),
                no_function("States.Format('{x} {}', $.n)"),
                no_function("States.Format('\\{\\} {}', $.n)"),
            ],
        ),
        (
            "`States.StringToJson`, `States.JsonToString`",
            vec![computes("States.StringToJson(States.JsonToString($.r))", json!({"k": 1}))],
        ),
        (
            "`States.Array` and the like",
            vec![
                computes("States.Array($.n, 'a, b)', null, -1.5)", json!([5, "a, b)", null, -1.5])),
                computes("States.ArrayPartition($.a, 2)", json!([[1, 2], [2]])),
                computes("States.ArrayContains($.a, 2)", json!(true)),
                computes("States.ArrayRange(1, 9, 4)", json!([1, 5, 9])),
                computes("States.ArrayGetItem($.a[1:], 0)", json!(2)),
                computes("States.ArrayLength($.a)", json!(3)),
                computes("States.ArrayUnique($.a)", json!([1, 2])),
            ],
        ),
        (
            "`States.Base64Encode`, `States.Base64Decode`",
            vec![
                computes("States.Base64Encode('hi')", json!("aGk=")),
                computes("States.Base64Decode('aGk=')", json!("hi")),
            ],
        ),
        (
            "`States.JsonMerge`",
            vec![
                computes("States.JsonMerge($.r, States.StringToJson('{\"k\":2}'), false)", json!({"k": 2})),
                no_function("States.JsonMerge($.r, $.r, true)"),
            ],
        ),
        (
            "`States.MathAdd`, `States.UUID`",
            vec![
                computes("States.MathAdd($.n, -1)", json!(4)),
                Gives(
                    one(
                        json!({"Type": "Pass", "Parameters": {"v.$": "States.Array(States.UUID())"}, "OutputPath": "$.v[1:]"}),
                    ),
                    x(),
                    json!([]),
                ),
            ],
        ),
        (
            "`States.StringSplit`",
            vec![
                computes("States.StringSplit($.t, ',')", json!(["x", "y"])),
                no_function("States.StringSplit($.t, ', ')"),
            ],
        ),
        (
            "`States.Hash`, `States.MathRandom`",
            vec![no_function("States.Hash($.t, 'MD5')"), no_function("States.MathRandom(1, 9)")],
        ),
        (
            "JSONata, `Assign`, `Output`, `Arguments`",
            vec![
                Refused(
                    json!({"QueryLanguage": "JSONata", "StartAt": "S", "States": {"S": {"Type": "Succeed"}}}),
                    "/QueryLanguage",
                ),
                Refused(task(json!({"QueryLanguage": "JSONata"})), "/States/S/QueryLanguage"),
                Refused(task(json!({"Assign": {}})), "/States/S/Assign"),
                Refused(task(json!({"Output": {}})), "/States/S/Output"),
                Refused(task(json!({"Arguments": {}})), "/States/S/Arguments"),
            ],
        ),
        (
            "`Comment`, `Version`",
            vec![Gives(
                json!({"Comment": "c", "Version": "1.0", "StartAt": "S", "States": {"S": {"Type": "Succeed", "Comment": "c"}}}),
                x(),
                x(),
            )],
        ),
    ]
}

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
    let page = include_str!("../../../docs/states-language.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| what "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let examples = examples();
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
