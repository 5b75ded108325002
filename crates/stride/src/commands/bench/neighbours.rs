//! An ask of an agent on another node: 1 KB to a method with `&self` of a guest and back, whole, through the engine here, the way
//! between nodes, and the engine there; against ZeroMQ's REQ and REP sockets between the same number of processes.
//!
//! The node that asks is in this process, as a client of a library would have it; the other one is a process of its own. They share a
//! PostgreSQL of their own, which a read that rests on the node's lease does not touch.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::Value;
use stride_agents::Engine;
use stride_ids::Address;
use stride_net::certificates::Authority;
use stride_node::{Config, Node};
use stride_private_postgres::Server as Postgres;
use stride_sim::Clock;

use super::{
    node::{Member, Server},
    rig::{address, ask},
    table::{Against, Figures, Latencies, ratio},
    zeromq::ZeroMq,
};

const ROUNDS: usize = 20;
const ASKS: usize = 300;
const BODY_LEN: usize = 1024;
const HOST: &str = "127.0.0.1";
/// How long the two nodes may take until each has its half of the cells.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut zeromq = ZeroMq::echoing(&dir.path().join("zeromq"), &[vec![7; BODY_LEN]])?;
    let postgres = Postgres::start().context("no PostgreSQL can be started")?;
    let cluster = dir.path().join("certificates");
    Authority::open(&cluster, clock)?.add(HOST)?;
    let open = Pair::start(clock, &dir.path().join("open"), &postgres, None).await?;
    let secret = Pair::start(clock, &dir.path().join("secret"), &postgres, Some(&cluster.join(HOST))).await?;

    let [mut bare, mut without, mut with] = [(); 3].map(|()| Latencies::new());
    // The first round connects, and touches everything for the first time.
    for round in 0..=ROUNDS {
        if round == 1 {
            [bare, without, with] = [(); 3].map(|()| Latencies::new());
        }
        zeromq.time(ASKS, &mut bare)?;
        without.merge(&open.time(clock).await?);
        with.merge(&secret.time(clock).await?);
    }
    figures.latency("ZeroMQ REQ and REP, 1 KB there and back", &bare, None);
    let against =
        |latencies: &Latencies, goal| Against { baseline: "ZeroMQ", ratio: ratio(latencies.p50(), bare.p50()), goal };
    figures.latency(
        "ask of an agent on another node, 1 KB, no write",
        &without,
        Some(against(&without, "p50 <= 1.3x")),
    );
    figures.latency("the same, mutual TLS", &with, Some(against(&with, "p50 <= 1.6x")));
    open.here.drain().await;
    secret.here.drain().await;
    Ok(())
}

/// A node in this process, one in another, and an agent that lives there.
struct Pair {
    here: Node,
    agent: Address,
    _there: Server,
}

impl Pair {
    async fn start(
        clock: &Clock,
        dir: &Path,
        postgres: &Postgres,
        certificates: Option<&Path>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let database = postgres.url(&postgres.fresh_database()?);
        let objects = format!("file://{}", dir.join("objects").display());
        let there = Member { database: &database, objects: &objects, config: "", certificates };
        let there = there.start(&dir.join("there"))?;
        there.deploy("echo").await?;
        let config = Config {
            data: dir.join("here"),
            listen: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
            peers: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
            cluster: Some(database.parse()?),
            objects: Some(objects.parse()?),
            certificates: certificates.map(Path::to_path_buf),
            ..Config::default()
        };
        let here = Box::pin(Node::start(config)).await?;
        shared(clock, &format!("http://{}", there.address)).await?;
        let agent = agent_elsewhere(here.engine()).await?;
        Ok(Self { here, agent, _there: there })
    }

    /// Asks one after another, from a task, as an agent or a request does.
    async fn time(&self, clock: &Clock) -> anyhow::Result<Latencies> {
        let (clock, engine, agent) = (clock.clone(), self.here.engine().clone(), self.agent.clone());
        let asks = async move {
            let (mut latencies, text) = (Latencies::new(), text());
            for _ in 0..ASKS {
                let ask = ask(&agent, "say", &text);
                let began = clock.now();
                let answer = engine.ask(ask).await?;
                latencies.add(clock.now() - began);
                anyhow::ensure!(answer.node.is_some(), "the agent has moved here");
                anyhow::ensure!(answer.payload.body == text.as_bytes(), "the answer is not what was sent");
            }
            Ok(latencies)
        };
        tokio::spawn(asks).await.context("the asks panicked")?
    }
}

/// So much JSON.
fn text() -> String {
    format!("\"{}\"", "x".repeat(BODY_LEN - 2))
}

/// Waits until both nodes have half of the cells, so that none of them moves any more.
async fn shared(clock: &Clock, url: &str) -> anyhow::Result<()> {
    let began = clock.now();
    loop {
        let list: Value = reqwest::get(format!("{url}/v1/nodes")).await?.json().await?;
        let cells: Vec<u64> =
            list["nodes"].as_array().into_iter().flatten().filter_map(|node| node["cells"].as_u64()).collect();
        if let [a, b] = cells[..]
            && a.abs_diff(b) <= 1
            && a + b == u64::from(stride_ids::CELLS_CLUSTER)
        {
            return Ok(());
        }
        if clock.now() - began > PATIENCE {
            bail!("the nodes do not share their cells, also not after {PATIENCE:?}: {cells:?}");
        }
        clock.sleep(LOOK_AGAIN).await;
    }
}

async fn agent_elsewhere(engine: &Arc<Engine>) -> anyhow::Result<Address> {
    for n in 0..1_000 {
        let agent = address("echo", &format!("agent-{n}"))?;
        if engine.ask(ask(&agent, "say", &text())).await?.node.is_some() {
            return Ok(agent);
        }
    }
    bail!("none of 1,000 agents is on the other node")
}
