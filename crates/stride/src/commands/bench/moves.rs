//! Planned moves of a warm cell with 10,000 agents, of which as many are in memory as a node may have, back and forth between two nodes, while clients ask its agents.
//!
//! The pause of a move is the longest that any request took that was under way while the cell moved: from when a client sent it until
//! it was answered. Clients repeat nothing, so a request that fails fails the run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};
use stride_ids::{CELLS_CLUSTER, CellId};
use stride_private_postgres::Server as Postgres;
use stride_sim::{Chance, Clock};

use super::{
    node::{Member, Server},
    rig::address,
    table::{Figures, Latencies},
};

const AGENTS: usize = 10_000;
const MOVES: usize = 60;
const CLIENTS: usize = 4;
/// How many agents are made at a time.
const AT_ONCE: usize = 32;
const CELL: CellId = CellId(500);
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures, tiny: bool) -> anyhow::Result<()> {
    let (agents, moves) = if tiny { (50, 4) } else { (AGENTS, MOVES) };
    let dir = tempfile::tempdir()?;
    let postgres = Postgres::start().context("no PostgreSQL can be started")?;
    let (database, objects) = (postgres.url("postgres"), format!("file://{}", dir.path().join("objects").display()));
    // As many stay in memory as a node may have.
    let config = "live_agents_max = 4900\nrunning_functions_max = 100\n";
    let member = Member { database: &database, objects: &objects, config, certificates: None };
    let servers = [member.start(&dir.path().join("a"))?, member.start(&dir.path().join("b"))?];
    servers[0].deploy("counter").await?;
    let town = Town::new(clock, &servers, agents)?;
    let names = town.names().await?;
    town.send(&names[0]).await?;
    eprintln!("  {agents} agents in {CELL} ...");
    town.wake().await?;

    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(load.clone().run(town.clone()))).collect();
    load.round(clock).await?;
    let (mut still, mut pauses, mut longest) = (Latencies::new(), Latencies::new(), Duration::ZERO);
    for n in 0..moves {
        load.longest.store(0, Ordering::SeqCst);
        load.round(clock).await?;
        still.add(load.longest());
        load.longest.store(0, Ordering::SeqCst);
        town.send(&names[(n + 1) % 2]).await?;
        // Whatever was held up is answered and counted.
        load.round(clock).await?;
        pauses.add(load.longest());
        longest = longest.max(load.longest());
    }
    load.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.context("a client panicked")??;
    }
    let count = load.answered.load(Ordering::SeqCst);
    figures.latency("longest of some requests while nothing moves", &still, None);
    figures.latency(&format!("a cell with {agents} agents moves under load: longest request"), &pauses, None);
    figures.goal("p99 < 200 ms");
    figures.value("  longest of all", format!("{longest:.1?}; {moves} moves, {count} requests, none failed"), None);
    Ok(())
}

/// Two nodes, and agents that are all in one cell.
#[derive(Clone)]
struct Town {
    clock: Clock,
    chance: Chance,
    client: Client,
    urls: Arc<[String]>,
    keys: Arc<[String]>,
}

impl Town {
    fn new(clock: &Clock, servers: &[Server], agents: usize) -> anyhow::Result<Self> {
        let mut keys = Vec::with_capacity(agents);
        let mut n = 0u64;
        while keys.len() < agents {
            let key = format!("agent-{n}");
            if address("counter", &key)?.cell(CELLS_CLUSTER) == CELL {
                keys.push(key);
            }
            n += 1;
        }
        let urls = servers.iter().map(|server| format!("http://{}", server.address)).collect();
        let chance = Chance::from_os();
        Ok(Self { clock: clock.clone(), chance, client: Client::new(), urls, keys: keys.into() })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.urls[0])).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Of the two nodes, in the order of their URLs.
    async fn names(&self) -> anyhow::Result<Vec<String>> {
        let list = self.get("/v1/nodes").await?;
        let named: BTreeMap<&str, &str> = list["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| Some((node["address"].as_str()?, node["node"].as_str()?)))
            .collect();
        let name = |url: &String| named.get(url.as_str()).map(|name| (*name).to_owned());
        self.urls.iter().map(name).collect::<Option<_>>().context("a node is not listed")
    }

    /// Has the cell go to a node, and waits until it is there.
    async fn send(&self, node: &str) -> anyhow::Result<()> {
        let body = json!({"cells": [CELL.0], "to": node});
        self.client.post(format!("{}/v1/cells/move", self.urls[0])).json(&body).send().await?.error_for_status()?;
        let began = self.clock.now();
        loop {
            let list = self.get("/v1/cells").await?;
            let owner = list["cells"].as_array().into_iter().flatten().find(|cell| cell["cell"] == CELL.0);
            if owner.is_some_and(|cell| cell["node"] == node) {
                return Ok(());
            }
            if self.clock.now() - began > PATIENCE {
                bail!("{CELL} does not go to {node}, also not after {PATIENCE:?}");
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }

    async fn wake(&self) -> anyhow::Result<()> {
        let woken = stream::iter(0..self.keys.len()).map(|n| self.ask(n));
        woken.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// A turn of an agent, through any node.
    async fn ask(&self, agent: usize) -> anyhow::Result<()> {
        let url = &self.urls[self.chance.below(self.urls.len() as u64) as usize];
        let to = format!("{url}/v1/agents/counter/{}/add", self.keys[agent]);
        let answer = self.client.post(to).body("1").send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }
}

/// What clients do, and how long it took.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicU64,
    /// In nanoseconds.
    longest: AtomicU64,
}

impl Load {
    async fn run(self: Arc<Self>, town: Town) -> anyhow::Result<()> {
        while !self.stop.load(Ordering::SeqCst) {
            let agent = town.chance.below(town.keys.len() as u64) as usize;
            let began = town.clock.now();
            town.ask(agent).await?;
            let took = town.clock.now() - began;
            self.longest.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::SeqCst))
    }

    /// Waits until every client has been answered some times: all that was under way is over then, on average and some more.
    async fn round(&self, clock: &Clock) -> anyhow::Result<()> {
        let (until, began) = (self.answered.load(Ordering::SeqCst) + 16 * CLIENTS as u64, clock.now());
        while self.answered.load(Ordering::SeqCst) < until {
            ensure!(clock.now() - began < PATIENCE, "the clients are not answered any more");
            clock.sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}
