//! Arguments of functions: the types they have to have, and how values compare.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::EvalError;
use crate::value::{is_int, kind};

/// The arguments of one call. How many there are was checked when it was read.
pub(super) struct Arguments<'a> {
    pub(super) of: &'static str,
    pub(super) values: &'a [Value],
}

impl Arguments<'_> {
    pub(super) fn at(&self, index: usize) -> &Value {
        static NULL: Value = Value::Null;
        self.values.get(index).unwrap_or(&NULL)
    }

    pub(super) fn bool(&self, index: usize) -> Result<bool, EvalError> {
        self.at(index).as_bool().ok_or_else(|| type_error(self.of, "true or false", self.at(index)))
    }

    pub(super) fn text(&self, index: usize) -> Result<&str, EvalError> {
        self.at(index).as_str().ok_or_else(|| type_error(self.of, "a text", self.at(index)))
    }

    pub(super) fn list(&self, index: usize) -> Result<&[Value], EvalError> {
        self.at(index).as_array().map(Vec::as_slice).ok_or_else(|| type_error(self.of, "a list", self.at(index)))
    }

    pub(super) fn record(&self, index: usize) -> Result<&Map<String, Value>, EvalError> {
        self.at(index).as_object().ok_or_else(|| type_error(self.of, "a record", self.at(index)))
    }

    pub(super) fn number(&self, index: usize) -> Result<&Number, EvalError> {
        match self.at(index) {
            Value::Number(number) => Ok(number),
            other => Err(type_error(self.of, "a number", other)),
        }
    }

    pub(super) fn float(&self, index: usize) -> Result<f64, EvalError> {
        Ok(self.number(index)?.as_f64().unwrap_or(f64::NAN))
    }

    pub(super) fn int(&self, index: usize) -> Result<i64, EvalError> {
        whole(self.number(index)?).ok_or_else(|| type_error(self.of, "a whole number", self.at(index)))
    }

    pub(super) fn order(&self) -> Result<Ordering, EvalError> {
        order(self.at(0), self.at(1)).ok_or_else(|| {
            let (left, right) = (kind(self.at(0)), kind(self.at(1)));
            EvalError(format!("`${}` compares two numbers or two texts, given {left} and {right}", self.of))
        })
    }
}

pub(super) fn type_error(of: &str, expected: &str, given: &Value) -> EvalError {
    EvalError(format!("`${of}` takes {expected}, given {}", kind(given)))
}

/// A whole number, however it is written.
pub(super) fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|_| is_int(number))?;
        // Beyond this, not every whole number is one of these floats.
        (float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

/// The order of two numbers or two texts.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Whether two values are the same. `1` and `1.0` are.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(name, l)| right.get(name).is_some_and(|r| same(l, r)))
        }
        _ => left == right,
    }
}

/// A text that two values share exactly if they are the same.
pub(super) fn canonical(value: &Value) -> String {
    fn plain(value: &Value) -> Value {
        match value {
            Value::Number(number) => whole(number).map_or_else(|| value.clone(), Value::from),
            Value::Array(items) => items.iter().map(plain).collect(),
            Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
            other => other.clone(),
        }
    }
    plain(value).to_string()
}
