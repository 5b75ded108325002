//! The rules of a `Choice`, as conditions.

use serde_json::{Value, json};

use crate::reader::{Fields, Reader};

const KINDS: [&str; 4] = ["String", "Numeric", "Boolean", "Timestamp"];
const COMPARISONS: [(&str, &str); 5] = [
    ("Equals", "$eq"),
    ("LessThanEquals", "$le"),
    ("LessThan", "$lt"),
    ("GreaterThanEquals", "$ge"),
    ("GreaterThan", "$gt"),
];

impl Reader<'_> {
    /// Whether this rule holds, as a template of flows.
    pub(crate) fn rule(&mut self, fields: &Fields<'_>, state: &str, outer: &[&str]) -> Value {
        let operators: Vec<&String> =
            fields.map.keys().filter(|name| *name != "Variable" && !outer.contains(&name.as_str())).collect();
        let [operator] = operators.as_slice() else {
            self.problem(&fields.place, format!("a rule has one operator, this has {}", operators.len()), "write one");
            return Value::Null;
        };
        let (at, operand) = (fields.at(operator), &fields.map[operator.as_str()]);
        match operator.as_str() {
            "And" => json!({ "$and": self.rules(&at, operand, state) }),
            "Or" => json!({ "$or": self.rules(&at, operand, state) }),
            "Not" => {
                let inner = self.fields(operand, at);
                json!({ "$not": [inner.map(|inner| self.rule(&inner, state, &[]))] })
            }
            operator => {
                let Some(variable) = self.needed_text(fields, "Variable") else {
                    return Value::Null;
                };
                let path = self.path(&fields.at("Variable"), variable, state);
                if operator == "IsPresent" {
                    return self.flagged(&at, json!({ "$exists": [path] }), operand);
                }
                // It may be missing where another rule has asked for it before, so checks must not look for it. If it is missing here, this fails as a path does.
                let variable = json!({ "$default": [path, path] });
                self.comparison(&at, operator, &variable, operand, state)
            }
        }
    }

    fn rules(&mut self, at: &str, rules: &Value, state: &str) -> Vec<Value> {
        let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
        if rules.is_empty() {
            self.problem(at, "expected a list of rules", "write at least one");
        }
        let rules = rules.iter().enumerate();
        rules
            .filter_map(|(index, rule)| {
                let fields = self.fields(rule, format!("{at}/{index}"))?;
                Some(self.rule(&fields, state, &[]))
            })
            .collect()
    }

    fn comparison(&mut self, at: &str, operator: &str, variable: &Value, operand: &Value, state: &str) -> Value {
        let tested = match operator {
            "IsNull" => Some(json!({ "$eq": [variable, null] })),
            "IsString" => Some(json!({ "$is": [variable, "string"] })),
            "IsNumeric" => Some(json!({ "$is": [variable, "number"] })),
            "IsTimestamp" => Some(json!({ "$is_time": [variable] })),
            "IsBoolean" => Some(json!({ "$is": [variable, "bool"] })),
            _ => None,
        };
        if let Some(test) = tested {
            return self.flagged(at, test, operand);
        }
        let (plain, is_path) = operator.strip_suffix("Path").map_or((operator, false), |plain| (plain, true));
        let found = KINDS.iter().find_map(|kind| Some((*kind, plain.strip_prefix(kind)?)));
        let compared = found.and_then(|(kind, how)| match (kind, how, is_path) {
            ("String", "Matches", false) => Some((kind, "$matches")),
            ("Boolean", how, _) if how != "Equals" => None,
            _ => COMPARISONS.iter().find(|(theirs, _)| *theirs == how).map(|(_, ours)| (kind, *ours)),
        });
        let Some((kind, function)) = compared else {
            self.problem(
                at,
                format!("`{operator}` is not covered"),
                "compare in another way, or let a function decide",
            );
            return Value::Null;
        };
        let is_right = match kind {
            "Numeric" => operand.is_number(),
            "Boolean" => operand.is_boolean(),
            _ => operand.is_string(),
        };
        let operand = match operand {
            Value::String(path) if is_path => self.path(at, path, state),
            operand if is_right && !is_path => json!({ "$literal": operand }),
            _ => {
                self.problem(at, "this is not of the kind that is compared", "correct it");
                return Value::Null;
            }
        };
        compare(kind, function, variable, &operand)
    }

    /// A test that has to be true, or one that has to be false.
    fn flagged(&mut self, at: &str, test: Value, wanted: &Value) -> Value {
        match wanted.as_bool() {
            Some(true) => test,
            Some(false) => json!({ "$not": [test] }),
            None => {
                self.problem(at, "expected true or false", "write one of them");
                Value::Null
            }
        }
    }
}

/// Values of another kind compare as false, as there.
fn compare(kind: &str, function: &str, variable: &Value, operand: &Value) -> Value {
    let kind_here = match kind {
        "Numeric" => "number",
        "Boolean" => "bool",
        _ => "string",
    };
    let (left, right) = match kind {
        "Timestamp" => (json!({ "$time": [variable] }), json!({ "$time": [operand] })),
        _ => (variable.clone(), operand.clone()),
    };
    let is = |value: &Value| json!({ "$is": [value, kind_here] });
    let compared = Value::Object([(function.to_owned(), json!([left, right]))].into_iter().collect());
    json!({ "$and": [is(variable), is(operand), compared] })
}
