//! Rows on states: what each kind does, and which of its fields are covered.

use serde_json::json;

use crate::{
    common::arn,
    machines::{Fails, Gives, Is, Refused, chosen, invoke, map, not_chosen, one, task},
};

pub(crate) fn rows() -> Vec<(&'static str, Vec<Is>)> {
    let x = || json!({"x": 1});
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
            vec![
                chosen(json!({"Variable": "$.x", "IsTimestamp": true}), json!({"x": "2030-01-31T12:00:00Z"})),
                not_chosen(json!({"Variable": "$.x", "IsTimestamp": true}), json!({"x": "tomorrow"})),
                not_chosen(json!({"Variable": "$.x", "IsTimestamp": true}), x()),
            ],
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
    ]
}
