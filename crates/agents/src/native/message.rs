//! What is asked of agents that the platform serves itself, and what they answer. Nothing of it is stored.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stride_ids::{Address, Code, Failure, Payload};

use crate::{engine::Engine, message::Ask};

/// What an agent is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which method, one of those that its type declares.
    pub method: &'a str,
    pub(super) input: &'a Payload,
}

impl Asked<'_> {
    /// The input, as the method understands it.
    ///
    /// # Errors
    /// `invalid_request` if it is something else.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        postcard::from_bytes(&self.input.body).map_err(|e| {
            Failure::new(Code::InvalidRequest, format!("`{}` was asked with something else: {e}", self.method))
        })
    }

    /// The input as it came, for methods that clients and guests ask: they write JSON.
    pub fn payload(&self) -> &Payload {
        self.input
    }

    /// How to refuse a method that an agent does not know.
    pub fn unknown(&self, agent: &str) -> Failure {
        Failure::not_found(&format!("method of a {agent}"), self.method, None)
    }
}

/// What an agent answers, as it travels.
pub fn answer(value: &impl Serialize) -> Payload {
    payload(value)
}

/// Asks an agent that the platform serves itself.
///
/// # Errors
/// Its own, and those of [`Engine::ask`].
pub async fn ask<T: DeserializeOwned>(
    engine: &Arc<Engine>,
    address: &Address,
    method: &str,
    asked: &impl Serialize,
) -> Result<T, Failure> {
    let (input, idempotency_key, trace) = (payload(asked), None, None);
    let ask = Ask { address: address.clone(), method: method.into(), input, idempotency_key, trace };
    let answer = engine.ask(ask).await?;
    postcard::from_bytes(&answer.payload.body).map_err(|e| {
        Failure::new(Code::Internal, format!("`{}` answered to `{method}` what cannot be read: {e}", address.kind))
    })
}

fn payload(value: &impl Serialize) -> Payload {
    let body = postcard::to_stdvec(value).expect("a message always encodes");
    Payload { content_type: "application/octet-stream".into(), body: Bytes::from(body) }
}
