//! Functions of numbers. Whole numbers stay whole as long as they fit into 64 bits; what does not fit is an error and never wraps.

use serde_json::{Number, Value};

use super::{
    EvalError,
    arguments::{Arguments, order, type_error, whole as to_int},
};
use crate::limits::LIST_BYTES_MAX;

fn too_large(of: &str) -> EvalError {
    EvalError(format!("`${of}`: the result is too large"))
}

fn float(of: &str, value: f64) -> Result<Value, EvalError> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| too_large(of))
}

pub(super) fn binary(
    a: &Arguments<'_>,
    ints: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Result<Value, EvalError> {
    match (a.number(0)?.as_i64(), a.number(1)?.as_i64()) {
        (Some(left), Some(right)) => ints(left, right).map(Value::from).ok_or_else(|| too_large(a.of)),
        _ => float(a.of, floats(a.float(0)?, a.float(1)?)),
    }
}

fn divisor(a: &Arguments<'_>) -> Result<(), EvalError> {
    if a.float(1)? == 0.0 { Err(EvalError(format!("`${}`: division by 0", a.of))) } else { Ok(()) }
}

pub(super) fn div(a: &Arguments<'_>) -> Result<Value, EvalError> {
    divisor(a)?;
    match (a.number(0)?.as_i64(), a.number(1)?.as_i64()) {
        (Some(left), Some(right)) if left.checked_rem(right) == Some(0) => {
            left.checked_div(right).map(Value::from).ok_or_else(|| too_large(a.of))
        }
        _ => float(a.of, a.float(0)? / a.float(1)?),
    }
}

pub(super) fn rem(a: &Arguments<'_>) -> Result<Value, EvalError> {
    divisor(a)?;
    binary(a, i64::checked_rem, |x, y| x % y)
}

pub(super) fn sum(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut total = Value::from(0);
    for item in a.list(0)? {
        let pair = [total, item.clone()];
        total = binary(&Arguments { of: a.of, values: &pair }, i64::checked_add, |x, y| x + y)?;
    }
    Ok(total)
}

pub(super) fn extreme(a: &Arguments<'_>, least: bool) -> Result<Value, EvalError> {
    let mut items = a.list(0)?.iter();
    let first = items.next().ok_or_else(|| EvalError(format!("`${}` of an empty list", a.of)))?;
    items
        .try_fold(first, |best, item| {
            let order = order(item, best).ok_or_else(|| type_error(a.of, "a list of numbers or of texts", item))?;
            Ok(if order.is_lt() == least && order.is_ne() { item } else { best })
        })
        .cloned()
}

pub(super) fn sort(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut items = a.list(0)?.to_vec();
    if let Some(odd) = items.windows(2).find(|pair| order(&pair[0], &pair[1]).is_none()) {
        return Err(type_error(a.of, "a list of numbers or of texts", &odd[1]));
    }
    items.sort_by(|left, right| order(left, right).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Value::Array(items))
}

pub(super) fn range(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let (first, last, step) = (a.int(0)?, a.int(1)?, a.int(2)?);
    if step == 0 {
        return Err(EvalError("`$range`: a step is not 0".into()));
    }
    let mut items = Vec::new();
    let mut next = Some(first);
    while let Some(at) = next.filter(|at| if step > 0 { *at <= last } else { *at >= last }) {
        if items.len() * 2 > LIST_BYTES_MAX {
            return Err(too_large(a.of));
        }
        items.push(at.into());
        next = at.checked_add(step);
    }
    Ok(Value::Array(items))
}

pub(super) fn whole(a: &Arguments<'_>, how: fn(f64) -> f64) -> Result<Value, EvalError> {
    let number = a.number(0)?;
    if let Some(int) = to_int(number) {
        return Ok(int.into());
    }
    let float = Number::from_f64(how(a.float(0)?));
    float.as_ref().and_then(to_int).map(Value::from).ok_or_else(|| too_large(a.of))
}

pub(super) fn number(a: &Arguments<'_>) -> Result<Value, EvalError> {
    if let Value::Number(_) = a.at(0) {
        return Ok(a.at(0).clone());
    }
    let text = a.text(0)?.trim();
    text.parse::<Number>().map(Value::Number).map_err(|_| EvalError(format!("`$number`: `{text}` is no number")))
}
