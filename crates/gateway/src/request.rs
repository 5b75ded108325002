//! What a request says beside its path: tenant, deadline, idempotency key, body.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequestParts, Query},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use stride_ids::{Address, AgentKey, Code, Failure, InvalidName, Name, Payload, is_private_method};

use crate::problem::Problem;

pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidRequest, message)
}

pub(crate) fn invalid_name(error: &InvalidName) -> Failure {
    invalid(error.to_string())
}

/// A header's text, if the header is there.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Failure> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| invalid(format!("the header {name} is not plain text")))
}

/// The headers that are text, by their names in small letters.
pub(crate) fn texts(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect()
}

/// Whose request it is. Until tokens say it, a header does.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Name, Failure> {
    match text(headers, "stride-tenant")? {
        Some(tenant) => Name::new(tenant).map_err(|e| invalid_name(&e)),
        None => Ok(Name::default_tenant()),
    }
}

pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    Ok(text(headers, "idempotency-key")?.map(str::to_owned))
}

/// The trace that the request is part of. One that is none is ignored, as the standard wants it.
pub(crate) fn trace(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    is_traceparent(text).then(|| text.to_owned())
}

/// Whether a text looks like a `traceparent`: version, trace, parent and flags in hex. Later versions may say more
/// behind that.
fn is_traceparent(text: &str) -> bool {
    const LEN_MAX: usize = 256;
    let is_hex =
        |part: &str, len| part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, parent, flags, more @ ..] = parts.as_slice() else { return false };
    text.len() <= LEN_MAX
        && is_hex(version, 2)
        && *version != "ff"
        && (more.is_empty() || *version != "00")
        && is_hex(trace, 32)
        && is_set(trace)
        && is_hex(parent, 16)
        && is_set(parent)
        && is_hex(flags, 2)
}

/// The agent type that a path names. Those of the platform cannot be reached from outside.
pub(crate) fn kind(kind: &str) -> Result<Name, Failure> {
    let kind = Name::new(kind).map_err(|e| invalid_name(&e))?;
    if kind.is_private() {
        let message = format!(
            "agent type `{kind}` belongs to the platform, as all that begin with `stride-`; objects are under /v1/objects"
        );
        return Err(invalid(message));
    }
    Ok(kind)
}

/// The address of the agent that a path names.
pub(crate) fn address(headers: &HeaderMap, kind: &str, key: &str) -> Result<Address, Failure> {
    Ok(Address {
        tenant: tenant(headers)?,
        kind: self::kind(kind)?,
        key: AgentKey::new(key).map_err(|e| invalid_name(&e))?,
    })
}

/// The address of an agent whose state is a matter of whoever deployed its code. What runs of flows and topics keep is the platform's, and would break
/// if somebody else changed it.
pub(crate) fn address_of_users(headers: &HeaderMap, kind: &str, key: &str) -> Result<Address, Failure> {
    let address = address(headers, kind, key)?;
    if address.kind.is_reserved() {
        let message = format!(
            "what agents of type `{kind}` keep is the platform's own; `stride flow` cancels and removes runs, and a topic forgets old messages by itself"
        );
        return Err(invalid(message));
    }
    Ok(address)
}

/// The method that a path names. Those of the platform are not asked from outside.
pub(crate) fn method(method: String) -> Result<String, Failure> {
    if is_private_method(&method) {
        return Err(invalid(format!("method `{method}` belongs to the platform, as all that begin with `stride-`")));
    }
    Ok(method)
}

/// How long the request may take, if it says so.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(deadline) = text(headers, "stride-deadline-ms")? else { return Ok(None) };
    let deadline = deadline.parse().map_err(|_| invalid("Stride-Deadline-Ms is not a whole number of milliseconds"))?;
    Ok(Some(Duration::from_millis(deadline)))
}

/// The deadline passed first.
pub(crate) fn too_late(deadline: Option<Duration>) -> Failure {
    let deadline = deadline.unwrap_or_default().as_millis();
    let message = format!("there was no answer within {deadline} ms; the work may still have been done");
    Failure::new(Code::DeadlineExceeded, message)
}

/// The body as a payload. Without a content type it is taken for JSON.
pub(crate) async fn payload(headers: &HeaderMap, body: Body) -> Result<Payload, Failure> {
    let content_type = match headers.get(header::CONTENT_TYPE) {
        Some(value) => value.to_str().map_err(|_| invalid("the header Content-Type is not plain text"))?,
        None => Payload::JSON,
    };
    Ok(Payload { content_type: content_type.to_owned(), body: bytes(headers, body).await? })
}

/// How much of a body that is too large is read all the same. A client that still sends when the connection closes sees
/// a broken pipe instead of the answer; past this, that is what it gets.
const DISCARDED_MAX: usize = 64 << 20;

/// The whole body, which must not be over the limit of payloads.
pub(crate) async fn bytes(headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let mut collected = BytesMut::with_capacity(announced.unwrap_or(0).min(Payload::LEN_MAX));
    let mut len = 0usize;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| invalid(format!("the body could not be read: {e}")))?;
        len = len.saturating_add(chunk.len());
        if len <= Payload::LEN_MAX {
            collected.extend_from_slice(&chunk);
        } else if len > DISCARDED_MAX {
            break;
        }
    }
    if len > Payload::LEN_MAX {
        let message = format!("the body is over the limit of {} bytes", Payload::LEN_MAX);
        return Err(Failure::new(Code::PayloadTooLarge, message));
    }
    Ok(collected.freeze())
}

/// The query string, refused as a problem when it does not fit.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(e) => Err(invalid(format!("the query string is wrong: {}", e.body_text())).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_and_what_is_none_is_ignored() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for good in [format!("00-{trace}-00f067aa0ba902b7-01"), format!("cc-{trace}-00f067aa0ba902b7-01-later")] {
            assert!(is_traceparent(&good), "{good}");
        }
        for bad in [
            String::new(),
            "trace".into(),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("cc-{trace}-00f067aa0ba902b7-01-{}", "x".repeat(300)),
        ] {
            assert!(!is_traceparent(&bad), "{bad}");
        }
    }
}
