//! What a committed turn looks like in the journal, and which rows follow from it.
//!
//! Every encoding begins with a schema id, so that a later release can tell what it reads. An id is never reused.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stride_ids::{Address, Payload};
use stride_sim::Timestamp;
use stride_store::{RowKey, Write};

/// Schema of journal records of this release.
const RECORD_SCHEMA: u16 = 1;
/// Schema of header rows of this release.
const HEADER_SCHEMA: u16 = 0x0101;
/// Schema of reply rows of this release.
const REPLY_SCHEMA: u16 = 0x0201;

/// One record of a cell's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// A turn or an operator's edit: what it wrote.
    Commit(Commit),
    /// The agent and everything it had is gone.
    Remove(Address),
}

/// Everything that one turn changes, as one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) agent: Address,
    pub(crate) header: Header,
    pub(crate) map: BTreeMap<String, Option<Bytes>>,
    pub(crate) reply: Option<(String, Reply)>,
}

/// What is known of an agent without running it. An agent exists once it has a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// How many turns it has committed.
    pub(crate) turns: u64,
    pub(crate) created_at: Timestamp,
    /// The typed state as the SDK saved it.
    pub(crate) state: Option<Bytes>,
}

/// The remembered answer to an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Tells the same request from another one under the same key.
    pub(crate) fingerprint: [u8; 16],
    pub(crate) payload: Payload,
    pub(crate) turn: u64,
    pub(crate) at: Timestamp,
}

/// Stored bytes that this release cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read a stored {what} (schema {schema:#06x}): {why}")]
pub(crate) struct Unreadable {
    what: &'static str,
    schema: u16,
    why: String,
}

fn encode<T: Serialize>(schema: u16, value: &T) -> Bytes {
    let head = schema.to_le_bytes().to_vec();
    postcard::to_extend(value, head).expect("plain data always encodes").into()
}

fn decode<T: DeserializeOwned>(what: &'static str, schema: u16, bytes: &[u8]) -> Result<T, Unreadable> {
    let unreadable = |schema, why: String| Unreadable { what, schema, why };
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| unreadable(0, "it is too short".into()))?;
    let found = u16::from_le_bytes(*head);
    if found != schema {
        return Err(unreadable(found, format!("this release reads schema {schema:#06x}")));
    }
    postcard::from_bytes(rest).map_err(|e| unreadable(found, e.to_string()))
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        encode(RECORD_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("journal record", RECORD_SCHEMA, bytes)
    }
}

impl Header {
    pub(crate) fn encode(&self) -> Bytes {
        encode(HEADER_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("agent header", HEADER_SCHEMA, bytes)
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Bytes {
        encode(REPLY_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("remembered reply", REPLY_SCHEMA, bytes)
    }
}

impl Commit {
    /// The rows that this commit writes.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let mut writes = Vec::with_capacity(2 + self.map.len());
        writes.push(Write { row: RowKey::Header(self.agent.clone()), value: Some(self.header.encode()) });
        for (key, value) in &self.map {
            writes.push(Write { row: RowKey::Map(self.agent.clone(), key.clone()), value: value.clone() });
        }
        if let Some((key, reply)) = &self.reply {
            writes.push(Write { row: RowKey::Reply(self.agent.clone(), key.clone()), value: Some(reply.encode()) });
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::{AgentKey, Name};

    use super::*;

    fn commit() -> Record {
        let agent = Address {
            tenant: Name::default_tenant(),
            kind: Name::new("counter").unwrap(),
            key: AgentKey::new("alice").unwrap(),
        };
        let reply = Reply { fingerprint: [7; 16], payload: Payload::json("5"), turn: 3, at: 9 };
        Record::Commit(Commit {
            agent,
            header: Header { turns: 3, created_at: 1, state: Some("{}".into()) },
            map: [("a".into(), Some("1".into())), ("b".into(), None)].into(),
            reply: Some(("key".into(), reply)),
        })
    }

    #[test]
    fn a_record_survives_its_encoding() {
        assert_eq!(Record::decode(&commit().encode()), Ok(commit()));
    }

    #[test]
    fn records_of_the_first_format_stay_readable() {
        // Bytes as release 0.1 wrote them. If this fails, stored data became unreadable: add a schema, keep this one.
        let written = "01000007 64656661756c74 07 636f756e746572 05 616c696365 03 01 01 02 7b7d 02 01 61 01 01 31 01 62 00 \
                       01 03 6b6579 07070707070707070707070707070707 10 6170706c69636174696f6e2f6a736f6e 01 35 03 09";
        let hex: String = written.split_whitespace().collect();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(Record::decode(&bytes), Ok(commit()));
    }

    #[test]
    fn a_record_of_an_unknown_schema_is_refused_by_number() {
        let mut bytes = commit().encode().to_vec();
        bytes[0] = 99;
        let error = Record::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("0x0063") && error.contains("0x0001"), "{error}");
        assert!(Record::decode(&[1]).is_err());
    }
}
