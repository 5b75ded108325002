//! Machines as they are needed to show one thing.

use serde_json::{Value, json};

use crate::common::arn;

pub(crate) enum Is {
    /// Runs with this input to this value.
    Gives(Value, Value, Value),
    /// Runs with this input and fails with this code.
    Fails(Value, Value, &'static str),
    /// Is refused at this place.
    Refused(Value, &'static str),
}
pub(crate) use Is::{Fails, Gives, Refused};

/// A machine of one state, which ends it unless it says otherwise.
pub(crate) fn one(mut state: Value) -> Value {
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

pub(crate) fn task(more: Value) -> Value {
    let mut state = json!({"Type": "Task", "Resource": arn("id")});
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one(state)
}

/// A `Choice` by this rule.
pub(crate) fn rule(mut rule: Value) -> Value {
    rule["Next"] = json!("Yes");
    one(json!({"Type": "Choice", "Choices": [rule], "Default": "No"}))
}

pub(crate) fn chosen(of: Value, input: Value) -> Is {
    Gives(rule(of), input, json!("yes"))
}

pub(crate) fn not_chosen(of: Value, input: Value) -> Is {
    Gives(rule(of), input, json!("no"))
}

/// What an intrinsic function gives of `{"a": [1, 2, 2], "t": "x,y", "n": 5}`.
pub(crate) fn computes(call: &str, value: Value) -> Is {
    let machine = one(json!({"Type": "Pass", "Parameters": {"v.$": call}}));
    Gives(machine, json!({"a": [1, 2, 2], "t": "x,y", "n": 5, "r": {"k": 1}}), json!({ "v": value }))
}

pub(crate) fn no_function(call: &str) -> Is {
    Refused(one(json!({"Type": "Pass", "Parameters": {"v.$": call}})), "/States/S/Parameters/v.$")
}

pub(crate) fn map(more: Value) -> Value {
    let mut state = json!({"Type": "Map", "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Task", "Resource": arn("count"), "End": true}}}});
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one(state)
}

pub(crate) fn invoke(parameters: Value) -> Value {
    task(json!({"Resource": "arn:aws:states:::lambda:invoke", "Parameters": parameters}))
}

pub(crate) fn retrying(errors: Value) -> Value {
    task(json!({"Retry": [{"ErrorEquals": errors, "MaxAttempts": 1}]}))
}
