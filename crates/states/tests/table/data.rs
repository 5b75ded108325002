//! Rows on errors, on data that goes in and out, and on functions.

use serde_json::{Value, json};

use crate::{
    common::arn,
    machines::{Fails, Gives, Is, Refused, computes, map, no_function, one, retrying, task},
};

pub(crate) fn rows() -> Vec<(&'static str, Vec<Is>)> {
    let x = || json!({"x": 1});
    let sick = |errors: Value| {
        json!({"StartAt": "P", "States": {
            "P": {"Type": "Parallel", "Branches": [{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Mine", "Cause": "why"}}}],
                "Catch": [{"ErrorEquals": errors, "ResultPath": "$.e", "Next": "Q"}], "End": true},
            "Q": {"Type": "Pass", "End": true}}})
    };
    let caught = || json!({"x": 1, "e": {"Error": "Mine", "Cause": "why"}});
    vec![
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
                computes("States.ArrayLength(States.StringSplit($$.Execution.StartTime, 'T'))", json!(2)),
                computes("States.ArrayLength(States.StringSplit($$.State.EnteredTime, 'Z'))", json!(2)),
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
            vec![
                computes("States.Hash('abc', 'MD5')", json!("900150983cd24fb0d6963f7d28e17f72")),
                computes(
                    "States.Hash('abc', 'SHA-256')",
                    json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
                ),
                computes("States.MathRandom($.n, 6)", json!(5)),
                computes("States.MathRandom(7, 8, 42)", json!(7)),
                no_function("States.MathRandom(1)"),
            ],
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
