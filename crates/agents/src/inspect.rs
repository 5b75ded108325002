//! Looking at agents and editing them from outside, without running user code.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stride_ids::{Address, AgentKey, CellId, Code, Failure, Name};
use stride_sim::Timestamp;
use stride_store::RowKey;

use crate::{
    cell::Cell,
    engine::{Engine, journal_failure, store_failure},
    inbox::Inbox,
    record::{Commit, Header, Record},
};

/// How long a listing waits for cells that nobody has just then.
const COMPLETE_MAX: Duration = Duration::from_secs(2);

/// What is known of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStatus {
    /// Which cell owns it.
    pub cell: CellId,
    /// How many turns it has committed.
    pub turns: u64,
    /// When its first turn was committed; none if only messages wait for it.
    pub created_at: Option<Timestamp>,
    /// Whether its body is in memory.
    pub live: bool,
    /// The size of its typed state, in bytes.
    pub state_bytes: usize,
    /// The version of the component that committed last; none if no turn has since release 0.1.
    pub version: Option<String>,
    /// A version whose first turn failed, so that the agent stays with the one before.
    pub refused: Option<String>,
    /// How many messages wait for it.
    pub waiting: usize,
}

/// One entry of an agent's keyed map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// Its key.
    pub key: String,
    /// The size of its value.
    pub bytes: usize,
}

/// A page of an agent's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePage {
    /// The typed state as the SDK saved it.
    pub state: Option<Bytes>,
    /// Entries of the keyed map, in key order.
    pub entries: Vec<StateEntry>,
    /// There may be more entries after the last one.
    pub more: bool,
}

/// Agents of some cells, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The agents.
    pub agents: Vec<Address>,
    /// The cells that were looked into.
    pub cells: Vec<CellId>,
}

impl Listed {
    /// A cell that was not looked into, if there is one among so many.
    fn missing(&self, cells: u16) -> Option<CellId> {
        let looked_into: HashSet<_> = self.cells.iter().collect();
        (0..cells).map(CellId).find(|cell| !looked_into.contains(cell))
    }

    /// So many agents at most. Those of a cell that moved meanwhile may have been listed by two nodes.
    fn page(mut self, limit: usize) -> Vec<Address> {
        self.agents.sort();
        self.agents.dedup();
        self.agents.truncate(limit);
        self.agents
    }
}

impl Engine {
    /// The agents of a type in key order, after `after`, `limit` at most, of all nodes. Cells that are on their way are waited for a moment; the
    /// agents of one that nobody has then are missing.
    ///
    /// # Errors
    /// Some of them cannot be had now.
    pub async fn list(
        &self,
        tenant: &Name,
        kind: &Name,
        after: Option<&AgentKey>,
        limit: usize,
    ) -> Result<Vec<Address>, Failure> {
        let Some(cluster) = &self.cluster else { return self.list_here(tenant, kind, after, limit) };
        let until = self.clock.now() + COMPLETE_MAX;
        loop {
            let mut listed = self.listed_here(tenant, kind, after, limit)?;
            let there = cluster.elsewhere.list(tenant, kind, after, limit).await?;
            listed.agents.extend(there.agents);
            listed.cells.extend(there.cells);
            match listed.missing(self.cell_count()) {
                Some(cell) if self.clock.now() < until => cluster.elsewhere.moved(cell).await,
                _ => return Ok(listed.page(limit)),
            }
        }
    }

    /// The same of this node alone.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list_here(
        &self,
        tenant: &Name,
        kind: &Name,
        after: Option<&AgentKey>,
        limit: usize,
    ) -> Result<Vec<Address>, Failure> {
        let among = |cell| self.cells.get(cell).is_some();
        self.store.list_agents(tenant, kind, after, limit, among).map_err(|e| store_failure(&e))
    }

    /// The same, with the cells that were here from beginning to end.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn listed_here(
        &self,
        tenant: &Name,
        kind: &Name,
        after: Option<&AgentKey>,
        limit: usize,
    ) -> Result<Listed, Failure> {
        let before = self.owned();
        let agents = self.list_here(tenant, kind, after, limit)?;
        let owned: HashSet<_> = self.owned().into_iter().collect();
        let cells = before.into_iter().filter(|cell| owned.contains(cell)).map(|(cell, _)| cell).collect();
        Ok(Listed { agents, cells })
    }

    /// Looks at one agent, also at one for which only messages wait, or are parked. Waits for the turn that is running, so
    /// that what it shows is durable.
    pub async fn inspect(&self, address: &Address) -> Result<AgentStatus, Failure> {
        let cell = self.here(address)?;
        let (header, live) = self.settled_header(&cell, address).await?;
        let waiting = cell.inboxes.lock().get(address).map_or(0, Inbox::len);
        if header.is_none() && waiting == 0 && self.store.agent_rows(address).map_err(|e| store_failure(&e))?.is_empty()
        {
            return Err(unknown(address));
        }
        let header = header.as_ref();
        Ok(AgentStatus {
            cell: cell.id,
            turns: header.map_or(0, |header| header.turns),
            created_at: header.map(|header| header.created_at),
            live,
            state_bytes: header.and_then(|header| header.state.as_ref()).map_or(0, Bytes::len),
            version: header.and_then(|header| header.version.as_deref()).map(str::to_owned),
            refused: header.and_then(|header| header.refused.clone()),
            waiting,
        })
    }

    /// A page of an agent's state.
    pub async fn state(
        &self,
        address: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StatePage, Failure> {
        let cell = self.here(address)?;
        let header = self.settled_header(&cell, address).await?.0.ok_or_else(|| unknown(address))?;
        let page = self.store.scan_map(address, prefix, after, limit).map_err(|e| store_failure(&e))?;
        let more = page.len() == limit;
        let entries = page.into_iter().map(|(key, value)| StateEntry { key, bytes: value.len() }).collect();
        Ok(StatePage { state: header.state, entries, more })
    }

    /// The value of one entry of an agent's keyed map.
    pub async fn state_entry(&self, address: &Address, key: &str) -> Result<Bytes, Failure> {
        let cell = self.here(address)?;
        self.settled_header(&cell, address).await?.0.ok_or_else(|| unknown(address))?;
        let row = RowKey::Map(address.clone(), key.to_owned());
        let value = self.store.get(&row).map_err(|e| store_failure(&e))?;
        value.ok_or_else(|| Failure::not_found("state key", key, None))
    }

    /// Replaces the typed state (`key` is none) or one entry of the keyed map; `value` none deletes it. A transaction
    /// like a turn, and noted in the log.
    pub async fn edit(
        self: &Arc<Self>,
        address: &Address,
        key: Option<String>,
        value: Option<Bytes>,
    ) -> Result<(), Failure> {
        let cell = &self.here(address)?;
        let pending = {
            let slot = cell.wake(address);
            let resident = slot.change().await;
            let mut header = self.header(&resident, address)?.ok_or_else(|| unknown(address))?;
            let mut map = std::collections::BTreeMap::new();
            match &key {
                Some(key) => {
                    let row = RowKey::Map(address.clone(), key.clone());
                    let before = self.store.get(&row).map_err(|e| store_failure(&e))?;
                    if value.is_none() && before.is_none() {
                        return Err(Failure::not_found("state key", key, None));
                    }
                    map.insert(key.clone(), value.clone());
                }
                None => header.state = value.clone(),
            }
            // What the body has in memory is no longer true.
            resident.drop_bodies();
            let commit = Commit {
                agent: address.clone(),
                header,
                map,
                reply: None,
                handled: None,
                sent: Vec::new(),
                timers: std::collections::BTreeMap::new(),
            };
            self.commit(cell, &resident, commit)?
        };
        self.settle(cell, &pending.await.map_err(|e| journal_failure(&e))?);
        let bytes = value.map_or(0, |value| value.len());
        tracing::info!(target: "stride::audit", agent = %address, key = key.as_deref().unwrap_or("(typed state)"), bytes, "state edited");
        Ok(())
    }

    /// Removes an agent and everything it has: state, timers, waiting and parked messages. Needs no user code, and no turn
    /// that was ever committed.
    pub async fn remove(self: &Arc<Self>, address: &Address) -> Result<(), Failure> {
        let cell = &self.here(address)?;
        let pending = {
            let slot = cell.wake(address);
            let resident = slot.change().await;
            let header = self.header(&resident, address)?;
            if header.is_none() && self.store.agent_rows(address).map_err(|e| store_failure(&e))?.is_empty() {
                return Err(unknown(address));
            }
            if let (Some(refused), Some(kind)) =
                (header.and_then(|header| header.refused), self.bodies.kind(&address.tenant, &address.kind))
            {
                self.note_refusal(cell, address, &kind.component, Some(refused), None);
            }
            resident.drop_bodies();
            let pending = self.append(cell, &Record::Remove(address.clone()))?;
            resident.committed(None, pending.seq());
            pending
        };
        self.settle(cell, &pending.await.map_err(|e| journal_failure(&e))?);
        tracing::info!(target: "stride::audit", agent = %address, "agent removed");
        Ok(())
    }

    /// The agent's header, if it ever committed, once that is durable, and whether the agent is in memory.
    async fn settled_header(&self, cell: &Arc<Cell>, address: &Address) -> Result<(Option<Header>, bool), Failure> {
        let (header, live, last) = {
            let slot = cell.wake(address);
            let resident = slot.change().await;
            (self.header(&resident, address)?, resident.has_bodies(), resident.last())
        };
        cell.settled(&*self.journal, last).await.map_err(|e| journal_failure(&e))?;
        self.confirm_owner(cell).await?;
        Ok((header, live))
    }
}

fn unknown(address: &Address) -> Failure {
    Failure::new(Code::NotFound, format!("there is no agent `{}/{}`", address.kind, address.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_knows_which_cells_nobody_looked_into() {
        let listed = |cells: &[u16]| Listed { agents: Vec::new(), cells: cells.iter().copied().map(CellId).collect() };
        assert_eq!(listed(&[2, 0, 1, 1]).missing(3), None);
        assert_eq!(listed(&[2, 0]).missing(3), Some(CellId(1)));
    }
}
