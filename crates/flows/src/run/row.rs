//! A row of a run: a value that is written down when somebody wants its bytes, and read when somebody wants the value.
//!
//! Always true: what a row says never changes. A row that is written down begins with the number of its format.
//!
//! Why: an event reads and writes dozens of rows, most of them several times, and many are gone before it ends. To write each of them as JSON
//! and to read it again took half of the time of an event.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stride_ids::{Code, Failure};

/// How long most rows are when they are written, in bytes.
const LEN_USUAL: usize = 256;
/// The format in which rows are written: this byte, and JSON behind it. No JSON begins so.
const FORMAT: u8 = 1;

/// A row. Cheap to clone.
#[derive(Clone)]
pub struct Row(Arc<Forms>);

/// What a row says, in one form at least.
#[derive(Default)]
struct Forms {
    value: OnceLock<Box<dyn AnyValue>>,
    bytes: OnceLock<Bytes>,
}

/// What a row may say.
pub(super) trait Content: Serialize + DeserializeOwned + Clone + Any + Send + Sync {}

impl<T: Serialize + DeserializeOwned + Clone + Any + Send + Sync> Content for T {}

/// A value of whatever type.
trait AnyValue: Any + Send + Sync {
    fn to_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl<T: Content> AnyValue for T {
    fn to_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}

impl Row {
    pub(super) fn of<T: Content>(value: T) -> Self {
        Self(Arc::new(Forms { value: OnceLock::from(Box::new(value) as Box<dyn AnyValue>), ..Forms::default() }))
    }

    /// A row as it was kept.
    pub fn kept(bytes: Bytes) -> Self {
        Self(Arc::new(Forms { bytes: bytes.into(), ..Forms::default() }))
    }

    /// What is to be kept of it.
    ///
    /// # Errors
    /// If its value cannot be written as JSON.
    pub fn bytes(&self) -> Result<&Bytes, Failure> {
        if let (None, Some(value)) = (self.0.bytes.get(), self.0.value.get()) {
            let mut bytes = Vec::with_capacity(LEN_USUAL);
            bytes.push(FORMAT);
            value.to_json(&mut bytes).map_err(|e| Failure::new(Code::Internal, format!("a row of a run: {e}")))?;
            return Ok(self.0.bytes.get_or_init(|| bytes.into()));
        }
        Ok(self.0.bytes.get_or_init(Bytes::new))
    }

    /// How many bytes those are; none as long as nobody wanted them.
    pub fn len_kept(&self) -> usize {
        self.0.bytes.get().map_or(0, Bytes::len)
    }

    /// What it says; `key` is for whoever has to be told that it cannot be read.
    pub(super) fn value<T: Content>(&self, key: &str) -> Result<T, Failure> {
        let known = self.0.value.get().and_then(|value| (value.as_ref() as &dyn Any).downcast_ref::<T>());
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let value: T = match self.bytes()?.split_first() {
            Some((&FORMAT, json)) => serde_json::from_slice(json).map_err(|e| broken(key, &e.to_string()))?,
            Some((&(b'{' | b'['), _)) => return Err(broken(key, "it was written by an earlier build")),
            _ => return Err(broken(key, "it is not written as rows are")),
        };
        // Whoever was first has said the same.
        let _ = self.0.value.set(Box::new(value.clone()));
        Ok(value)
    }
}

pub(super) fn broken(key: &str, why: &str) -> Failure {
    Failure::new(Code::Internal, format!("the row `{key}` of a flow's run cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_the_same_from_memory_and_as_it_was_kept() {
        let pair = ("a".to_owned(), 0.1_f64 + 0.2);
        let row = Row::of(pair.clone());
        assert_eq!(row.len_kept(), 0, "nobody wanted its bytes");
        assert_eq!(row.value::<(String, f64)>("k"), Ok(pair.clone()));
        let kept = Row::kept(row.bytes().unwrap().clone());
        assert_eq!(kept.len_kept(), row.len_kept());
        for _ in 0..2 {
            assert_eq!(kept.value::<(String, f64)>("k"), Ok(pair.clone()));
        }
        assert_eq!(kept.value::<serde_json::Value>("k"), Ok(serde_json::json!(pair)), "as another type");
    }

    #[test]
    fn what_is_no_row_is_refused_with_its_key_and_why() {
        for (bytes, why) in [("{\"graph\":0}", "an earlier build"), ("", "not written as rows are"), ("\u{1}{", "EOF")]
        {
            let failure = Row::kept(bytes.into()).value::<serde_json::Value>("f/").unwrap_err();
            assert!(failure.message.contains("`f/`") && failure.message.contains(why), "{failure}");
        }
    }
}
