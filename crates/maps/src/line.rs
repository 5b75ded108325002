//! A result as a line of JSON: the same form whoever ran the map.

use serde::{Serialize, de::IgnoredAny};
use stride_ids::Payload;

/// The line of an input that the function answered.
pub fn success(input: &str, result: &str) -> String {
    format!("{{\"input\":{},\"ok\":true,\"result\":{result}}}", quoted(input))
}

/// The line of an input that failed.
pub fn failure(input: &str, code: &str, message: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        input: &'a str,
        ok: bool,
        code: &'a str,
        message: &'a str,
    }
    serde_json::to_string(&Line { input, ok: false, code, message }).expect("texts are always JSON")
}

/// The line of an input whose result is an object.
pub(crate) fn stored(input: &str, object: &str, bytes: u64) -> String {
    format!("{{\"input\":{},\"ok\":true,\"object\":{},\"bytes\":{bytes}}}", quoted(input), quoted(object))
}

/// A result as JSON on one line. It is passed on as it came when it is JSON, so that no number loses a digit; otherwise it is
/// a string.
pub fn result(content_type: &str, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if is_json(content_type) && serde_json::from_str::<IgnoredAny>(&text).is_ok() {
        // Outside of strings, a line break is only space, and inside it cannot be.
        return text.trim().replace(['\n', '\r'], " ");
    }
    quoted(&text)
}

/// Whether a content type is one of JSON.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(Payload::JSON) || essence.ends_with("+json")
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("texts are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(content_type: &str, body: &str) -> String {
        success("a \"b\".rs", &result(content_type, body.as_bytes()))
    }

    #[test]
    fn json_results_stay_json_on_one_line_and_others_become_strings() {
        let json = line("application/json", "{\n  \"n\": 12345678901234567890123\n}\n");
        assert_eq!(json, r#"{"input":"a \"b\".rs","ok":true,"result":{   "n": 12345678901234567890123 }}"#);
        assert_eq!(line("text/plain", "1\n"), r#"{"input":"a \"b\".rs","ok":true,"result":"1\n"}"#);
        assert_eq!(line("application/json", "nope"), r#"{"input":"a \"b\".rs","ok":true,"result":"nope"}"#);
        assert_eq!(stored("a", "b/c", 3), r#"{"input":"a","ok":true,"object":"b/c","bytes":3}"#);
    }

    #[test]
    fn a_failure_names_its_code() {
        let expected = r#"{"input":"x","ok":false,"code":"guest_trap","message":"it \"panicked\""}"#;
        assert_eq!(failure("x", "guest_trap", "it \"panicked\""), expected);
    }
}
