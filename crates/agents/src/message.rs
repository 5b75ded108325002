//! What is asked of an agent, and what comes back.

use std::time::Duration;

use stride_ids::{Address, Code, Failure, Payload};

/// The longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_LEN_MAX: usize = 256;

/// One message for one agent.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who is asked.
    pub address: Address,
    /// What.
    pub method: String,
    /// With which arguments.
    pub input: Payload,
    /// Repeating a request under the same key gets the first answer again.
    pub idempotency_key: Option<String>,
}

impl Ask {
    /// Refuses what no agent could ever take.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.input.check_size("request")?;
        let key_fits = |key: &String| (1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len());
        if !self.idempotency_key.as_ref().is_none_or(key_fits) {
            let message = format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_LEN_MAX} bytes");
            return Err(Failure::new(Code::InvalidRequest, message));
        }
        Ok(())
    }

    /// Tells this request from another one under the same idempotency key.
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.method.as_bytes(), self.input.content_type.as_bytes(), &self.input.body] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut head = [0; 16];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        head
    }
}

/// What came back, and what it took.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The reply.
    pub payload: Payload,
    /// How many turns the agent has committed; the number of this turn, unless the method only reads.
    pub turn: u64,
    /// The turn had been done before under the same idempotency key.
    pub replayed: bool,
    /// Where the time went.
    pub timing: Timing,
}

/// Where the time of an ask went.
#[derive(Clone, Copy, Debug, Default)]
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
