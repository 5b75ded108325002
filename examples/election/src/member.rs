//! What an agent that is a candidate keeps beside the algorithm, for whoever measures it.

use serde::{Deserialize, Serialize};

use crate::bully::{Candidate, Sends, Timeout, Word};

/// A candidate and what became of it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Member {
    rule: Candidate,
    seen: Seen,
}

/// Times in milliseconds since 1970, by the clock of the node.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Seen {
    /// When it was told that the leader does not react.
    noticed_at: u64,
    /// Since when it follows whom it follows.
    settled_at: u64,
    /// How many messages it has sent.
    sent: u64,
    /// How often it has claimed to lead.
    claims: u64,
}

/// What a candidate answers when it is asked how it is.
#[derive(Serialize)]
pub(crate) struct Status {
    id: u32,
    is_down: bool,
    election: u64,
    leader: Option<u32>,
    #[serde(flatten)]
    seen: Seen,
}

impl Member {
    pub(crate) fn new(id: u32, members: u32) -> Self {
        Self { rule: Candidate::new(id, members), seen: Seen::default() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.rule.id()
    }

    pub(crate) fn awaits(&self) -> Option<Timeout> {
        self.rule.awaits()
    }

    pub(crate) fn notice(&mut self) -> Sends {
        self.seen.noticed_at = now();
        self.step(Candidate::notice)
    }

    pub(crate) fn step(&mut self, step: impl FnOnce(&mut Candidate) -> Sends) -> Sends {
        let before = (self.rule.election(), self.rule.leader());
        let sends = step(&mut self.rule);
        let after = (self.rule.election(), self.rule.leader());
        if after != before && after.1.is_some() {
            self.seen.settled_at = now();
        }
        for (to, message) in &sends {
            self.seen.sent += u64::from(to.end.saturating_sub(to.start));
            self.seen.claims += u64::from(message.word == Word::Claim);
        }
        sends
    }

    pub(crate) fn status(&self) -> Status {
        let Self { rule, seen } = self;
        let (election, leader) = (rule.election(), rule.leader());
        Status { id: rule.id(), is_down: rule.is_down(), election, leader, seen: *seen }
    }
}

#[expect(clippy::disallowed_methods, reason = "in a guest the time is what the host says, which is stride_sim's")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
