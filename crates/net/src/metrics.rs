//! What is counted. Resolved once: looking a metric up by name costs more than counting.

use std::sync::LazyLock;

use ::metrics::{Counter, Gauge, counter, gauge};

use crate::{CallError, frame::Refusal};

pub(crate) static BYTES_SENT: LazyLock<Counter> =
    LazyLock::new(|| counter!("stride_peer_bytes_total", "direction" => "sent"));
pub(crate) static BYTES_RECEIVED: LazyLock<Counter> =
    LazyLock::new(|| counter!("stride_peer_bytes_total", "direction" => "received"));

/// Which side of a connection this node is.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Calling,
    Answering,
}

static CONNECTIONS: LazyLock<[Gauge; 2]> =
    LazyLock::new(|| ["calling", "answering"].map(|side| gauge!("stride_peer_connections", "side" => side)));
static REFUSED: LazyLock<[Counter; 2]> = LazyLock::new(|| {
    ["calling", "answering"].map(|side| counter!("stride_peer_connections_refused_total", "side" => side))
});

/// A connection that is counted while this lives.
pub(crate) struct Counted(Side);

impl Counted {
    pub(crate) fn new(side: Side) -> Self {
        CONNECTIONS[side as usize].increment(1);
        Self(side)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        CONNECTIONS[self.0 as usize].decrement(1);
    }
}

/// A connection did not come about.
pub(crate) fn refused(side: Side) {
    REFUSED[side as usize].increment(1);
}

static CALLS: LazyLock<[Counter; 6]> = LazyLock::new(|| {
    ["answered", "not_sent", "no_answer", "late", "overloaded", "too_large"]
        .map(|outcome| counter!("stride_peer_calls_total", "outcome" => outcome))
});

/// A call of this node ended.
pub(crate) fn called<T>(result: &Result<T, CallError>) {
    let outcome = match result {
        Ok(_) => 0,
        Err(CallError::NotSent(_)) => 1,
        Err(CallError::NoAnswer(_)) => 2,
        Err(CallError::Late) => 3,
        Err(CallError::Overloaded) => 4,
        Err(CallError::TooLarge(_)) => 5,
    };
    CALLS[outcome].increment(1);
}

static ANSWERS: LazyLock<[Counter; 6]> = LazyLock::new(|| {
    ["answered", "overloaded", "not_served", "late", "too_large", "failed"]
        .map(|outcome| counter!("stride_peer_answers_total", "outcome" => outcome))
});

/// A call of a peer ended.
pub(crate) fn answered(refusal: Option<Refusal>) {
    let outcome = match refusal {
        None => 0,
        Some(Refusal::Overloaded) => 1,
        Some(Refusal::NotServed) => 2,
        Some(Refusal::Late) => 3,
        Some(Refusal::AnswerTooLarge) => 4,
        Some(Refusal::Failed) => 5,
    };
    ANSWERS[outcome].increment(1);
}
