//! Expressions: templates that select and build values between nodes.
//!
//! ```text
//! "$.order.id"                      a path into the input         "$$.run.id"     a path into what is known of the run
//! {"id": "$.id", "n": [1, "$.x"]}   a value built from parts      {"$eq": ["$.state", "paid"]}   a function
//! {"$literal": "$5"}                a value as it is
//! ```
//! Always true: evaluation ends, takes time in proportion to expression and input, and gives the same for the same; what is wrong is an error
//! that says which part. Not here: loops and names. Who needs them calls a function.

mod arguments;
mod functions;
mod infer;
mod numbers;
mod parse;
mod path;
mod texts;
mod times;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

pub use functions::{FUNCTIONS, Spec};
pub use parse::InvalidExpr;
pub use path::Path;
pub(crate) use times::millis;

use crate::{
    limits::{LIST_BYTES_MAX, VALUE_DEPTH_MAX},
    value,
};

/// A template: a value with paths and functions in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A value as it is.
    Literal(Value),
    /// A selection from the input.
    Input(Path),
    /// A selection from what is known of the run.
    Context(Path),
    /// A list of these.
    List(Vec<Self>),
    /// A record of these.
    Record(BTreeMap<String, Self>),
    /// A function of these.
    Apply(&'static Spec, Vec<Self>),
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalError(pub(crate) String);

/// What an expression can see.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `$`.
    pub input: &'a Value,
    /// `$$`.
    pub context: &'a Value,
}

impl Default for Expr {
    fn default() -> Self {
        Self::Input(Path::root())
    }
}

impl Expr {
    /// The expression that this template says.
    pub fn parse(template: Value) -> Result<Self, InvalidExpr> {
        parse::parse(template)
    }

    /// A path into the input, such as `$.order.id`, or, with `$$`, into what is known of the run.
    pub fn path(text: &str) -> Result<Self, InvalidExpr> {
        parse::path(text)
    }

    /// The empty text.
    pub fn empty_text() -> Self {
        Self::Literal(Value::String(String::new()))
    }

    /// Whether it is the whole input.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Input(path) if path.is_root())
    }

    /// Its value.
    pub fn eval(&self, scope: Scope<'_>) -> Result<Value, EvalError> {
        let result = match self {
            Self::Literal(value) => value.clone(),
            Self::Input(path) => path.select(scope.input).map_err(EvalError)?,
            Self::Context(path) => {
                path.select(scope.context).map_err(|e| EvalError(format!("{e}, in what is known of the run")))?
            }
            Self::List(items) => items.iter().map(|item| item.eval(scope)).collect::<Result<_, _>>()?,
            Self::Record(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, expr)| Ok((name.clone(), expr.eval(scope)?)))
                    .collect::<Result<_, EvalError>>()?,
            ),
            Self::Apply(spec, arguments) => functions::apply(spec, arguments, scope)?,
        };
        Ok(result)
    }

    /// Its value, which has to be true or false.
    pub fn test(&self, scope: Scope<'_>) -> Result<bool, EvalError> {
        let value = self.eval(scope)?;
        value.as_bool().ok_or_else(|| EvalError(format!("expected true or false, given {}", value::kind(&value))))
    }

    /// Its value, which has to be a text.
    pub fn text(&self, scope: Scope<'_>) -> Result<String, EvalError> {
        match self.eval(scope)? {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(EvalError(format!("expected a text, given {}", value::kind(&other)))),
        }
    }

    /// The fields of the input that it reads. `None`: all of it.
    pub fn reads(&self) -> Option<Vec<&str>> {
        match self {
            Self::Literal(_) | Self::Context(_) => Some(Vec::new()),
            Self::Input(path) => path.first_field().map(|field| vec![field]),
            Self::List(items) | Self::Apply(_, items) => all_of(items.iter()),
            Self::Record(fields) => all_of(fields.values()),
        }
    }

    /// Whether it reads what is known of the run.
    pub fn reads_context(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Input(_) => false,
            Self::Context(_) => true,
            Self::Apply(spec, parts) => {
                ["uuid", "random"].contains(&spec.name) || parts.iter().any(Self::reads_context)
            }
            Self::List(parts) => parts.iter().any(Self::reads_context),
            Self::Record(fields) => fields.values().any(Self::reads_context),
        }
    }

    /// The template that says this expression.
    pub fn to_template(&self) -> Value {
        parse::template(self)
    }
}

fn all_of<'a>(parts: impl Iterator<Item = &'a Expr>) -> Option<Vec<&'a str>> {
    let mut fields = Vec::new();
    for part in parts {
        fields.extend(part.reads()?);
    }
    Some(fields)
}

/// Refuses a value that an expression has built too large or too deep.
pub(crate) fn bounded(value: Value) -> Result<Value, EvalError> {
    if value::is_deeper_than(&value, VALUE_DEPTH_MAX) {
        return Err(EvalError(format!("an expression builds a value of more than {VALUE_DEPTH_MAX} levels")));
    }
    if value::size(&value) > LIST_BYTES_MAX {
        return Err(EvalError(format!("an expression builds a value of more than {LIST_BYTES_MAX} bytes")));
    }
    Ok(value)
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_template().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Expr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A template: any JSON, in which a text that begins with `$` is a path and a record with the one field `$name` calls a function."
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn eval(template: Value, input: &Value) -> Result<Value, String> {
        let context = json!({"run": {"id": "run-1"}, "step": {"id": "/a"}});
        let expr = Expr::parse(template.clone()).map_err(|e| e.to_string())?;
        assert_eq!(
            Expr::parse(expr.to_template()).unwrap(),
            expr,
            "an expression is read as it was written: {template}"
        );
        expr.eval(Scope { input, context: &context }).map_err(|e| e.to_string())
    }

    #[test]
    fn templates_select_build_and_compute() {
        let input = json!({"a": {"b": [10, 20, 30]}, "name": "Ada", "odd name": 1, "items": [{"p": 2, "q": true}, {"p": 5, "q": false}]});
        let cases = [
            (json!("$"), input.clone()),
            (json!("$.a.b[1]"), json!(20)),
            (json!("$.a.b[-1]"), json!(30)),
            (json!("$['odd name']"), json!(1)),
            (json!("$.a.b[*]"), json!([10, 20, 30])),
            (json!("$.items[?@.p > 3].p"), json!([5])),
            (json!("$..p"), json!([2, 5])),
            (json!("$$.run.id"), json!("run-1")),
            (json!({"x": "$.name", "y": [1, "$.a.b[0]"]}), json!({"x": "Ada", "y": [1, 10]})),
            (json!({"$literal": "$.name"}), json!("$.name")),
            (json!("plain"), json!("plain")),
            (json!({"$eq": ["$.name", "Ada"]}), json!(true)),
            (json!({"$and": [true, {"$lt": ["$.a.b[0]", 11]}]}), json!(true)),
            (json!({"$if": [{"$exists": "$.none"}, "$.none", "no"]}), json!("no")),
            (json!({"$default": ["$.none.deep", "$.name", 3]}), json!("Ada")),
            (json!({"$format": ["{} is {}", "$.name", 36]}), json!("Ada is 36")),
            (json!({"$merge": [{"a": 1, "b": 1}, {"b": 2}]}), json!({"a": 1, "b": 2})),
            (json!({"$set": [{"a": {}}, "a.b", 7]}), json!({"a": {"b": 7}})),
            (json!({"$length": "$.a.b"}), json!(3)),
            (json!({"$sum": "$.a.b"}), json!(60)),
            (json!({"$add": [1, 2.5]}), json!(3.5)),
            (json!({"$range": [1, 9, 4]}), json!([1, 5, 9])),
            (json!({"$partition": [[1, 2, 3], 2]}), json!([[1, 2], [3]])),
            (json!({"$matches": ["log-2.txt", "log-*.txt"]}), json!(true)),
            (json!({"$is": ["$.name", "string"]}), json!(true)),
            (json!({"$split": ["a,b", ","]}), json!(["a", "b"])),
            (json!({"$join": [["a", "b"], "-"]}), json!("a-b")),
            (json!({"$unique": [[1, 1, 2, 1.0]]}), json!([1, 2])),
            (json!({"$bytes": "aGk="}), json!({"$bytes": "aGk="})),
            (json!({"$object": {"bucket": "$.name", "key": "k"}}), json!({"$object": {"bucket": "Ada", "key": "k"}})),
            (json!({"$get": ["$.a.b", 2]}), json!(30)),
            (json!({"$contains": ["$.a.b", 20]}), json!(true)),
            (json!({"$not": {"$in": [3, [1, 2]]}}), json!(true)),
            (json!({"$parse": "{\"a\":1}"}), json!({"a": 1})),
            (json!({"$time": "1970-01-02T00:00:00.5Z"}), json!(86_400_500)),
            (json!({"$time": "1970-01-01T01:00:00+01:00"}), json!(0)),
            (json!({"$is_time": "2024-02-29T23:59:59.5Z"}), json!(true)),
            (json!({"$is_time": "tomorrow"}), json!(false)),
            (json!({"$is_time": 5}), json!(false)),
            (json!({"$moment": {"$time": "2024-02-29T23:59:59.5Z"}}), json!("2024-02-29T23:59:59.500Z")),
            (json!({"$moment": -1}), json!("1969-12-31T23:59:59.999Z")),
            (json!({"$digest": ["abc", "MD5"]}), json!("900150983cd24fb0d6963f7d28e17f72")),
            (json!({"$digest": ["abc", "SHA-1"]}), json!("a9993e364706816aba3e25717850c26c9cd0d89d")),
            (
                json!({"$digest": [{"a": 1}, "SHA-256"]}),
                json!("015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
            ),
            (json!({"$random": [5, 6]}), json!(5)),
        ];
        for (template, expected) in cases {
            assert_eq!(eval(template.clone(), &input), Ok(expected), "{template}");
        }
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        let input = json!({"a": 1, "s": "text"});
        let cases = [
            (json!("$.b"), "`$.b` selects nothing"),
            (json!("$a"), "$literal"),
            (json!("$.a["), "is no path"),
            (json!({"$eqq": [1, 2]}), "did you mean `$eq`"),
            (json!({"$eq": [1]}), "2"),
            (json!({"$add": ["$.s", 1]}), "number"),
            (json!({"$and": ["$.a", true]}), "true or false"),
            (json!({"$get": [[1], 5]}), "5"),
            (json!({"$div": [1, 0]}), "0"),
            (json!({"$range": [0, 1_000_000_000, 1]}), "large"),
            (json!({"$add": [i64::MAX, 1]}), "large"),
            (json!({"$time": "soon"}), "RFC 3339"),
            (json!({"$moment": i64::MAX}), "four digits"),
            (json!({"$digest": ["x", "CRC"]}), "SHA-256"),
            (json!({"$random": [5, 5]}), "nothing between"),
            (json!({"$bytes": "%%"}), "base64"),
        ];
        for (template, part) in cases {
            let error = eval(template.clone(), &input).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn a_uuid_is_the_same_for_the_same_step() {
        let one = eval(json!({"$uuid": []}), &json!(null)).unwrap();
        assert_eq!(one, eval(json!({"$uuid": []}), &json!(null)).unwrap());
        assert_ne!(one, eval(json!({"$uuid": ["other"]}), &json!(null)).unwrap());
        assert_eq!(one.as_str().unwrap().len(), 36);
    }

    #[test]
    fn a_random_number_is_the_same_for_the_same_step_and_anything_for_others() {
        let draw = |salt: u32| eval(json!({"$random": [-3, 7, salt]}), &json!(null)).unwrap().as_i64().unwrap();
        let drawn: std::collections::BTreeSet<i64> = (0..500).map(draw).collect();
        assert_eq!(drawn, (-3..7).collect());
        assert_eq!(draw(1), draw(1));
        let all = eval(json!({"$random": [i64::MIN, i64::MAX]}), &json!(null)).unwrap();
        assert!(all.is_i64());
    }

    #[test]
    fn moments_are_times_again() {
        for day in (-719_000..2_900_000_i64).step_by(97) {
            let ms = day * 86_400_000 + day.rem_euclid(86_400) * 1_000;
            assert_eq!(eval(json!({"$time": {"$moment": ms}}), &json!(null)).unwrap(), json!(ms));
        }
    }

    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[a-z$.\\[\\]*?@'0-9]{0,12}", Just("$.a".to_owned()), Just("$$".to_owned())];
        let name = prop_oneof!["[a-z$]{0,4}", (0..FUNCTIONS.len()).prop_map(|at| format!("${}", FUNCTIONS[at].name)),];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner.clone(), 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
                (name.clone(), prop::collection::vec(inner, 0..4))
                    .prop_map(|(name, items)| Value::Object([(name, Value::from(items))].into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_template_and_no_input_panics(template in any_json(), input in any_json()) {
            let _ = eval(template, &input);
        }
    }
}
