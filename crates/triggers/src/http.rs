//! CloudEvents over HTTP: structured mode (the body is the event) and binary mode (headers are its attributes, the body its data).

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use stride_ids::Payload;

use crate::event::{Event, InvalidEvent, MEDIA_TYPE};

/// The headers of a request: their names in small letters, and their values as far as they are text.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// The event that a request is; none if it is not about CloudEvents, and its body something to make an event of.
///
/// # Errors
/// If it should be an event and is none.
pub(crate) fn of_request(headers: Headers<'_>, payload: &Payload) -> Result<Option<Event>, InvalidEvent> {
    let content_type = payload.content_type.split(';').next().unwrap_or_default().trim();
    if content_type.starts_with("application/cloudevents-batch") {
        return Err(InvalidEvent("several in one request are not taken; send each in a request of its own".into()));
    }
    if content_type == MEDIA_TYPE {
        return Event::parse(&payload.body).map(Some);
    }
    if content_type.starts_with("application/cloudevents") {
        return Err(InvalidEvent(format!("`{content_type}` is not read; send {MEDIA_TYPE}")));
    }
    let mut attributes = Map::new();
    for (name, value) in headers {
        if let Some(name) = name.strip_prefix("ce-") {
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| InvalidEvent(format!("the header ce-{name} is not UTF-8")))?;
            attributes.insert(name.to_owned(), Value::String(value.into_owned()));
        }
    }
    if attributes.is_empty() {
        return Ok(None);
    }
    Event::of_parts(attributes, payload).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(content_type: &str, body: &str) -> Payload {
        Payload { content_type: content_type.into(), body: body.to_owned().into() }
    }

    #[test]
    fn both_modes_say_the_same_event() {
        let structured = r#"{"specversion":"1.0","id":"7","source":"/shop ü","type":"paid","datacontenttype":"application/json","data":{"n":1}}"#;
        let structured = of_request(&[], &payload("application/cloudevents+json; charset=utf-8", structured)).unwrap();
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "/shop%20%C3%BC"),
            ("ce-type", "paid"),
            ("accept", "*/*"),
        ];
        let binary = of_request(&headers, &payload("application/json", "{\"n\":1}")).unwrap();
        assert_eq!(structured, binary);
        assert_eq!(binary.unwrap().value()["data"], json!({"n": 1}));
    }

    #[test]
    fn what_is_no_event_is_data_and_half_an_event_is_refused() {
        assert_eq!(of_request(&[("accept", "*/*")], &payload("application/json", "{}")).unwrap(), None);
        let error = of_request(&[("ce-id", "1")], &payload("application/json", "{}")).unwrap_err();
        assert!(error.to_string().contains("specversion"), "{error}");
        for (content_type, says) in [
            ("application/cloudevents-batch+json", "request of its own"),
            ("application/cloudevents+avro", "cloudevents+json"),
            ("application/cloudevents+json", "not JSON"),
        ] {
            let error = of_request(&[], &payload(content_type, "")).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
