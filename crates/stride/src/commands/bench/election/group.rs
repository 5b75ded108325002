//! A group of candidates on a node, and one election after another among them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

use super::nodes::Nodes;

/// How many requests are under way at a time while nothing is measured.
const AT_ONCE: usize = 16;

/// How candidates reach each other.
#[derive(Clone, Copy)]
pub(super) enum Means {
    /// Agents tell each other.
    Told {
        /// How long an answer is waited for.
        timeout_ms: u64,
    },
    /// Everything goes through a table, which everybody polls.
    Polled,
}

/// See the module. The ids are from 1 to `members`.
pub(super) struct Group<'a> {
    nodes: &'a Nodes,
    means: Means,
    name: String,
    members: u32,
}

/// How a candidate is.
#[derive(Deserialize)]
struct Status {
    id: u32,
    is_down: bool,
    leader: Option<u32>,
    noticed_at: u64,
    settled_at: u64,
    sent: u64,
    claims: u64,
}

/// What an election took.
pub(super) struct Election {
    pub(super) took: Duration,
    pub(super) messages: u64,
    pub(super) claims: u64,
}

impl<'a> Group<'a> {
    /// Candidates that follow the highest of them.
    pub(super) async fn join(nodes: &'a Nodes, means: Means, name: &str, members: u32) -> anyhow::Result<Self> {
        let group = Self { nodes, means, name: format!("{name}-{members}"), members };
        let joins = stream::iter(1..=members).map(|id| {
            let mut place = json!({"group": group.name, "id": id, "members": members});
            if let Means::Told { timeout_ms } = means {
                place["timeout_ms"] = timeout_ms.into();
            }
            let address = group.address(id);
            async move { nodes.ask::<()>(address, "join", &place).await }
        });
        joins.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        group.order(members, "notice").await?;
        group.settled(members).await?;
        Ok(group)
    }

    pub(super) fn members(&self) -> u32 {
        self.members
    }

    /// The highest dies and this one notices. When all agree on the next, the dead one comes back.
    pub(super) async fn elect(&self, noticing: u32) -> anyhow::Result<Election> {
        let before = self.quiet().await?;
        self.order(self.members, "go_down").await?;
        self.order(noticing, "notice").await?;
        self.settled(self.members - 1).await?;
        let after = self.quiet().await?;
        let election = self.judge(&before, &after, noticing)?;
        self.order(self.members, "come_up").await?;
        self.settled(self.members).await?;
        Ok(election)
    }

    /// Sees to it that nobody polls any more.
    pub(super) async fn leave(&self) -> anyhow::Result<()> {
        let leaves = stream::iter(1..=self.members).map(|id| self.order(id, "leave"));
        leaves.buffer_unordered(AT_ONCE).try_collect().await
    }

    fn judge(&self, before: &[Status], after: &[Status], noticing: u32) -> anyhow::Result<Election> {
        let living: Vec<&Status> = after.iter().filter(|it| !it.is_down).collect();
        let highest = living.iter().map(|it| it.id).max().context("nobody lives")?;
        let leaders = living.iter().filter(|it| it.leader == Some(it.id)).count();
        ensure!(leaders == 1, "{leaders} candidates believe that they lead");
        ensure!(living.iter().all(|it| it.leader == Some(highest)), "not all follow {highest}, the highest that lives");
        let noticed_at = living.iter().find(|it| it.id == noticing).context("who noticed is dead")?.noticed_at;
        let settled_at = living.iter().map(|it| it.settled_at).max().unwrap_or_default();
        let sum = |statuses: &[Status], of: fn(&Status) -> u64| statuses.iter().map(of).sum::<u64>();
        Ok(Election {
            took: Duration::from_millis(settled_at.saturating_sub(noticed_at)),
            messages: sum(after, |it| it.sent) - sum(before, |it| it.sent),
            claims: sum(after, |it| it.claims) - sum(before, |it| it.claims),
        })
    }

    /// Waits until all that live follow this one. One is asked after the other, so that asking takes little from the election.
    async fn settled(&self, leader: u32) -> anyhow::Result<()> {
        for id in 1..=leader {
            let follows = |it: &Status| it.leader == Some(leader);
            self.nodes.ask_until(self.address(id), "status", follows).await?;
        }
        Ok(())
    }

    /// How everybody is, once nobody sends anything any more.
    async fn quiet(&self) -> anyhow::Result<Vec<Status>> {
        let mut before = self.statuses().await?;
        loop {
            let now = self.statuses().await?;
            if now.iter().map(|it| it.sent).eq(before.iter().map(|it| it.sent)) {
                return Ok(now);
            }
            before = now;
        }
    }

    async fn statuses(&self) -> anyhow::Result<Vec<Status>> {
        let asks = stream::iter(1..=self.members).map(|id| self.nodes.ask(self.address(id), "status", &()));
        asks.buffered(AT_ONCE).try_collect().await
    }

    async fn order(&self, id: u32, method: &str) -> anyhow::Result<()> {
        self.nodes.ask(self.address(id), method, &()).await
    }

    fn address(&self, id: u32) -> String {
        let kind = match self.means {
            Means::Told { .. } => "candidate",
            Means::Polled => "polled-candidate",
        };
        format!("{kind}/{}.{id}", self.name)
    }
}
