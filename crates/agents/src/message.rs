//! What is asked of an agent or told to it, and what comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stride_ids::{Address, Code, Failure, Payload};

use crate::timer::Firing;

/// The longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_LEN_MAX: usize = 256;

/// One message for one agent, with somebody waiting for the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Who is asked.
    pub address: Address,
    /// What.
    pub method: String,
    /// With which arguments.
    pub input: Payload,
    /// Repeating a request under the same key gets the first answer again.
    pub idempotency_key: Option<String>,
    /// The trace that this is part of, as a `traceparent`.
    pub trace: Option<String>,
}

/// One message for one agent, with nobody waiting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tell {
    /// Who is told.
    pub address: Address,
    /// What.
    pub method: String,
    /// With which arguments.
    pub input: Payload,
    /// Repeating a request under the same key changes nothing.
    pub idempotency_key: Option<String>,
    /// The trace that this is part of, as a `traceparent`.
    pub trace: Option<String>,
}

/// Refuses an idempotency key that is none.
pub(crate) fn check_key(key: Option<&String>) -> Result<(), Failure> {
    if key.is_none_or(|key| (1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len())) {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidRequest, format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_LEN_MAX} bytes")))
}

/// Tells a request from another one under the same idempotency key.
pub(crate) fn fingerprint(mode: &str, method: &str, input: &Payload) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in [mode.as_bytes(), method.as_bytes(), input.content_type.as_bytes(), &input.body] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut head = [0; 16];
    head.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    head
}

/// What came back, and what it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The reply.
    pub payload: Payload,
    /// How many turns the agent has committed; the number of this turn, unless the method only reads.
    pub turn: u64,
    /// The turn had been done before under the same idempotency key.
    pub replayed: bool,
    /// Where the time went.
    pub timing: Timing,
    /// The node that has the agent, if it is another one.
    pub node: Option<String>,
}

/// A message that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its id, unique within its agent.
    pub message: String,
    /// It had been told before under the same idempotency key.
    pub replayed: bool,
}

/// Where the time of an ask went.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting for the turns before it.
    pub queue: Duration,
    /// Bringing the body into memory.
    pub start: Duration,
    /// Running user code.
    pub run: Duration,
    /// Becoming durable.
    pub commit: Duration,
}

/// A message as it is stored and travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) sender: Sender,
    pub(crate) method: String,
    pub(crate) input: Payload,
    pub(crate) trace: Option<String>,
}

/// Where a message came from. Messages of one sender to one agent keep their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sender {
    /// A client or a function: each message stands for itself.
    Outside,
    Agent(Address),
    Timer(Firing),
}

/// A message with its destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) to: Address,
    pub(crate) message: Message,
}
