//! Machines as people have them are read, checked, planned and run.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
mod common;

use common::{arn, draft, run};
use serde_json::{Value, json};

/// An order: validated, priced line by line, paid with retries, then shipped and told of side by side. What fails is refunded.
fn order() -> Value {
    json!({
        "Comment": "Take an order",
        "StartAt": "Is it valid?",
        "States": {
            "Is it valid?": {
                "Type": "Choice",
                "Choices": [
                    {"Not": {"Variable": "$.lines", "IsPresent": true}, "Next": "Invalid"},
                    {"And": [{"Variable": "$.total", "IsPresent": true}, {"Variable": "$.total", "NumericLessThanEquals": 0}], "Next": "Nothing to do"}
                ],
                "Default": "Price"
            },
            "Invalid": {"Type": "Fail", "Error": "InvalidOrder", "Cause": "an order has lines"},
            "Nothing to do": {"Type": "Succeed", "OutputPath": "$.id"},
            "Price": {
                "Type": "Map",
                "ItemsPath": "$.lines",
                "ItemSelector": {"count.$": "$$.Map.Item.Value.n", "index.$": "$$.Map.Item.Index", "order.$": "$.id"},
                "MaxConcurrency": 5,
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "INLINE"},
                    "StartAt": "Price a line",
                    "States": {"Price a line": {"Type": "Task", "Resource": arn("price"), "End": true}}
                },
                "ResultPath": "$.prices",
                "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 1}],
                "Next": "Pay"
            },
            "Pay": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": {"FunctionName": arn("pay"), "Payload": {"order.$": "$.id", "text.$": "States.Format('{} lines', States.ArrayLength($.lines))", "plan": "$basic"}},
                "ResultSelector": {"receipt.$": "$.Payload.receipt"},
                "ResultPath": "$.payment",
                "TimeoutSeconds": 30,
                "Retry": [{"ErrorEquals": ["States.TaskFailed"], "IntervalSeconds": 2, "MaxAttempts": 2, "BackoffRate": 2.0}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Refund"}],
                "Next": "Ship and tell"
            },
            "Refund": {"Type": "Task", "Resource": arn("refund"), "ResultPath": null, "Next": "Not paid"},
            "Not paid": {"Type": "Fail", "ErrorPath": "$.error.Error", "CausePath": "$.id"},
            "Ship and tell": {
                "Type": "Parallel",
                "Branches": [
                    {"StartAt": "Ship", "States": {"Ship": {"Type": "Task", "Resource": arn("ship"), "InputPath": "$.payment", "End": true}}},
                    {"StartAt": "Tell", "States": {"Tell": {"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "Parameters": {"Message.$": "$.id"}, "End": true}}}
                ],
                "ResultPath": "$.done",
                "Next": "Finish"
            },
            "Finish": {"Type": "Pass", "Parameters": {"id.$": "$.id", "prices.$": "$.prices", "done.$": "$.done"}, "End": true}
        }
    })
}

fn input() -> Value {
    json!({"id": "o1", "lines": [{"n": 1}, {"n": 2}]})
}

#[test]
fn an_order_process_runs_as_it_did() {
    let done = run(&order(), input(), &[]);
    let expected = json!({"id": "o1", "prices": [100, 200], "done": [{"receipt": "r-o1"}, {"Message": "o1"}]});
    assert_eq!(done.result, Some(Ok(expected)));
    let paid = done.calls.iter().find(|(name, _)| name == "shop/pay").unwrap();
    assert_eq!(paid.1, json!({"order": "o1", "text": "2 lines", "plan": "$basic"}));
}

#[test]
fn its_choices_end_it_early() {
    assert_eq!(run(&order(), json!({"id": "o1"}), &[]).result, Some(Err("InvalidOrder: an order has lines".into())));
    let nothing = run(&order(), json!({"id": "o1", "lines": [], "total": 0}), &[]);
    assert_eq!((nothing.result, nothing.calls.len()), (Some(Ok(json!("o1"))), 0));
}

#[test]
fn its_retries_go_on_and_its_catch_refunds() {
    let tried = run(&order(), input(), &[("pay", 2, "Declined")]);
    assert!(tried.result.unwrap().is_ok());
    assert_eq!(tried.waited_ms, 2_000 + 4_000);
    let failed = run(&order(), input(), &[("pay", 3, "Declined")]);
    assert_eq!(failed.result, Some(Err("Declined: o1".into())));
    assert_eq!(
        (failed.calls.len(), failed.calls.last().unwrap().1["error"]["Error"].clone()),
        (2 + 3 + 1, json!("Declined"))
    );
    let late = run(&order(), input(), &[("pay", 1, "timeout")]);
    assert_eq!(late.result, Some(Err("States.Timeout: o1".into())), "`States.TaskFailed` is no timeout");
}

#[test]
fn a_map_is_tried_again_as_a_whole() {
    let once = run(&order(), input(), &[("price", 1, "Busy")]);
    assert!(once.result.unwrap().is_ok());
    assert!(once.calls.iter().filter(|(name, _)| name == "shop/price").count() > 2);
    let twice = run(&order(), input(), &[("price", 4, "Busy")]);
    assert!(twice.result.unwrap().is_err());
}

/// Asks until something is ready, with a pause; three times at most.
fn polling() -> Value {
    json!({
        "StartAt": "Begin",
        "States": {
            "Begin": {"Type": "Pass", "Result": {"tries": 0}, "Next": "Count"},
            "Count": {"Type": "Pass", "Parameters": {"tries.$": "States.MathAdd($.tries, 1)"}, "Next": "Check"},
            "Check": {"Type": "Task", "Resource": arn("check"), "ResultPath": "$.check", "Catch": [{"ErrorEquals": ["Busy"], "Next": "Pause", "ResultPath": null}], "Next": "Ready?"},
            "Ready?": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.check.state", "StringEquals": "ready", "Next": "Use"},
                    {"Variable": "$.tries", "NumericGreaterThan": 5, "Next": "Give up"}
                ],
                "Default": "Pause"
            },
            "Pause": {"Type": "Wait", "Seconds": 10, "Next": "Count"},
            "Use": {"Type": "Task", "Resource": arn("id"), "End": true},
            "Give up": {"Type": "Fail", "Error": "Never", "Cause": "it was never ready"}
        }
    })
}

#[test]
fn a_loop_with_a_pause_runs_as_an_iterate() {
    let done = run(&polling(), json!(null), &[]);
    assert_eq!(done.result, Some(Ok(json!({"tries": 3, "check": {"state": "ready"}}))));
    assert_eq!((done.called("check"), done.waited_ms), (3, 20_000));
    let caught = run(&polling(), json!(null), &[("check", 1, "Busy")]);
    assert_eq!((caught.called("check"), caught.waited_ms), (3, 20_000));
    let late = run(&polling(), json!(null), &[("check", 3, "Busy")]);
    assert_eq!(late.result, Some(Err("Never: it was never ready".into())));
    let failed = run(&polling(), json!(null), &[("check", 1, "Broken")]);
    assert_eq!(failed.result, Some(Err("Broken: not now".into())));
}

#[test]
fn a_chain_of_states_is_a_chain_of_nodes() {
    let machine = json!({"StartAt": "A b", "States": {
        "A b": {"Type": "Task", "Resource": arn("count"), "TimeoutSeconds": 7, "Retry": [{"ErrorEquals": ["X"], "MaxAttempts": 1, "JitterStrategy": "FULL"}], "Next": "C"},
        "C": {"Type": "Task", "Resource": arn("count"), "Next": "D"},
        "D": {"Type": "Wait", "Seconds": 1, "End": true}
    }});
    let draft = serde_json::to_value(draft(&machine).unwrap()).unwrap();
    let expected = json!({"version": 1, "name": "machine", "graph": {"output": "D", "nodes": {
        "A-b": {"title": "A b", "do": {"call": {"function": "shop/count"}}, "in": "input", "timeout_ms": 7000, "retry": [{"errors": ["X"], "retries": 1, "backoff_ms": 1000, "rate": 2.0, "jitter": true}]},
        "C": {"title": "C", "do": {"call": {"function": "shop/count"}}, "in": "A-b"},
        "D": {"title": "D", "do": {"wait": {"timer": {"ms": 1000}}}, "in": "C"}
    }}});
    assert_eq!(draft, expected);
    assert_eq!(run(&machine, json!(1), &[]).result, Some(Ok(json!(3))));
}

#[test]
fn ways_that_part_come_together_or_end() {
    let machine = json!({"StartAt": "Which", "States": {
        "Which": {"Type": "Choice", "Choices": [
            {"Variable": "$", "NumericEquals": 1, "Next": "One"},
            {"Variable": "$", "NumericEquals": 2, "Next": "Two"},
            {"Variable": "$", "NumericEquals": 3, "Next": "Last"}
        ]},
        "One": {"Type": "Task", "Resource": arn("count"), "Next": "Last"},
        "Two": {"Type": "Pass", "Result": "two", "End": true},
        "Last": {"Type": "Task", "Resource": arn("count"), "Catch": [{"ErrorEquals": ["Sad"], "Next": "Two"}], "End": true}
    }});
    let result = |input: Value, sick: &[(&str, usize, &str)]| run(&machine, input, sick).result.unwrap();
    assert_eq!(result(json!(1), &[]), Ok(json!(3)));
    assert_eq!(result(json!(2), &[]), Ok(json!("two")));
    assert_eq!(result(json!(3), &[]), Ok(json!(4)));
    assert_eq!(result(json!(3), &[("count", 1, "Sad")]), Ok(json!("two")));
    assert!(result(json!(4), &[]).unwrap_err().starts_with("no_case"));
    assert!(result(json!("1"), &[]).unwrap_err().starts_with("no_case"), "a text is no number");
}

#[test]
fn a_loop_has_several_ways_in_and_out() {
    let machine = json!({"StartAt": "In", "States": {
        "In": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 0, "Next": "Up"}], "Default": "Look"},
        "Up": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": "Look"},
        "Look": {"Type": "Choice", "Choices": [
            {"Variable": "$.n", "NumericGreaterThan": 90, "Next": "High"},
            {"Variable": "$.n", "NumericEquals": 7, "Next": "Seven"}
        ], "Default": "Up"},
        "High": {"Type": "Pass", "Result": "high", "Next": "End"},
        "Seven": {"Type": "Pass", "Result": "seven", "Next": "End"},
        "End": {"Type": "Succeed"}
    }});
    assert_eq!(run(&machine, json!({"n": 0}), &[]).result, Some(Ok(json!("seven"))));
    assert_eq!(run(&machine, json!({"n": 7}), &[]).result, Some(Ok(json!("seven"))));
    assert_eq!(run(&machine, json!({"n": 8}), &[]).result, Some(Ok(json!("high"))));
}

#[test]
fn the_end_of_a_loop_within_a_branch_ends_the_branch_and_no_more() {
    let machine = json!({"StartAt": "P", "States": {
        "P": {"Type": "Parallel", "Next": "Q", "Branches": [{"StartAt": "Try", "States": {
            "Try": {"Type": "Task", "Resource": arn("count"), "Catch": [{"ErrorEquals": ["Busy"], "ResultPath": null, "Next": "Pause"}], "End": true},
            "Pause": {"Type": "Wait", "Seconds": 5, "Next": "Try"}
        }}]},
        "Q": {"Type": "Pass", "Parameters": {"all.$": "$"}, "End": true}
    }});
    let done = run(&machine, json!(1), &[("count", 2, "Busy")]);
    assert_eq!((done.result, done.waited_ms), (Some(Ok(json!({"all": [2]}))), 10_000));
}

#[test]
fn fields_that_are_not_there_may_be_asked_for() {
    let machine = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Result": {"a": 1}, "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"And": [{"Variable": "$.b", "IsPresent": true}, {"Variable": "$.b", "NumericEquals": 1}], "Next": "C"}], "Default": "D"},
        "C": {"Type": "Succeed"},
        "D": {"Type": "Pass", "Result": "no", "End": true}
    }});
    assert_eq!(run(&machine, json!(null), &[]).result, Some(Ok(json!("no"))));
}

/// All places in a value, as JSON pointers.
fn places(at: &str, value: &Value, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let fields = value.as_object().into_iter().flatten();
    fields
        .for_each(|(name, value)| places(&format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), value, all));
    let items = value.as_array().into_iter().flatten().enumerate();
    items.for_each(|(index, value)| places(&format!("{at}/{index}"), value, all));
}

#[test]
fn whatever_stands_in_a_machine_it_is_refused_or_becomes_a_flow_that_is_accepted() {
    let mut accepted = 0;
    for machine in [order(), polling()] {
        let mut all = Vec::new();
        places("", &machine, &mut all);
        for at in &all {
            for other in [json!(null), json!(5), json!(""), json!("$"), json!([]), json!({})] {
                let mut changed = machine.clone();
                *changed.pointer_mut(at).unwrap() = other;
                let Ok(draft) = draft(&changed) else { continue };
                match common::accepted(draft) {
                    Ok(()) => accepted += 1,
                    // What is read from where it is no more is found by types.
                    Err(problems)
                        if problems.iter().all(|p| p.what.contains("no field") || p.what.contains("expected")) => {}
                    Err(problems) => panic!("{at}: {problems}\n{changed}"),
                }
            }
        }
    }
    assert!(accepted > 20);
}
