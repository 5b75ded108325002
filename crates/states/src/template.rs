//! Payload templates, paths and the context object, as expressions of flows.

use serde_json::{Map, Value, json};
use stride_flows::Expr;

use crate::reader::{Fields, Reader, under};

impl Reader<'_> {
    /// `Parameters`, `ResultSelector` and `ItemSelector`: a template in which fields that end in `.$` are computed.
    pub(crate) fn payload(&mut self, at: &str, template: &Value, state: &str) -> Expr {
        let built = self.template(at, template, state);
        self.expr(at, built)
    }

    fn template(&mut self, at: &str, template: &Value, state: &str) -> Value {
        match template {
            Value::Object(fields) if is_computed(template) => {
                let mut built = Map::new();
                for (name, value) in fields {
                    let place = under(at, name);
                    let (name, value) = match (name.strip_suffix(".$"), value) {
                        (Some(name), Value::String(text)) => (name, self.computed(&place, text, state)),
                        (Some(name), _) => {
                            self.problem(&place, "expected a path or an intrinsic function", "write a text");
                            (name, Value::Null)
                        }
                        (None, value) => (name.as_str(), self.template(&place, value, state)),
                    };
                    if built.insert(name.to_owned(), value).is_some() {
                        self.problem(&place, format!("`{name}` is there twice"), "remove one of the two");
                    }
                }
                Value::Object(built)
            }
            Value::Array(items) if is_computed(template) => {
                let item = |(index, item)| self.template(&format!("{at}/{index}"), item, state);
                items.iter().enumerate().map(item).collect()
            }
            constant => json!({ "$literal": constant }),
        }
    }

    /// A path or an intrinsic function, as a template of flows.
    pub(crate) fn computed(&mut self, at: &str, text: &str, state: &str) -> Value {
        if text.starts_with("States.") { self.intrinsic(at, text, state) } else { self.path(at, text, state) }
    }

    /// A path into the input or into the context, as a template of flows.
    pub(crate) fn path(&mut self, at: &str, text: &str, state: &str) -> Value {
        if let Some(path) = text.strip_prefix("$$") {
            return self.context(at, path, state);
        }
        if let Err(e) = Expr::path(text) {
            self.problem(at, e.to_string(), "write a path such as `$.order.id`");
            return Value::Null;
        }
        text.into()
    }

    fn context(&mut self, at: &str, path: &str, state: &str) -> Value {
        const KNOWN: [(&str, &str); 6] = [
            (".Execution.Id", "$$.run.id"),
            (".Execution.Name", "$$.run.id"),
            (".Execution.Input", "$$.run.input"),
            (".StateMachine.Name", "$$.run.flow"),
            (".Map.Item.Value", "$$.item.value"),
            (".Map.Item.Index", "$$.item.index"),
        ];
        if path == ".State.Name" {
            return json!({ "$literal": state });
        }
        if path == ".Execution.StartTime" {
            return json!({ "$moment": ["$$.run.started_ms"] });
        }
        if path == ".State.EnteredTime" {
            return json!({ "$moment": ["$$.step.now_ms"] });
        }
        if path == ".State.RetryCount" {
            return json!({ "$sub": ["$$.step.attempt", 1] });
        }
        for (known, ours) in KNOWN {
            if let Some(rest) = path.strip_prefix(known).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            {
                return format!("{ours}{rest}").into();
            }
        }
        let what = format!("`$${path}` is not covered");
        self.problem(at, what, "put it into the input, or let a function find it out");
        Value::Null
    }

    /// `InputPath` and the like: a path, or null for an empty record.
    pub(crate) fn selection(&mut self, fields: &Fields<'_>, name: &str, state: &str) -> Expr {
        match fields.get(name) {
            None => Expr::default(),
            Some(Value::Null) => Expr::Literal(json!({})),
            Some(Value::String(text)) => {
                let path = self.path(&fields.at(name), text, state);
                self.expr(&fields.at(name), path)
            }
            Some(_) => {
                self.problem(&fields.at(name), "expected a path", "write a path such as `$.order`, or null");
                Expr::default()
            }
        }
    }

    /// `ResultPath`.
    pub(crate) fn result_path(&mut self, fields: &Fields<'_>) -> ResultPath {
        let text = match fields.get("ResultPath") {
            None => return ResultPath::Whole,
            Some(Value::Null) => return ResultPath::Nowhere,
            Some(value) => value.as_str().unwrap_or_default(),
        };
        if text == "$" {
            return ResultPath::Whole;
        }
        let is_name =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        match text.strip_prefix("$.").filter(|path| path.split('.').all(is_name)) {
            Some(path) => ResultPath::Field(path.to_owned()),
            None => {
                let at = fields.at("ResultPath");
                self.problem(
                    &at,
                    format!("`{text}` is no place for a result"),
                    "write null, `$`, or names such as `$.order.paid`",
                );
                ResultPath::Whole
            }
        }
    }
}

/// Where a result goes.
pub(crate) enum ResultPath {
    Whole,
    Nowhere,
    Field(String),
}

fn is_computed(template: &Value) -> bool {
    match template {
        Value::Object(fields) => fields.iter().any(|(name, value)| name.ends_with(".$") || is_computed(value)),
        Value::Array(items) => items.iter().any(is_computed),
        _ => false,
    }
}
