//! Functions of texts.

use base64_simd::STANDARD;
use md5::{Digest as _, Md5};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

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

/// The hash of a text, or of another value as JSON.
pub(super) fn digest(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let text = shown(a.at(0));
    let hashed = match a.text(1)? {
        "MD5" => hex(&Md5::digest(text)),
        "SHA-1" => hex(&Sha1::digest(text)),
        "SHA-256" => hex(&Sha256::digest(text)),
        "SHA-384" => hex(&Sha384::digest(text)),
        "SHA-512" => hex(&Sha512::digest(text)),
        other => {
            let known = "MD5, SHA-1, SHA-256, SHA-384 or SHA-512";
            return Err(EvalError(format!("`$digest`: there is no algorithm `{other}`; take {known}")));
        }
    };
    Ok(hashed.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
