//! Topics: agents that keep the newest messages and tell each subscriber of a message in the commit that takes it.
//!
//! ```text
//! m/NUMBER   a message, its number in 16 hex digits      i/IDENTITY   the number of a message that somebody else named
//! s/TYPE/KEY a subscriber: an agent of the platform       w/READER     the window that a reader took last
//! ```
//! Always true: a subscriber is told of each message once and in their order; what is taken twice under one `source` and `id` is
//! taken once, as long as it is kept. What is kept is only for those who read: nobody loses a message because it goes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stride_agents::{
    Turn,
    native::{Asked, BOUND, Bound, EVENT, NativeType, Schema, answer},
};
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload};
use stride_sim::Timestamp;

use crate::{
    event::{Attributes, EVENT_LEN_MAX, Event, MEDIA_TYPE},
    window,
};

/// The method that publishes.
pub const PUBLISH: &str = "publish";
pub(crate) const READ: &str = "read";
pub(crate) const SUBSCRIBE: &str = "subscribe";
pub(crate) const UNSUBSCRIBE: &str = "unsubscribe";
/// What flows ask, see `window`.
pub(crate) const WAITING: &str = "stride-waiting";
pub(crate) const WINDOW: &str = "stride-window";

/// What the platform calls a message that is no event of its own.
const MESSAGE: &str = "stride.topic.message";
/// How much of a topic is kept.
const KEPT_MAX: u64 = 10_000;
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// How many subscribers a topic may have, and how many bytes all of them are told at once: what a turn can send, with room for the rest.
const SUBSCRIBERS_MAX: usize = 64;
const TOLD_BYTES_MAX: usize = 5 << 19;
/// How many messages one reading gives at most, and after how many bytes it ends.
const READ_MAX: usize = 1_000;
const READ_BYTES: usize = 1 << 20;

const MESSAGES: &str = "m/";
const IDENTITIES: &str = "i/";
const SUBSCRIBERS: &str = "s/";
pub(crate) const SCHEMA: Schema = Schema(1);

/// The agents that are topics. Everybody may publish and read; only agents of the platform subscribe.
pub const TOPICS: NativeType = NativeType {
    name: "topic",
    methods: &[
        (PUBLISH, false),
        (READ, true),
        (SUBSCRIBE, false),
        (UNSUBSCRIBE, false),
        (WAITING, true),
        (WINDOW, false),
    ],
    handle,
};

/// A topic as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Topic {
    made_at: Timestamp,
    /// The number of the next message.
    next: u64,
    /// The oldest that is kept, and how many bytes are.
    first: u64,
    bytes: u64,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Message {
    event: Bytes,
    /// Under which it is known that it came, if somebody else named it.
    identity: Option<String>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its number.
    pub number: u64,
    /// It had been taken before.
    #[serde(default)]
    pub duplicate: bool,
}

/// What is asked of `read`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadAsked {
    #[serde(default)]
    pub(crate) after: Option<u64>,
    #[serde(default)]
    pub(crate) limit: Option<usize>,
}

/// Some messages of a topic, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Each with its number.
    pub messages: Vec<Numbered>,
    /// The number of the oldest message that is kept; what was before it is not there any more.
    pub first: u64,
    /// The number of the newest; 0 if there was none.
    pub last: u64,
}

/// A message with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// The number. They begin at 1.
    pub number: u64,
    /// The event.
    pub event: Value,
}

/// The address of a topic.
pub(crate) fn address(tenant: &Name, topic: &Name) -> Address {
    let key = AgentKey::new(topic.as_str()).expect("a name is a key");
    Address { tenant: tenant.clone(), kind: TOPICS.name(), key }
}

fn handle(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    // A topic is named like everything that developers name.
    Name::new(turn.address().key.as_str()).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
    match asked.method {
        PUBLISH => json(&publish(turn, asked.payload())?),
        READ => json(&read(turn, asked.payload())?),
        SUBSCRIBE => Ok(answer(&subscribe(turn, asked.input()?)?)),
        UNSUBSCRIBE => Ok(answer(&unsubscribe(turn)?)),
        WAITING => json(&window::waiting(turn, asked.payload())?),
        WINDOW => json(&window::window(turn, asked.payload())?),
        _ => Err(asked.unknown("topic")),
    }
}

fn json(value: &impl Serialize) -> Result<Payload, Failure> {
    let bytes = serde_json::to_vec(value).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
    Ok(Payload::json(bytes))
}

fn publish(turn: &mut Turn, payload: &Payload) -> Result<Published, Failure> {
    let mut topic = topic(turn)?.unwrap_or(Topic { made_at: turn.now(), next: 1, first: 1, bytes: 0 });
    let is_event = payload.content_type.starts_with(MEDIA_TYPE);
    let event = match is_event {
        true => Event::parse(&payload.body)?,
        false => {
            let (id, source) =
                (format!("{:x}-{}", topic.made_at, topic.next), format!("/topics/{}", turn.address().key));
            Event::about(Attributes { id, source, kind: MESSAGE, at: turn.now() }, payload)
        }
    };
    let identity = is_event.then(|| event.identity());
    if let Some(known) = identity.as_ref().map(|identity| turn.get(&known(identity))).transpose()?.flatten() {
        return Ok(Published { number: SCHEMA.decode("message", &known)?, duplicate: true });
    }
    let encoded = event.encode();
    let subscribers = subscribers(turn)?;
    check_size(encoded.len(), subscribers.len())?;
    for subscriber in subscribers {
        turn.tell(subscriber, EVENT.into(), Payload { content_type: MEDIA_TYPE.into(), body: encoded.clone() })?;
    }
    let number = topic.next;
    topic.next += 1;
    topic.bytes += encoded.len() as u64;
    if let Some(identity) = &identity {
        turn.set(known(identity), SCHEMA.encode(&number))?;
    }
    turn.set(row(number), SCHEMA.encode(&Message { event: encoded, identity }))?;
    while topic.next - topic.first > KEPT_MAX || topic.bytes > KEPT_BYTES_MAX {
        forget_first(turn, &mut topic)?;
    }
    turn.save(SCHEMA.encode(&topic))?;
    Ok(Published { number, duplicate: false })
}

fn check_size(len: usize, subscribers: usize) -> Result<(), Failure> {
    let too_large = |message: String| {
        let message = format!("{message}; put the data into an object and publish a reference to it");
        Err(Failure::new(Code::PayloadTooLarge, message))
    };
    if len > EVENT_LEN_MAX {
        return too_large(format!("the event has {len} bytes, {EVENT_LEN_MAX} is the most"));
    }
    if len * (subscribers + 1) > TOLD_BYTES_MAX {
        return too_large(format!("an event of {len} bytes is too much to tell {subscribers} subscribers at once"));
    }
    Ok(())
}

fn forget_first(turn: &mut Turn, topic: &mut Topic) -> Result<(), Failure> {
    if let Some(bytes) = turn.get(&row(topic.first))? {
        let Message { event, identity } = SCHEMA.decode("message", &bytes)?;
        topic.bytes = topic.bytes.saturating_sub(event.len() as u64);
        identity.map_or(Ok(()), |identity| turn.delete(known(&identity)))?;
        turn.delete(row(topic.first))?;
    }
    topic.first += 1;
    Ok(())
}

fn read(turn: &Turn, payload: &Payload) -> Result<Window, Failure> {
    let wrong = |e: serde_json::Error| {
        let message = format!("`read` takes a record such as {{\"after\": 0, \"limit\": 100}}: {e}");
        Failure::new(Code::InvalidRequest, message)
    };
    let ReadAsked { after, limit } = match payload.body.is_empty() {
        true => ReadAsked::default(),
        false => serde_json::from_slice(&payload.body).map_err(wrong)?,
    };
    let limit = limit.unwrap_or(READ_MAX).min(READ_MAX);
    let (first, next) = topic(turn)?.map_or((1, 1), |topic| (topic.first, topic.next));
    let mut messages = Vec::new();
    let mut bytes = 0;
    let mut number = after.map_or(first, |after| after.saturating_add(1).max(first));
    while number < next && messages.len() < limit && bytes < READ_BYTES {
        if let Some(row) = turn.get(&row(number))? {
            let Message { event, .. } = SCHEMA.decode("message", &row)?;
            bytes += event.len();
            let event = serde_json::from_slice(&event);
            let event = event.map_err(|e| Failure::new(Code::Internal, format!("a stored message is damaged: {e}")))?;
            messages.push(Numbered { number, event });
        }
        number += 1;
    }
    Ok(Window { messages, first, last: next - 1 })
}

/// Whoever tells this is told of each message from now on.
fn subscribe(turn: &mut Turn, binding: String) -> Result<(), Failure> {
    let sender = subscriber(turn)?;
    let name = format!("{SUBSCRIBERS}{}/{}", sender.kind, sender.key);
    let outcome =
        match turn.get(&name)?.is_none() && turn.scan(SUBSCRIBERS, None, SUBSCRIBERS_MAX)?.len() == SUBSCRIBERS_MAX {
            true => {
                let message =
                    format!("topic `{}` has {SUBSCRIBERS_MAX} subscribers, which is the most", turn.address().key);
                Err(Failure::new(Code::Overloaded, message))
            }
            false => Ok(turn.set(name, Bytes::new())?),
        };
    turn.tell(sender, BOUND.into(), answer(&Bound { binding, outcome }))?;
    Ok(())
}

fn unsubscribe(turn: &mut Turn) -> Result<(), Failure> {
    let sender = subscriber(turn)?;
    Ok(turn.delete(format!("{SUBSCRIBERS}{}/{}", sender.kind, sender.key))?)
}

/// The agent that tells. Nobody outside the platform subscribes: what is told would come from the platform.
fn subscriber(turn: &Turn) -> Result<Address, Failure> {
    let sender = turn.sender().filter(|sender| sender.kind.is_reserved() && sender.tenant == turn.address().tenant);
    sender.cloned().ok_or_else(|| {
        let message =
            "only triggers and flows subscribe to a topic; write `[[triggers]]` with this `topic` in stride.toml";
        Failure::new(Code::CapabilityDenied, message)
    })
}

fn subscribers(turn: &Turn) -> Result<Vec<Address>, Failure> {
    let rows = turn.scan(SUBSCRIBERS, None, SUBSCRIBERS_MAX)?;
    let damaged = || Failure::new(Code::Internal, "a stored subscriber is damaged");
    let subscriber = |(name, _): (String, Bytes)| {
        let (kind, key) = name.strip_prefix(SUBSCRIBERS).and_then(|rest| rest.split_once('/')).ok_or_else(damaged)?;
        let (kind, key) = (Name::new(kind).map_err(|_| damaged())?, AgentKey::new(key).map_err(|_| damaged())?);
        Ok(Address { tenant: turn.address().tenant.clone(), kind, key })
    };
    rows.into_iter().map(subscriber).collect()
}

/// The numbers of the oldest message that is kept, and of the newest.
pub(crate) fn bounds(turn: &Turn) -> Result<(u64, u64), Failure> {
    Ok(topic(turn)?.map_or((1, 0), |topic| (topic.first, topic.next - 1)))
}

fn topic(turn: &Turn) -> Result<Option<Topic>, Failure> {
    turn.load().map(|bytes| SCHEMA.decode("topic", &bytes)).transpose()
}

fn row(number: u64) -> String {
    format!("{MESSAGES}{number:016x}")
}

fn known(identity: &str) -> String {
    format!("{IDENTITIES}{identity}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_release_writes_stays_readable() {
        // Bytes as they were written first; a change of the format adds a schema and keeps reading this one.
        let topic = Topic { made_at: 300, next: 3, first: 1, bytes: 9 };
        let written = [1, 172, 2, 3, 1, 9];
        assert_eq!(SCHEMA.encode(&topic).to_vec(), written);
        assert_eq!(SCHEMA.decode::<Topic>("topic", &written).unwrap(), topic);
        let message = Message { event: Bytes::from_static(b"{}"), identity: Some("a".into()) };
        let written = [1, 2, 123, 125, 1, 1, 97];
        assert_eq!(SCHEMA.encode(&message).to_vec(), written);
        assert_eq!(SCHEMA.decode::<Message>("message", &written).unwrap(), message);
    }

    #[test]
    fn an_event_that_a_turn_could_not_send_is_refused() {
        assert!(check_size(EVENT_LEN_MAX, 9).is_ok() && check_size(40_000, SUBSCRIBERS_MAX).is_ok());
        for (len, subscribers, says) in [(EVENT_LEN_MAX + 1, 0, "is the most"), (EVENT_LEN_MAX, 10, "10 subscribers")] {
            let failure = check_size(len, subscribers).unwrap_err();
            assert!(failure.code == Code::PayloadTooLarge && failure.message.contains(says), "{failure}");
        }
    }
}
