//! What operators see of messages and timers, and how a parked message is taken up again.

use std::sync::Arc;

use stride_ids::{Address, Code, Failure, MessageId, Name};
use stride_sim::Timestamp;
use stride_store::{RowKey, Rows};

use crate::{
    engine::{Engine, journal_failure, store_failure, unreadable},
    message::Sender,
    record::{Parked, Record, Resume},
    timer::TimerStatus,
    turn::World as _,
};

/// A message that failed too often and is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// The agent it is for.
    pub agent: Address,
    /// Its id, unique within the agent.
    pub id: String,
    /// Who sent it: an agent, a timer, or nobody if it came from outside.
    pub from: Option<String>,
    /// The method that was to be run.
    pub method: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed last.
    pub cause: Failure,
    /// The version of the component that it failed on.
    pub version: Option<String>,
    /// When it was parked, in milliseconds since 1970.
    pub at: Timestamp,
}

impl Engine {
    /// The parked messages of a tenant's agents, `limit` at most, by cell and agent; only those of one agent if it is
    /// named.
    pub fn parked(&self, tenant: &Name, agent: Option<&Address>, limit: usize) -> Result<Vec<ParkedMessage>, Failure> {
        let ranges: Vec<Rows<'_>> = match agent {
            Some(agent) => vec![Rows::ParkedOf(agent)],
            None => self.cells.owned().iter().map(|cell| Rows::Parked(cell.id)).collect(),
        };
        let mut found = Vec::new();
        for range in ranges {
            for (row, bytes) in self.store.rows(range, None, usize::MAX).map_err(|e| store_failure(&e))? {
                let RowKey::Parked(agent, id) = row else { continue };
                if agent.tenant == *tenant && found.len() < limit {
                    found.push(shown(agent, id, Parked::decode(&bytes).map_err(|e| unreadable(&e))?));
                }
            }
        }
        Ok(found)
    }

    /// Takes up the parked messages of an agent again, in their order, behind what waits; they have all their attempts
    /// before them. How many there were.
    pub async fn resume(self: &Arc<Self>, agent: &Address) -> Result<usize, Failure> {
        let cell = &self.here(agent)?;
        let mut last = None;
        let mut resumed = 0;
        // Row by row, each looked at and taken within one record, so that two operators do not take one twice.
        loop {
            let ordered = {
                let mut tail = cell.tail.lock();
                let rows = self.store.rows(Rows::ParkedOf(agent), None, 1).map_err(|e| store_failure(&e))?;
                let Some((RowKey::Parked(_, id), bytes)) = rows.into_iter().next() else { break };
                let Parked { message, .. } = Parked::decode(&bytes).map_err(|e| unreadable(&e))?;
                let record = Record::Resume(Resume { agent: agent.clone(), id, message });
                self.order(cell, &mut tail, &record)?
            };
            self.wake_all(cell, ordered.woken);
            last = Some(ordered.pending);
            resumed += 1;
        }
        match last {
            Some(pending) => self.settle(cell, &pending.await.map_err(|e| journal_failure(&e))?),
            None => {
                let message = format!("no message of `{}/{}` is parked", agent.kind, agent.key);
                return Err(Failure::new(Code::NotFound, message));
            }
        }
        tracing::info!(target: "stride::audit", %agent, resumed, "parked messages resumed");
        Ok(resumed)
    }

    /// The timers of an agent, by name.
    pub fn timers_of(&self, agent: &Address) -> Result<Vec<TimerStatus>, Failure> {
        let status = |(name, timer): (String, crate::timer::Timer)| TimerStatus {
            name,
            schedule: timer.schedule,
            due: timer.due,
            method: timer.method,
        };
        Ok(self.timers(agent)?.into_iter().map(status).collect())
    }
}

fn shown(agent: Address, id: MessageId, parked: Parked) -> ParkedMessage {
    let from = match &parked.message.sender {
        Sender::Outside => None,
        Sender::Agent(sender) => Some(format!("{}/{}", sender.kind, sender.key)),
        Sender::Timer(firing) => Some(format!("timer {}", firing.name)),
    };
    ParkedMessage {
        agent,
        id: id.to_string(),
        from,
        method: parked.message.method,
        attempts: parked.attempts,
        cause: parked.cause,
        version: parked.version,
        at: parked.at,
    }
}
