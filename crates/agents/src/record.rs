//! What a committed turn looks like in the journal, and which rows follow from it.
//!
//! Every encoding begins with a schema id, so that a later release can tell what it reads. An id is never reused.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stride_ids::{Address, CellId, Failure, MessageId, Name, Payload};
use stride_sim::Timestamp;

use crate::{
    first_format,
    message::{Envelope, Message},
    timer::{Timer, TimerChange},
};

/// Schema of journal records of this release.
const RECORD_SCHEMA: u16 = 2;
/// Schema of the record with which a cell begins that has rows from elsewhere.
const BEGINNING_SCHEMA: u16 = 3;
/// Schema of header rows of this release.
const HEADER_SCHEMA: u16 = 0x0102;
/// Schema of reply rows of this release.
const REPLY_SCHEMA: u16 = 0x0201;
/// Schema of timer rows of this release.
const TIMER_SCHEMA: u16 = 0x0301;
/// Schema of inbox rows of this release.
const WAITING_SCHEMA: u16 = 0x0401;
/// Schema of rows of parked messages of this release.
const PARKED_SCHEMA: u16 = 0x0501;
/// Schema of outbox rows of this release.
const ENVELOPE_SCHEMA: u16 = 0x0601;
/// Schema of rows that say what was taken from another cell, of this release.
const RECEIVED_SCHEMA: u16 = 0x0701;
/// Schema of rows that say which version an agent refuses, of this release.
const REFUSED_SCHEMA: u16 = 0x0801;

/// One record of a cell's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// A turn or an operator's edit: what it wrote.
    Commit(Commit),
    /// The agent and everything it had is gone.
    Remove(Address),
    /// Messages arrived.
    Accept(Accept),
    /// Timers were due: each became a message of its agent.
    Fire(Vec<Fired>),
    /// Other cells have these messages now.
    Delivered(Vec<MessageId>),
    /// A message failed and is tried again later.
    Defer(Defer),
    /// A message failed too often.
    Park(Park),
    /// A parked message is to be handled again, behind all that wait.
    Resume(Resume),
    /// Remembered replies that are over their time.
    Forget(Vec<(Address, String)>),
    /// An agent stays with its version of the code instead of a newer one, or does so no more.
    Refuse(Refuse),
}

/// Everything that one turn changes, as one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) agent: Address,
    pub(crate) header: Header,
    pub(crate) map: BTreeMap<String, Option<Bytes>>,
    pub(crate) reply: Option<(String, Reply)>,
    /// The message that this turn handled, if it was not an ask.
    pub(crate) handled: Option<MessageId>,
    /// The messages it sent, in order. Each is known by this record's position and its own in here.
    pub(crate) sent: Vec<Envelope>,
    pub(crate) timers: BTreeMap<String, TimerChange>,
}

/// Messages that arrived in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accept {
    /// From other cells: which, and the last of these messages of each.
    pub(crate) from: Vec<(CellId, MessageId)>,
    pub(crate) messages: Vec<Envelope>,
    /// From outside under an idempotency key: what to remember.
    pub(crate) reply: Option<(String, Reply)>,
}

/// A timer that was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fired {
    pub(crate) agent: Address,
    pub(crate) name: String,
    pub(crate) was_due: Timestamp,
    /// Its message; none if that of an earlier time still waits.
    pub(crate) message: Option<Message>,
    /// The timer from now on; none if it fires once.
    pub(crate) timer: Option<Timer>,
}

/// A message that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Defer {
    pub(crate) agent: Address,
    pub(crate) id: MessageId,
    pub(crate) waiting: Waiting,
}

/// A message that failed too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Park {
    pub(crate) agent: Address,
    pub(crate) id: MessageId,
    pub(crate) parked: Parked,
}

/// A parked message that is to be handled again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) agent: Address,
    /// What it was parked as.
    pub(crate) id: MessageId,
    pub(crate) message: Message,
}

/// What an agent refuses now, and what it refused before. It follows the commit that says so in the agent's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refuse {
    pub(crate) agent: Address,
    pub(crate) component: Name,
    pub(crate) before: Option<String>,
    pub(crate) now: Option<Refused>,
}

/// A version of its code that an agent refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) component: Name,
    pub(crate) version: String,
    pub(crate) cause: Failure,
}

/// A message that waits for its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) message: Message,
    /// How often it failed.
    pub(crate) attempts: u32,
    pub(crate) not_before: Timestamp,
    /// Why it failed last.
    pub(crate) cause: Option<Failure>,
}

/// A message that is kept but not handled any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parked {
    pub(crate) message: Message,
    pub(crate) attempts: u32,
    pub(crate) cause: Failure,
    /// The version of the component that failed; none if nothing served the agent's type.
    pub(crate) version: Option<String>,
    pub(crate) at: Timestamp,
}

/// What is known of an agent without running it. An agent exists once it has a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// How many turns it has committed.
    pub(crate) turns: u64,
    pub(crate) created_at: Timestamp,
    /// The typed state as the SDK saved it.
    pub(crate) state: Option<Bytes>,
    /// The version of the component that committed last; none if no turn of this format did.
    pub(crate) version: Option<Arc<str>>,
    /// A version whose first turn failed, so that the agent stays with the one before it.
    pub(crate) refused: Option<String>,
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

/// The schema of an encoding, and what it says.
fn split<'a>(what: &'static str, bytes: &'a [u8]) -> Result<(u16, &'a [u8]), Unreadable> {
    match bytes.split_first_chunk() {
        Some((head, rest)) => Ok((u16::from_le_bytes(*head), rest)),
        None => Err(Unreadable { what, schema: 0, why: "it is too short".into() }),
    }
}

fn read<T: DeserializeOwned>(what: &'static str, schema: u16, rest: &[u8]) -> Result<T, Unreadable> {
    postcard::from_bytes(rest).map_err(|e| Unreadable { what, schema, why: e.to_string() })
}

fn unknown<T>(what: &'static str, schema: u16, known: u16) -> Result<T, Unreadable> {
    Err(Unreadable { what, schema, why: format!("this release reads schemas up to {known:#06x}") })
}

fn decode<T: DeserializeOwned>(what: &'static str, schema: u16, bytes: &[u8]) -> Result<T, Unreadable> {
    match split(what, bytes)? {
        (found, rest) if found == schema => read(what, schema, rest),
        (found, _) => unknown(what, found, schema),
    }
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        encode(RECORD_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let what = "journal record";
        match split(what, bytes)? {
            (RECORD_SCHEMA, rest) => read(what, RECORD_SCHEMA, rest),
            (first_format::RECORD, rest) => {
                read::<first_format::Record>(what, first_format::RECORD, rest).map(Into::into)
            }
            (BEGINNING_SCHEMA, _) => Err(Unreadable {
                what,
                schema: BEGINNING_SCHEMA,
                why:
                    "the rows with which the cell began came from a cluster, and the store that had them has lost them"
                        .into(),
            }),
            (found, _) => unknown(what, found, RECORD_SCHEMA),
        }
    }

    /// The record of the rows with which a cell begins. They are in the store before it is written, and nowhere else: whoever has to
    /// replay it is refused.
    pub(crate) fn beginning() -> Bytes {
        Bytes::copy_from_slice(&BEGINNING_SCHEMA.to_le_bytes())
    }
}

impl Header {
    pub(crate) fn encode(&self) -> Bytes {
        encode(HEADER_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let what = "agent header";
        match split(what, bytes)? {
            (HEADER_SCHEMA, rest) => read(what, HEADER_SCHEMA, rest),
            (first_format::HEADER, rest) => {
                read::<first_format::Header>(what, first_format::HEADER, rest).map(Into::into)
            }
            (found, _) => unknown(what, found, HEADER_SCHEMA),
        }
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

impl Timer {
    pub(crate) fn encode(&self) -> Bytes {
        encode(TIMER_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("timer", TIMER_SCHEMA, bytes)
    }
}

impl Waiting {
    pub(crate) fn encode(&self) -> Bytes {
        encode(WAITING_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("waiting message", WAITING_SCHEMA, bytes)
    }
}

impl Parked {
    pub(crate) fn encode(&self) -> Bytes {
        encode(PARKED_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("parked message", PARKED_SCHEMA, bytes)
    }
}

impl Refused {
    pub(crate) fn encode(&self) -> Bytes {
        encode(REFUSED_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("refused version", REFUSED_SCHEMA, bytes)
    }
}

impl Envelope {
    pub(crate) fn encode(&self) -> Bytes {
        encode(ENVELOPE_SCHEMA, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        decode("message to another cell", ENVELOPE_SCHEMA, bytes)
    }
}

/// What is kept of the last message that was taken from another cell.
pub(crate) fn encode_received(last: MessageId) -> Bytes {
    encode(RECEIVED_SCHEMA, &last)
}

pub(crate) fn decode_received(bytes: &[u8]) -> Result<MessageId, Unreadable> {
    decode("position in another cell", RECEIVED_SCHEMA, bytes)
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
            header: Header { turns: 3, created_at: 1, state: Some("{}".into()), ..Header::default() },
            map: [("a".into(), Some("1".into())), ("b".into(), None)].into(),
            reply: Some(("key".into(), reply)),
            handled: None,
            sent: Vec::new(),
            timers: BTreeMap::new(),
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
        assert!(error.contains("0x0063") && error.contains("0x0002"), "{error}");
        assert!(Record::decode(&[1]).is_err());
    }
}
