//! Values of flows as payloads, and payloads as values.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use stride_flows::value;
use stride_ids::{Code, Failure, Payload};

/// What a function or an agent gets for a value: bytes as bytes, anything else as JSON.
pub(crate) fn of_value(value: &Value) -> Payload {
    match value::to_bytes(value) {
        Some(bytes) => Payload { content_type: "application/octet-stream".into(), body: Bytes::from(bytes) },
        None => json(value),
    }
}

/// The value that a payload is: JSON as it says, text as a text, anything else as bytes.
pub(crate) fn to_value(payload: &Payload) -> Result<Value, Failure> {
    let Payload { content_type, body } = payload;
    if is_json(content_type) {
        return match &body[..] {
            [] => Ok(Value::Null),
            body => serde_json::from_slice(body)
                .map_err(|e| Failure::new(Code::InvalidRequest, format!("this is called JSON and is not: {e}"))),
        };
    }
    Ok(match std::str::from_utf8(body) {
        Ok(text) if content_type.starts_with("text/") => Value::String(text.to_owned()),
        _ => value::from_bytes(body),
    })
}

/// What somebody outside sent as an input: JSON unless it is called something else. Nothing is null.
pub(crate) fn input(payload: &Payload) -> Result<Value, Failure> {
    // What curl calls what it sends, unless it is told.
    const FORM: &str = "application/x-www-form-urlencoded";
    let is_unsaid = payload.content_type.is_empty() || payload.content_type == FORM;
    if payload.body.is_empty() {
        return Ok(Value::Null);
    }
    if !is_unsaid && !is_json(&payload.content_type) {
        return to_value(payload);
    }
    serde_json::from_slice(&payload.body)
        .map_err(|e| Failure::new(Code::InvalidRequest, format!("the input is not JSON: {e}")))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || essence.ends_with("+json")
}

/// As JSON.
pub(crate) fn json(value: &impl Serialize) -> Payload {
    // What is written here are values and records of them, whose keys are texts.
    Payload::json(serde_json::to_vec(value).unwrap_or_default())
}

/// What a message says, as the method understands it.
pub(crate) fn asked<T: DeserializeOwned>(method: &str, payload: &Payload) -> Result<T, Failure> {
    let body = if payload.body.is_empty() { b"null" } else { &payload.body[..] };
    serde_json::from_slice(body)
        .map_err(|e| Failure::new(Code::InvalidRequest, format!("`{method}` of a run takes something else: {e}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(content_type: &str, body: &'static [u8]) -> Payload {
        Payload { content_type: content_type.into(), body: Bytes::from_static(body) }
    }

    #[test]
    fn values_come_back_as_they_went() {
        for value in [json!(null), json!({"a": [1, 2.5, "x"]}), json!("text"), value::from_bytes(b"\0\xff")] {
            assert_eq!(to_value(&of_value(&value)).unwrap(), value);
        }
        assert_eq!(to_value(&payload("text/plain", b"hello")).unwrap(), json!("hello"));
        assert_eq!(to_value(&payload("image/png", b"\x89P")).unwrap(), value::from_bytes(b"\x89P"));
        assert!(to_value(&payload("application/json", b"{")).is_err());
    }

    #[test]
    fn an_input_is_json_unless_it_is_called_something_else() {
        assert_eq!(input(&payload("", b"{\"a\": 1}")).unwrap(), json!({"a": 1}));
        assert_eq!(input(&payload("application/x-www-form-urlencoded", b"5")).unwrap(), json!(5));
        assert_eq!(input(&payload("text/plain", b"5")).unwrap(), json!("5"));
        assert_eq!(input(&payload("application/octet-stream", b"5")).unwrap(), value::from_bytes(b"5"));
        assert_eq!(input(&payload("application/json", b"")).unwrap(), json!(null));
        assert!(input(&payload("application/json", b"nope")).unwrap_err().message.contains("not JSON"));
    }
}
