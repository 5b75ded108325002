//! A small language that says what values look like.
//!
//! ```text
//! "any" "null" "bool" "int" "number" "string" "bytes" "object"      {"list": S}   {"map": S}
//! {"record": {"id": "int", "note?": "string"}}                      {"one_of": [S, S]}
//! ```
//! A field whose name ends in `?` may be missing. Records may have more fields than are named, so that a producer can grow; but an expression that
//! selects a field that is not named is a mistake. A reference to an object fits wherever what it stands for would be too large to look at.
//! `any` fits everything in both directions: it means that nothing is known.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value;

/// What values look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// Nothing is known.
    #[default]
    Any,
    /// Null.
    Null,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// A text.
    String,
    /// Bytes.
    Bytes,
    /// A reference to an object.
    Object,
    /// A list of these.
    List(Box<Self>),
    /// Any names, with these as values.
    Map(Box<Self>),
    /// These fields. A name that ends in `?` may be missing.
    Record(BTreeMap<String, Self>),
    /// One of these.
    OneOf(Vec<Self>),
}

/// Where something does not fit, and why. The place is a path such as `.items[].id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the value, empty for all of it.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl Mismatch {
    fn new(expected: &Schema, given: impl fmt::Display) -> Self {
        Self { at: String::new(), what: format!("expected {expected}, given {given}") }
    }

    fn below(mut self, part: &str) -> Self {
        self.at.insert_str(0, part);
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.what) } else { write!(f, "at `{}`: {}", self.at, self.what) }
    }
}

/// A field's name without its mark, and whether it may be missing.
fn field(name: &str) -> (&str, bool) {
    name.strip_suffix('?').map_or((name, false), |name| (name, true))
}

impl Schema {
    /// Whether nothing is known.
    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// A list of these.
    pub fn list(items: Self) -> Self {
        Self::List(Box::new(items))
    }

    /// A record of these fields.
    pub fn record<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Record(fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect())
    }

    /// Whether a value looks like this.
    pub fn check(&self, given: &Value) -> Result<(), Mismatch> {
        if value::only_field(given, value::OBJECT).is_some() {
            return Ok(());
        }
        match (self, given) {
            (Self::Any, _)
            | (Self::Null, Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::String, Value::String(_)) => Ok(()),
            (Self::Int, Value::Number(number)) if value::is_int(number) => Ok(()),
            (Self::Bytes, _) if value::to_bytes(given).is_some() => Ok(()),
            (Self::List(items), Value::Array(given)) => {
                given.iter().enumerate().try_for_each(|(i, v)| items.check(v).map_err(|e| e.below(&format!("[{i}]"))))
            }
            (Self::Map(values), Value::Object(given)) => {
                given.iter().try_for_each(|(name, v)| values.check(v).map_err(|e| e.below(&format!(".{name}"))))
            }
            (Self::Record(fields), Value::Object(given)) => fields.iter().try_for_each(|(name, schema)| {
                let (name, optional) = field(name);
                match given.get(name) {
                    Some(v) => schema.check(v).map_err(|e| e.below(&format!(".{name}"))),
                    None if optional => Ok(()),
                    None => Err(Mismatch::new(schema, "nothing").below(&format!(".{name}"))),
                }
            }),
            (Self::OneOf(schemas), _) if schemas.iter().any(|schema| schema.check(given).is_ok()) => Ok(()),
            _ => Err(Mismatch::new(self, value::kind(given))),
        }
    }

    /// Whether every value that looks like `given` fits here, as far as is known.
    pub fn accepts(&self, given: &Self) -> Result<(), Mismatch> {
        match (self, given) {
            (Self::Any, _) | (_, Self::Any | Self::Object) | (Self::Number, Self::Int) => Ok(()),
            (_, Self::OneOf(given)) => given.iter().try_for_each(|given| self.accepts(given)),
            (Self::OneOf(schemas), _) if schemas.iter().any(|schema| schema.accepts(given).is_ok()) => Ok(()),
            (Self::List(items), Self::List(given)) => items.accepts(given).map_err(|e| e.below("[]")),
            (Self::Map(values), Self::Map(given)) => values.accepts(given).map_err(|e| e.below(".*")),
            (Self::Map(values), Self::Record(given)) => given.iter().try_for_each(|(name, given)| {
                values.accepts(given).map_err(|e| e.below(&format!(".{}", field(name).0)))
            }),
            (Self::Record(fields), Self::Record(given)) => {
                fields.iter().try_for_each(|(name, schema)| accepts_field(name, schema, given))
            }
            _ if self == given => Ok(()),
            _ => Err(Mismatch::new(self, given)),
        }
    }

    /// What the field of a record looks like. `None`: it has none of that name.
    pub fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Any | Self::Object => Some(Self::Any),
            Self::Map(values) => Some((**values).clone()),
            Self::Record(fields) => fields.get(name).or_else(|| fields.get(&format!("{name}?"))).cloned(),
            Self::OneOf(schemas) => Self::union(schemas.iter().filter_map(|schema| schema.field(name))),
            _ => None,
        }
    }

    /// What the items of a list look like. `None`: it is no list.
    pub fn item(&self) -> Option<Self> {
        match self {
            Self::Any | Self::Object => Some(Self::Any),
            Self::List(items) => Some((**items).clone()),
            Self::OneOf(schemas) => Self::union(schemas.iter().filter_map(Self::item)),
            _ => None,
        }
    }

    /// One of these. `None` if there are none.
    pub fn union(schemas: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut all: Vec<Self> = Vec::new();
        for schema in schemas {
            match schema {
                Self::Any => return Some(Self::Any),
                Self::OneOf(more) => all.extend(more),
                one => all.push(one),
            }
        }
        all.sort();
        all.dedup();
        if all.len() > 1 { Some(Self::OneOf(all)) } else { all.pop() }
    }

    /// What a value looks like.
    pub fn of(given: &Value) -> Self {
        match given {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if value::is_int(number) => Self::Int,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(items) => Self::list(Self::union(items.iter().map(Self::of)).unwrap_or_default()),
            Value::Object(_) if value::only_field(given, value::BYTES).is_some() => Self::Bytes,
            Value::Object(_) if value::only_field(given, value::OBJECT).is_some() => Self::Object,
            Value::Object(fields) => Self::Record(fields.iter().map(|(name, v)| (name.clone(), Self::of(v))).collect()),
        }
    }

    /// The names of a record's fields.
    pub(crate) fn field_names(&self) -> Vec<&str> {
        match self {
            Self::Record(fields) => fields.keys().map(|name| field(name).0).collect(),
            Self::OneOf(schemas) => schemas.iter().flat_map(Self::field_names).collect(),
            _ => Vec::new(),
        }
    }
}

fn accepts_field(name: &str, schema: &Schema, given: &BTreeMap<String, Schema>) -> Result<(), Mismatch> {
    let (name, optional) = field(name);
    match (given.get(name), given.get(&format!("{name}?"))) {
        (Some(given), _) => schema.accepts(given),
        (None, Some(given)) if optional => schema.accepts(given),
        (None, Some(_)) => Err(Mismatch::new(schema, "a field that may be missing")),
        (None, None) if optional => Ok(()),
        (None, None) => Err(Mismatch::new(schema, "nothing")),
    }
    .map_err(|e| e.below(&format!(".{name}")))
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Object => f.write_str("object"),
            Self::List(items) => write!(f, "list of {items}"),
            Self::Map(values) => write!(f, "map of {values}"),
            Self::Record(fields) => {
                f.write_str("{")?;
                for (i, (name, schema)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {schema}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::OneOf(schemas) => {
                for (i, schema) in schemas.iter().enumerate() {
                    write!(f, "{}{schema}", if i == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: Value) -> Schema {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn values_are_held_to_schemas() {
        let order = schema(
            json!({"record": {"id": "int", "lines": {"list": {"record": {"sku": "string"}}}, "note?": "string"}}),
        );
        order.check(&json!({"id": 1, "lines": [{"sku": "a", "more": 1}]})).unwrap();
        let wrong = order.check(&json!({"id": 1, "lines": [{"sku": "a"}, {"sku": 3}]})).unwrap_err();
        assert_eq!((wrong.at.as_str(), wrong.what.as_str()), (".lines[1].sku", "expected string, given int"));
        assert_eq!(order.check(&json!({"id": 1})).unwrap_err().at, ".lines");
        assert!(order.check(&json!({"id": 1.5, "lines": []})).is_err());
        schema(json!("bytes")).check(&value::from_bytes(b"x")).unwrap();
        schema(json!({"one_of": ["null", "string"]})).check(&json!(null)).unwrap();
        assert!(schema(json!({"one_of": ["null", "string"]})).check(&json!(1)).is_err());
    }

    #[test]
    fn a_schema_accepts_what_always_fits() {
        let cases = [
            (json!("number"), json!("int"), true),
            (json!("int"), json!("number"), false),
            (json!("any"), json!("string"), true),
            (json!("string"), json!("any"), true),
            (json!({"record": {"a": "int"}}), json!({"record": {"a": "int", "b": "int"}}), true),
            (json!({"record": {"a": "int"}}), json!({"record": {"a?": "int"}}), false),
            (json!({"record": {"a?": "int"}}), json!({"record": {}}), true),
            (json!({"list": "number"}), json!({"list": "int"}), true),
            (json!({"list": "int"}), json!({"list": "string"}), false),
            (json!({"map": "int"}), json!({"record": {"a": "int"}}), true),
            (json!({"one_of": ["int", "string"]}), json!("int"), true),
            (json!("int"), json!({"one_of": ["int", "string"]}), false),
        ];
        for (expected, given, fits) in cases {
            assert_eq!(schema(expected.clone()).accepts(&schema(given.clone())).is_ok(), fits, "{expected} <- {given}");
        }
    }

    #[test]
    fn what_a_value_looks_like_fits_the_value() {
        let value = json!({"a": [1, "x", null], "b": {"$bytes": "eA=="}});
        Schema::of(&value).check(&value).unwrap();
        assert_eq!(Schema::of(&value).to_string(), "{a: list of null or int or string, b: bytes}");
    }
}
