//! Candidates that tell each other: a message of the algorithm is a message between agents, and a timeout is a timer.

use std::time::Duration;

use stride::prelude::*;

use crate::{
    bully::{self, Awaited, Message, Sends, Timeout},
    member::{Member, Status},
};

/// The timer that is a candidate's only timeout.
const TIMEOUT: &str = "timeout";
/// A claim is waited for so many times as long as an answer: whoever gives up waiting makes an election of its own, and a group that is
/// slow must not be given more to do.
const PATIENCE: u64 = 100;

/// Member `id` of a group, at the address `candidate/GROUP.ID`.
#[derive(Default, Serialize, Deserialize)]
struct Candidate {
    group: String,
    /// How long an answer is waited for.
    timeout_ms: u64,
    member: Member,
}

/// What a candidate has to know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    group: String,
    id: u32,
    /// Their ids begin with 1.
    members: u32,
    timeout_ms: u64,
}

#[stride::agent]
impl Candidate {
    fn join(&mut self, place: Place) {
        let Place { group, id, members, timeout_ms } = place;
        *self = Self { group, timeout_ms, member: Member::new(id, members) };
    }

    /// The leader does not react.
    fn notice(&mut self) -> Result<(), Failure> {
        self.after(Member::notice)
    }

    /// What other candidates tell.
    fn hear(&mut self, message: Message) -> Result<(), Failure> {
        self.after(|member| member.step(|rule| rule.hear(message)))
    }

    /// What the timer tells.
    fn time_out(&mut self, timeout: Timeout) -> Result<(), Failure> {
        self.after(|member| member.step(|rule| rule.time_out(timeout)))
    }

    /// A platform where agents do not die has to be told that one is dead.
    fn go_down(&mut self) -> Result<(), Failure> {
        self.after(|member| {
            member.step(|rule| {
                rule.go_down();
                Sends::new()
            })
        })
    }

    fn come_up(&mut self) -> Result<(), Failure> {
        self.after(|member| member.step(bully::Candidate::come_up))
    }

    fn status(&self) -> Status {
        self.member.status()
    }
}

impl Candidate {
    /// Takes a step, sets the timeout that is awaited then, and sends what is to be sent.
    fn after(&mut self, step: impl FnOnce(&mut Member) -> Sends) -> Result<(), Failure> {
        let before = self.member.awaits();
        let sends = step(&mut self.member);
        match self.member.awaits() {
            awaited if awaited == before => {}
            Some(timeout) => {
                let patience = if timeout.of == Awaited::Claim { PATIENCE } else { 1 };
                let wait = Duration::from_millis(self.timeout_ms.saturating_mul(patience));
                timer::set(TIMEOUT, timer::after(wait), "time_out", &timeout)?;
            }
            None => {
                timer::cancel(TIMEOUT);
            }
        }
        for (to, message) in sends {
            for id in to {
                stride::agent("candidate", format!("{}.{id}", self.group)).tell("hear", &message)?;
            }
        }
        Ok(())
    }
}
