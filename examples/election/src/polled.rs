//! The way back: candidates that reach each other only through storage, as functions do that have no address. Every message is
//! a row of a table, and everybody looks at its own rows again and again.
//!
//! This flatters storage. A row is there at once for whoever looks next, nobody reads rows of others, and no
//! function ends after minutes and has to be started anew.

use std::time::Duration;

use stride::prelude::*;

use crate::{
    bully::{self, Awaited, Message, Sends, Timeout},
    member::{Member, Status},
};

/// How often a candidate looks, which is how often those of the paper did.
const POLL_MS: u64 = 250;
const POLL: &str = "poll";
/// After how many polls an answer is late: one until it is asked for, one until it is seen, and one because polls are not punctual.
const ANSWER_POLLS: u32 = 3;
/// And a claim, which comes after the timeout of somebody else.
const CLAIM_POLLS: u32 = 4 * ANSWER_POLLS;

/// Member `id` of a group, at the address `polled-candidate/GROUP.ID`. The table of the group is `blackboard/GROUP`.
#[derive(Default, Serialize, Deserialize)]
struct PolledCandidate {
    group: String,
    member: Member,
    /// How many of its rows it has read.
    read: u64,
    /// What it waits for, and how often it has looked since.
    waited: Option<(Timeout, u32)>,
}

/// What a candidate has to know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    group: String,
    id: u32,
    members: u32,
}

#[stride::agent]
impl PolledCandidate {
    fn join(&mut self, place: Place) -> Result<(), Failure> {
        let Place { group, id, members } = place;
        *self = Self { group, member: Member::new(id, members), ..Self::default() };
        // Spread over the time between two polls, as those of processes are that know nothing of each other.
        let first = POLL_MS * u64::from(id) / u64::from(members.max(1));
        timer::set(POLL, timer::after(Duration::from_millis(first)), "begin", &())
    }

    fn begin(&mut self) -> Result<(), Failure> {
        timer::set(POLL, timer::every(Duration::from_millis(POLL_MS)), "poll", &())
    }

    fn leave(&mut self) {
        timer::cancel(POLL);
    }

    /// The leader does not react.
    fn notice(&mut self) -> Result<(), Failure> {
        let sends = self.member.notice();
        self.after(sends)
    }

    /// Looks at what is new, and whether something is late.
    fn poll(&mut self) -> Result<(), Failure> {
        let new: Vec<Message> = self.table().ask("query", &(self.member.id(), self.read))?;
        self.read += new.len() as u64;
        let mut sends = Sends::new();
        for message in new {
            sends.extend(self.member.step(|rule| rule.hear(message)));
        }
        if let Some((timeout, polls)) = &mut self.waited {
            *polls += 1;
            let late = if timeout.of == Awaited::Answer { ANSWER_POLLS } else { CLAIM_POLLS };
            if *polls >= late {
                sends.extend(self.member.step(|rule| rule.time_out(*timeout)));
            }
        }
        self.after(sends)
    }

    fn go_down(&mut self) {
        self.leave();
        self.member.step(|rule| {
            rule.go_down();
            Sends::new()
        });
    }

    fn come_up(&mut self) -> Result<(), Failure> {
        self.begin()?;
        let sends = self.member.step(bully::Candidate::come_up);
        self.after(sends)
    }

    fn status(&self) -> Status {
        self.member.status()
    }
}

impl PolledCandidate {
    fn table(&self) -> stride::Agent {
        stride::agent("blackboard", self.group.as_str())
    }

    /// After a step: from when on polls are counted, and what is written.
    fn after(&mut self, sends: Sends) -> Result<(), Failure> {
        let awaited = self.member.awaits();
        if self.waited.map(|(timeout, _)| timeout) != awaited {
            self.waited = awaited.map(|timeout| (timeout, 0));
        }
        let rows: Vec<(u32, Message)> = sends.into_iter().flat_map(|(to, it)| to.map(move |id| (id, it))).collect();
        if rows.is_empty() { Ok(()) } else { self.table().ask("put", &rows) }
    }
}

/// A table that stands for one of DynamoDB: a row per message, found by who is to read it.
#[derive(Default, Serialize, Deserialize)]
struct Blackboard {}

#[stride::agent]
impl Blackboard {
    fn put(&mut self, rows: Vec<(u32, Message)>) -> Result<(), Failure> {
        for (to, message) in rows {
            let count = state::get::<u64>(&count_of(to))?.unwrap_or(0) + 1;
            state::set(&count_of(to), &count)?;
            state::set(&row(to, count), &message)?;
        }
        Ok(())
    }

    /// The rows for one reader, without so many of the oldest.
    fn query(&self, to: u32, after: u64) -> Result<Vec<Message>, Failure> {
        (after + 1..).map_while(|n| state::get(&row(to, n)).transpose()).collect()
    }
}

fn count_of(to: u32) -> String {
    format!("count/{to}")
}

fn row(to: u32, n: u64) -> String {
    format!("row/{to}/{n}")
}
