//! Functions of texts.

use base64_simd::STANDARD;
use serde_json::Value;

use super::{
    EvalError,
    arguments::{Arguments, type_error},
    bounded,
};
use crate::value;

/// A value within a text: a text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn format(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut parts = a.text(0)?.split("{}");
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut values = a.values.iter().skip(1);
    for part in parts {
        let value = values.next().ok_or_else(|| EvalError("`$format`: there are more `{}` than values".into()))?;
        text.push_str(&shown(value));
        text.push_str(part);
    }
    match values.next() {
        Some(_) => Err(EvalError("`$format`: there are more values than `{}`".into())),
        None => Ok(text.into()),
    }
}

pub(super) fn concat(a: &Arguments<'_>) -> Result<Value, EvalError> {
    if a.values.iter().any(Value::is_array) {
        let lists = (0..a.values.len()).map(|at| a.list(at)).collect::<Result<Vec<_>, _>>()?;
        return Ok(lists.concat().into());
    }
    Ok((0..a.values.len()).map(|at| a.text(at)).collect::<Result<String, _>>()?.into())
}

pub(super) fn split(a: &Arguments<'_>) -> Result<Value, EvalError> {
    match a.text(1)? {
        "" => Err(EvalError("`$split`: a separator has at least one character".into())),
        separator => Ok(a.text(0)?.split(separator).map(Value::from).collect()),
    }
}

pub(super) fn join(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let texts = a.list(0)?.iter().map(|item| item.as_str().ok_or_else(|| type_error(a.of, "a list of texts", item)));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join(a.text(1)?).into())
}

pub(super) fn parse(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let text = a.text(0)?;
    serde_json::from_str(text).map_err(|e| EvalError(format!("`$parse`: this is no JSON: {e}"))).and_then(bounded)
}

pub(super) fn base64(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let bytes = match value::to_bytes(a.at(0)) {
        Some(bytes) => bytes,
        None => a.text(0)?.as_bytes().to_vec(),
    };
    Ok(STANDARD.encode_to_string(bytes).into())
}

pub(super) fn unbase64(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let bytes = STANDARD.decode_to_vec(a.text(0)?).map_err(|_| EvalError("`$unbase64`: this is no base64".into()))?;
    String::from_utf8(bytes).map(Value::from).map_err(|_| EvalError("`$unbase64`: this is no text in UTF-8".into()))
}

/// Whether a text fits a pattern of literal parts with `*` between them. Greedy from the left, so it takes no more than one pass for each star.
pub(super) fn matches(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let (mut text, parts) = (a.text(0)?, pattern(a.text(1)?));
    let Some((last, parts)) = parts.split_last() else { return Ok(false.into()) };
    for (at, part) in parts.iter().enumerate() {
        let found = if at == 0 { text.starts_with(part.as_str()).then_some(0) } else { text.find(part.as_str()) };
        match found {
            Some(found) => text = &text[found + part.len()..],
            None => return Ok(false.into()),
        }
    }
    Ok(if parts.is_empty() { text == last } else { text.ends_with(last.as_str()) }.into())
}

/// What lies between the stars.
fn pattern(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, parts.last_mut()) {
            ('*', _) => parts.push(String::new()),
            ('\\', Some(part)) => part.extend(chars.next()),
            (c, Some(part)) => part.push(c),
            (_, None) => {}
        }
    }
    parts
}

pub(super) fn time(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let text = a.text(0)?;
    millis(text)
        .map(Value::from)
        .ok_or_else(|| EvalError(format!("`$time`: `{text}` is no time as in RFC 3339, such as 2030-01-31T12:00:00Z")))
}

/// Milliseconds since 1970 of a time as in RFC 3339.
pub(crate) fn millis(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let (year, month, day) = triple(date, '-')?;
    let (hour, minute, second) = triple(time, ':')?;
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("0", rest),
    };
    let thousandths = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            sign * (number(hours, 2)? * 60 + number(minutes, 2)?)
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    in_range.then_some(seconds * 1_000 + thousandths)
}

fn triple(text: &str, separator: char) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(separator);
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    let parsed = (number(a, a.len())?, number(b, 2)?, number(c, 2)?);
    parts.next().is_none().then_some(parsed)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days from 1970-01-01, by the rule of the Gregorian calendar: years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}
