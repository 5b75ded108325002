//! How what such agents keep is written: a schema, then postcard.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stride_ids::{Code, Failure};

/// The schema of a stored format; whatever is stored begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema(pub u8);

impl Schema {
    /// The bytes to store.
    pub fn encode(self, value: &impl Serialize) -> Bytes {
        let bytes = postcard::to_extend(value, vec![self.0]).expect("a row always encodes");
        bytes.into()
    }

    /// What was stored.
    ///
    /// # Errors
    /// `internal` if it is damaged or of another schema; `what` says what cannot be read.
    pub fn decode<T: DeserializeOwned>(self, what: &'static str, bytes: &[u8]) -> Result<T, Failure> {
        let unreadable = |why: String| Failure::new(Code::Internal, format!("the stored {what} cannot be read: {why}"));
        match bytes {
            [schema, rest @ ..] if *schema == self.0 => {
                postcard::from_bytes(rest).map_err(|e| unreadable(e.to_string()))
            }
            [other, ..] => Err(unreadable(format!("it has schema {other}; this version reads {}", self.0))),
            [] => Err(unreadable("it is empty".into())),
        }
    }
}
