//! Events, in the form of CloudEvents 1.0: a JSON record with `id`, `source` and `type`.
//!
//! Always true: an [`Event`] follows the specification, so whatever takes one from here can hand it on to whatever reads CloudEvents.
//! What has the same `source` and `id` is the same event.

use base64_simd::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};
use stride_ids::{Code, Failure, Payload};
use stride_sim::Timestamp;

/// How large an event may be, in bytes of its JSON. What is larger belongs into an object, and a reference to it into the event.
pub const EVENT_LEN_MAX: usize = 256 << 10;
/// The media type of an event as one JSON document.
pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json";
const VERSION: &str = "1.0";
/// The longest attribute, in bytes. It ends in keys and in log lines.
const ATTRIBUTE_LEN_MAX: usize = 1_024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(Value);

/// Why something is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no CloudEvent: {0}")]
pub struct InvalidEvent(pub(crate) String);

impl From<InvalidEvent> for Failure {
    fn from(error: InvalidEvent) -> Self {
        Self::new(Code::InvalidRequest, error.to_string())
    }
}

/// What the platform says of an event that it makes.
pub(crate) struct Attributes<'a> {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) kind: &'a str,
    pub(crate) at: Timestamp,
}

impl Event {
    /// Reads an event that is one JSON document.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidEvent> {
        let value = serde_json::from_slice(bytes).map_err(|e| InvalidEvent(format!("it is not JSON: {e}")))?;
        Self::of_value(value)
    }

    /// The event that a JSON value is.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn of_value(value: Value) -> Result<Self, InvalidEvent> {
        let wrong = |why: String| Err(InvalidEvent(why));
        let Value::Object(attributes) = &value else { return wrong("it is not a JSON record".into()) };
        for (name, value) in attributes {
            check(name, value)?;
        }
        match attributes.get("specversion").and_then(Value::as_str) {
            Some(VERSION) => {}
            Some(other) => return wrong(format!("its `specversion` is {other:?}; this is {VERSION}")),
            None => return wrong(format!("it has no `specversion`, which is {VERSION:?}")),
        }
        for name in ["id", "source", "type"] {
            if attributes.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                return wrong(format!("`{name}` is missing or empty"));
            }
        }
        if let Some(encoded) = attributes.get("data_base64") {
            if attributes.contains_key("data") {
                return wrong("it has both `data` and `data_base64`".into());
            }
            if encoded.as_str().is_none_or(|text| STANDARD.check(text.as_bytes()).is_err()) {
                return wrong("`data_base64` is not base64".into());
            }
        }
        Ok(Self(value))
    }

    /// An event of the platform about these data.
    pub(crate) fn about(attributes: Attributes<'_>, data: &Payload) -> Self {
        let Attributes { id, source, kind, at } = attributes;
        let mut record = Map::new();
        let texts = [("specversion", VERSION.into()), ("id", id), ("source", source), ("type", kind.into())];
        record.extend(texts.map(|(name, text)| (name.to_owned(), Value::String(text))));
        record.insert("time".into(), time(at).into());
        put_data(&mut record, data);
        Self(Value::Object(record))
    }

    /// The event of these attributes and data.
    pub(crate) fn of_parts(mut attributes: Map<String, Value>, data: &Payload) -> Result<Self, InvalidEvent> {
        put_data(&mut attributes, data);
        Self::of_value(Value::Object(attributes))
    }

    /// What tells it from others of its source.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// Where it happened.
    pub fn source(&self) -> &str {
        self.text("source")
    }

    /// What happened.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// The whole record.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The same as one JSON document.
    pub fn encode(&self) -> Bytes {
        self.0.to_string().into()
    }

    /// The same with its media type.
    pub fn payload(&self) -> Payload {
        Payload { content_type: MEDIA_TYPE.into(), body: self.encode() }
    }

    /// What is the same for the same event and, but for chance that nobody meets, for no other.
    pub(crate) fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [self.source(), self.id()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

fn check(name: &str, value: &Value) -> Result<(), InvalidEvent> {
    if matches!(name, "data" | "data_base64") {
        return Ok(());
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Err(InvalidEvent(format!("`{name}` is no attribute: their names are small letters and digits")));
    }
    match value {
        Value::String(text) if text.len() > ATTRIBUTE_LEN_MAX => {
            Err(InvalidEvent(format!("`{name}` has more than {ATTRIBUTE_LEN_MAX} bytes")))
        }
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null => Ok(()),
        _ => Err(InvalidEvent(format!("`{name}` is neither a text nor a number nor a truth value"))),
    }
}

/// What curl says of everything that `-d` sends, which here is JSON nearly always.
const FORM: &str = "application/x-www-form-urlencoded";

/// Data as the JSON format wants them: JSON as it is, text as a text, everything else in base64.
fn put_data(record: &mut Map<String, Value>, data: &Payload) {
    let is_json = is_json(&data.content_type);
    let json = is_json.then(|| serde_json::from_slice::<Value>(&data.body).ok()).flatten();
    let is_form = data.content_type == FORM && json.is_some();
    let text = || std::str::from_utf8(&data.body).ok().filter(|_| data.content_type.starts_with("text/"));
    if is_json && data.body.is_empty() {
        return;
    }
    match (json, text()) {
        (Some(value), _) => {
            record.insert("data".into(), value);
        }
        (None, Some(text)) => {
            record.insert("data".into(), text.into());
        }
        (None, None) => {
            record.insert("data_base64".into(), STANDARD.encode_to_string(&data.body).into());
        }
    }
    let content_type = if is_form { Payload::JSON } else { &*data.content_type };
    record.insert("datacontenttype".into(), content_type.into());
}

pub(crate) fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind == Payload::JSON || kind == FORM || kind.ends_with("+json")
}

pub(crate) fn time(at: Timestamp) -> String {
    let since = std::time::Duration::from_millis(at.min(253_402_300_799_999));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(change: impl FnOnce(&mut Value)) -> Result<Event, InvalidEvent> {
        let mut value = json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"n": 1}});
        change(&mut value);
        Event::of_value(value)
    }

    #[test]
    fn an_event_needs_what_the_specification_wants_and_says_what_is_missing() {
        let whole = event(|_| ()).unwrap();
        assert_eq!((whole.id(), whole.source(), whole.kind()), ("1", "/a", "t"));
        assert_eq!(Event::parse(&whole.encode()).unwrap(), whole);
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 8] = [
            (|e| *e = json!([]), "not a JSON record"),
            (|e| e["specversion"] = json!("0.3"), "0.3"),
            (|e| e["id"] = json!(""), "`id`"),
            (|e| e["source"] = json!(null), "`source`"),
            (|e| e["My-Name"] = json!("x"), "small letters"),
            (|e| e["extra"] = json!({}), "neither a text"),
            (|e| e["data_base64"] = json!("aGk="), "both"),
            (|e| e["subject"] = json!("x".repeat(2_000)), "more than 1024 bytes"),
        ];
        for (change, says) in cases {
            let error = event(change).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(Event::parse(b"{").unwrap_err().to_string().contains("not JSON"));
    }

    #[test]
    fn data_are_json_text_or_base64_as_their_type_says() {
        let of = |content_type: &str, body: &'static [u8]| {
            let attributes = Attributes { id: "1".into(), source: "/s".into(), kind: "k", at: 1_700_000_000_000 };
            let data = Payload { content_type: content_type.into(), body: Bytes::from_static(body) };
            Event::about(attributes, &data).value().clone()
        };
        assert_eq!(of("application/json", b"{\"a\":1}")["data"], json!({"a": 1}));
        assert_eq!(of("application/geo+json; charset=utf-8", b"[1]")["data"], json!([1]));
        assert_eq!(of("text/plain", b"hi")["data"], json!("hi"));
        assert_eq!(of("image/png", b"hi")["data_base64"], json!("aGk="));
        // What says that it is JSON and is not stays what it is.
        assert_eq!(of("application/json", b"{")["data_base64"], json!("ew=="));
        assert_eq!(of("application/json", b"").get("data"), None);
        let form = of("application/x-www-form-urlencoded", b"{\"a\":1}");
        assert_eq!((&form["data"], &form["datacontenttype"]), (&json!({"a": 1}), &json!("application/json")));
        assert_eq!(of("text/plain", b"hi")["time"], json!("2023-11-14T22:13:20.000Z"));
    }

    #[test]
    fn the_identity_of_an_event_is_its_source_and_its_id() {
        let of =
            |source: &str, id: &str| event(|e| (e["source"], e["id"]) = (json!(source), json!(id))).unwrap().identity();
        assert_eq!(of("/a", "1"), of("/a", "1"));
        assert_ne!(of("/a", "1"), of("/a", "2"));
        assert_ne!(of("/a", "b1"), of("/ab", "1"));
    }
}
