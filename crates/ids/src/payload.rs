//! Bytes with a content type: what goes into a call and what comes out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Code, Failure};

/// A message body. JSON is the default of the SDKs; the platform itself never looks inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The media type, as HTTP writes it.
    pub content_type: String,
    /// The bytes.
    pub body: Bytes,
}

impl Payload {
    /// The largest payload that may enter or leave a call, in bytes. Larger data belongs into objects.
    pub const LEN_MAX: usize = 4 << 20;
    /// The media type of JSON.
    pub const JSON: &'static str = "application/json";

    /// A JSON payload; the caller vouches for the bytes.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self { content_type: Self::JSON.into(), body: body.into() }
    }

    /// Refuses a payload that is over the limit; `what` names it in the message.
    pub fn check_size(&self, what: &str) -> Result<(), Failure> {
        let len = self.body.len();
        if len <= Self::LEN_MAX {
            return Ok(());
        }
        let message = format!("the {what} has {len} bytes; the limit is {}. Use less, or several calls", Self::LEN_MAX);
        Err(Failure::new(Code::PayloadTooLarge, message))
    }
}
