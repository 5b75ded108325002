//! Values between nodes: JSON, in which bytes and references to objects have a form of their own.
//!
//! ```text
//! {"$bytes": "aGVsbG8="}                                        bytes
//! {"$object": {"bucket", "key", "version", "bytes"}}            what is stored there, of so many bytes
//! ```

use base64_simd::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The one field of a record that is bytes.
pub const BYTES: &str = "$bytes";
/// The one field of a record that stands for an object.
pub const OBJECT: &str = "$object";

/// An object that stands for its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Which version of it. Without it: whichever is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How large it is.
    #[serde(default)]
    pub bytes: u64,
}

impl ObjectRef {
    /// The object that this value stands for.
    pub fn of(value: &Value) -> Option<Self> {
        serde_json::from_value(only_field(value, OBJECT)?.clone()).ok()
    }

    /// As a value.
    pub fn to_value(&self) -> Value {
        json!({ OBJECT: self })
    }
}

/// Bytes as a value.
pub fn from_bytes(bytes: &[u8]) -> Value {
    json!({ BYTES: STANDARD.encode_to_string(bytes) })
}

/// The bytes that this value is.
pub fn to_bytes(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode_to_vec(only_field(value, BYTES)?.as_str()?).ok()
}

/// The value of a record's one field, if it has this name.
pub(crate) fn only_field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    if fields.len() == 1 { fields.get(name) } else { None }
}

/// What kind of value it is, in a word.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if is_int(number) => "int",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) if only_field(value, BYTES).is_some() => "bytes",
        Value::Object(_) if only_field(value, OBJECT).is_some() => "object",
        Value::Object(_) => "record",
    }
}

/// Whether a number is a whole one, however it is written.
pub(crate) fn is_int(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

/// How many bytes a value takes as JSON, without writing it down.
pub fn size(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // A counter takes everything, and a value can always be written.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

/// Whether a value is nested deeper than so many levels. It does not recurse, so it can be asked of anything.
pub fn is_deeper_than(value: &Value, max: usize) -> bool {
    let mut left = vec![(value, 1)];
    while let Some((value, depth)) = left.pop() {
        if depth > max {
            return true;
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|v| (v, depth + 1))),
            Value::Object(fields) => left.extend(fields.values().map(|v| (v, depth + 1))),
            _ => {}
        }
    }
    false
}

/// Drops a value, however deep, without recursing.
pub(crate) fn drop_deep(value: Value) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, v)| v)),
            _ => {}
        }
    }
}

/// A record of these fields.
pub(crate) fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Rows, commands and events are written down and read again at any time, so it must not show in a value.
        #[test]
        fn a_number_is_the_same_once_it_was_written_down(float in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            let value = Value::from(float);
            let again: Value = serde_json::from_slice(&serde_json::to_vec(&value).unwrap()).unwrap();
            proptest::prop_assert_eq!(again, value);
        }
    }

    #[test]
    fn bytes_and_objects_come_back_as_they_were() {
        assert_eq!(to_bytes(&from_bytes(b"\x00hello")).as_deref(), Some(&b"\x00hello"[..]));
        let object = ObjectRef { bucket: "b".into(), key: "k".into(), version: None, bytes: 7 };
        assert_eq!(ObjectRef::of(&object.to_value()), Some(object));
        assert_eq!(ObjectRef::of(&json!({"$object": {"bucket": "b"}})), None);
        assert_eq!(to_bytes(&json!({"$bytes": "no base64!"})), None);
    }

    #[test]
    fn depth_and_size_are_counted_without_recursing() {
        let mut deep = json!(1);
        for _ in 0..100_000 {
            deep = Value::Array(vec![deep]);
        }
        assert!(is_deeper_than(&deep, 99_999));
        assert!(!is_deeper_than(&json!([[1]]), 3));
        drop_deep(deep);
        assert_eq!(size(&json!({"a": [1, "x"]})), r#"{"a":[1,"x"]}"#.len());
    }
}
