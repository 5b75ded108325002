//! Asking and telling agents, and knowing which one this is.

use std::{cell::RefCell, fmt};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bindings::stride::guest::agents as host,
    failure::{Code, Failure},
    payload::Payload,
};

thread_local! {
    /// The agent that this instance serves.
    static CURRENT: RefCell<Option<Agent>> = const { RefCell::new(None) };
}

pub(crate) fn set_current(agent: Agent) {
    CURRENT.set(Some(agent));
}

/// Another agent, by its address within the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    kind: String,
    key: String,
}

/// The agent `kind/key`.
///
/// ```no_run
/// # fn example() -> Result<(), stride::Failure> {
/// let total: u64 = stride::agent("counter", "alice").ask("add", &5)?;
/// # Ok(())
/// # }
/// ```
pub fn agent(kind: impl Into<String>, key: impl Into<String>) -> Agent {
    Agent { kind: kind.into(), key: key.into() }
}

impl Agent {
    /// The agent whose turn this is; none in a function.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Asks and waits for the durable answer. `arguments` is what the method takes: `&()` for none, the value for one,
    /// a tuple for several. Needs the capability `agents` in stride.toml.
    ///
    /// # Errors
    /// Whatever the agent or the platform answered, with its code.
    pub fn ask<R: DeserializeOwned>(&self, method: &str, arguments: &(impl Serialize + ?Sized)) -> Result<R, Failure> {
        let answer = self.ask_raw(method, arguments_of(method, arguments)?)?;
        serde_json::from_slice(&answer.body).map_err(|e| {
            let message = format!("`{self}` answered `{method}` with something else than expected: {e}");
            Failure::new(Code::GuestError, message)
        })
    }

    /// Asks with bytes as they are, and answers with bytes as they are: for methods that take or return a [`Payload`].
    ///
    /// # Errors
    /// Whatever the agent or the platform answered, with its code.
    pub fn ask_raw(&self, method: &str, input: Payload) -> Result<Payload, Failure> {
        let answer = host::ask(&self.kind, &self.key, method, &input.into())?;
        Ok(answer.into())
    }

    /// Tells and does not wait. Within a turn the message leaves when the turn commits, or not at all; it arrives exactly
    /// once, and after what this agent told the same one before. In a function it is durable when this returns.
    /// `arguments` are as in [`Agent::ask`], and so is the capability.
    ///
    /// # Errors
    /// `capability_denied`, `payload_too_large`, and in a function whatever else kept it from becoming durable.
    pub fn tell(&self, method: &str, arguments: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        self.tell_raw(method, arguments_of(method, arguments)?)
    }

    /// Tells with bytes as they are: for methods that take a [`Payload`].
    ///
    /// # Errors
    /// As [`Agent::tell`].
    pub fn tell_raw(&self, method: &str, input: Payload) -> Result<(), Failure> {
        Ok(host::tell(&self.kind, &self.key, method, &input.into())?)
    }
}

/// A key that is the same for every attempt at the turn that runs, for calls to the outside world: a service that
/// honours it does nothing twice. None if the turn is tried only once.
pub fn attempts_key() -> Option<String> {
    host::attempts_key()
}

/// Arguments as they travel.
pub(crate) fn arguments_of(method: &str, arguments: &(impl Serialize + ?Sized)) -> Result<Payload, Failure> {
    let body = serde_json::to_vec(arguments).map_err(|e| {
        Failure::new(Code::InvalidRequest, format!("the arguments of `{method}` cannot be written as JSON: {e}"))
    })?;
    Ok(Payload::json(body))
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}
