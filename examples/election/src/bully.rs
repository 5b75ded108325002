//! Garcia-Molina's bully algorithm ("Elections in a Distributed Computing System", 1982): of those that live, the one with the
//! highest id leads.
//!
//! Who notices that the leader is gone asks all above. Whoever of them lives answers, and asks those above itself. Who hears no answer
//! in time is the highest that lives, and claims to lead to all below. Who hears one waits for that claim, and begins again
//! if it does not come.
//!
//! Messages and timeouts come in, messages go out, and [`Candidate::awaits`] says which timeout has to be set; how they travel is
//! for others. Elections are numbered, so that what is late is known: what a candidate follows only grows, by the election's
//! number first and by the leader's id second. So the outcome needs no luck: a timeout that is too short costs
//! messages, and a candidate may lead for a moment that should not, but all end with the highest.

use std::ops::Range;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What candidates say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    /// To all above: is anybody there?
    Election,
    /// To one below: I am, leave it to me. To one whose election is an old one: there was a later one.
    Answer,
    /// To all below: I lead.
    Claim,
}

/// See [`Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) from: u32,
    /// The number of the election.
    pub(crate) election: u64,
    pub(crate) word: Word,
}

/// Messages that are to be sent, each with who gets it.
pub(crate) type Sends = Vec<(Range<u32>, Message)>;

/// What a candidate waits for, and in which election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timeout {
    election: u64,
    pub(crate) of: Awaited,
}

/// See [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Awaited {
    Answer,
    Claim,
}

/// One of the candidates with the ids from 1 to `members`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Candidate {
    id: u32,
    members: u32,
    is_down: bool,
    election: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// Whom it follows, which may be itself; nobody before the first election.
    Follows(Option<u32>),
    /// Nobody above has answered yet.
    Asks,
    /// Somebody above lives.
    Waits,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Follows(None)
    }
}

impl Candidate {
    pub(crate) fn new(id: u32, members: u32) -> Self {
        Self { id, members, ..Self::default() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn is_down(&self) -> bool {
        self.is_down
    }

    /// The election that it knows of.
    pub(crate) fn election(&self) -> u64 {
        self.election
    }

    /// Whom it follows; nobody while it does not know.
    pub(crate) fn leader(&self) -> Option<u32> {
        match self.stage {
            Stage::Follows(leader) => leader,
            Stage::Asks | Stage::Waits => None,
        }
    }

    /// The one timeout that has to be set now.
    pub(crate) fn awaits(&self) -> Option<Timeout> {
        let of = match self.stage {
            Stage::Follows(_) => return None,
            Stage::Asks => Awaited::Answer,
            Stage::Waits => Awaited::Claim,
        };
        Some(Timeout { election: self.election, of })
    }

    /// The leader does not react.
    pub(crate) fn notice(&mut self) -> Sends {
        if self.is_down { Sends::new() } else { self.begin(self.election + 1) }
    }

    pub(crate) fn hear(&mut self, message: Message) -> Sends {
        if self.is_down {
            return Sends::new();
        }
        let Message { from, election, word } = message;
        match word {
            Word::Answer if election > self.election => self.begin(election + 1),
            Word::Answer => {
                if election == self.election && self.stage == Stage::Asks {
                    self.stage = Stage::Waits;
                }
                Sends::new()
            }
            Word::Election => {
                let mut sends = if election > self.election { self.begin(election) } else { Sends::new() };
                sends.push(self.say(from..from + 1, Word::Answer));
                sends
            }
            Word::Claim if election < self.election => vec![self.say(from..from + 1, Word::Answer)],
            Word::Claim => {
                if (election, Some(from)) > (self.election, self.leader()) {
                    (self.election, self.stage) = (election, Stage::Follows(Some(from)));
                }
                Sends::new()
            }
        }
    }

    /// A timeout is over. One that is not awaited any more means nothing.
    pub(crate) fn time_out(&mut self, timeout: Timeout) -> Sends {
        if self.awaits() != Some(timeout) {
            return Sends::new();
        }
        match timeout.of {
            Awaited::Answer => self.claim(),
            Awaited::Claim => self.begin(self.election + 1),
        }
    }

    /// From now on it does not react to anything, as if it were dead.
    pub(crate) fn go_down(&mut self) {
        (self.is_down, self.stage) = (true, Stage::Follows(None));
    }

    /// It lives again, and does not care who leads meanwhile: that is why it is called the bully.
    pub(crate) fn come_up(&mut self) -> Sends {
        self.is_down = false;
        self.notice()
    }

    fn begin(&mut self, election: u64) -> Sends {
        self.election = election;
        if self.id == self.members {
            return self.claim();
        }
        self.stage = Stage::Asks;
        vec![self.say(self.id + 1..self.members + 1, Word::Election)]
    }

    fn claim(&mut self) -> Sends {
        self.stage = Stage::Follows(Some(self.id));
        vec![self.say(1..self.id, Word::Claim)]
    }

    fn say(&self, to: Range<u32>, word: Word) -> (Range<u32>, Message) {
        (to, Message { from: self.id, election: self.election, word })
    }
}
