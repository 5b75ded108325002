//! What agents say to each other, in process: from one agent to the next and durable there, and asked within a turn.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use serde_json::json;
use stride_agents::Engine;
use stride_ids::Address;
use stride_sim::Clock;
use tokio::sync::Notify;

use super::{
    floor::{BareLog, PingPong},
    log::{COMMITTERS, RECORD_LEN, burst, journal_burst, record},
    rig::{address, ask},
    table::{Against, Figures, Latencies, ratio},
    watched::watched,
};

const ROUNDS: usize = 10;
const MESSAGES: usize = 200;
const ASKS: usize = 1_000;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let taken = Arc::new(Notify::new());
    let rig = watched(clock, &dir.path().join("rig"), "faulty", "post/*", ("take", taken.clone())).await?;
    // On a worker, as the work of a node is: from elsewhere, each message would have to wake one.
    let alone = tokio::spawn(alone(clock.clone(), rig.engine.clone(), taken, dir.path().join("bare"))).await??;
    alone.show(figures);
    together(clock, figures, &rig.engine, dir.path()).await
}

struct Alone {
    pings: Latencies,
    appends: Latencies,
    tells: Latencies,
    asks: Latencies,
}

async fn alone(clock: Clock, engine: Arc<Engine>, taken: Arc<Notify>, bare: PathBuf) -> anyhow::Result<Alone> {
    let (mut ping, mut log) = (PingPong::open()?, BareLog::create(&bare)?);
    let (ann, bob) = (address("post", "ann")?, address("post", "bob")?);
    let parcel = json!(["bob", "p".repeat(RECORD_LEN)]).to_string();
    let [mut pings, mut appends, mut tells, mut asks] = [(); 4].map(|()| Latencies::new());
    let mut sent = 0;
    for _ in 0..ROUNDS {
        ping.time(&clock, MESSAGES, &mut pings)?;
        log.time(&clock, &record(), MESSAGES, &mut appends)?;
        for _ in 0..MESSAGES {
            let began = clock.now();
            engine.ask(ask(&ann, "send", &parcel)).await?;
            taken.notified().await;
            // An answer shows only what is durable, so this one says that the message's own turn is.
            sent += 1;
            ensure!(number(&engine, &bob, "taken", "").await? == sent, "a parcel did not arrive exactly once");
            tells.add(clock.now() - began);
        }
        for _ in 0..ASKS {
            let began = clock.now();
            number(&engine, &ann, "taken_by", "\"bob\"").await?;
            asks.add(clock.now() - began);
        }
    }
    Ok(Alone { pings, appends, tells, asks })
}

impl Alone {
    fn show(&self, figures: &mut Figures) {
        figures.latency("bare TCP ping-pong, 1 byte", &self.pings, None);
        figures.latency("bare append + fdatasync, 1 KB", &self.appends, None);
        let ratio = ratio(self.tells.p50(), self.appends.p50());
        let against = Against { baseline: "bare append", ratio, goal: "p50 <= 2.5x" };
        figures.latency("tell, durable at both agents, 1 KB", &self.tells, Some(against));
        figures.latency("ask of an agent that asks another, both warm", &self.asks, None);
        figures.goal("p50 <= 20 µs");
    }
}

async fn together(clock: &Clock, figures: &mut Figures, engine: &Arc<Engine>, dir: &Path) -> anyhow::Result<()> {
    let log = journal_burst(clock, &dir.join("log")).await?;
    let mut senders = Vec::new();
    for n in 0..COMMITTERS {
        let sender = address("post", &format!("sender-{n}"))?;
        let parcel = json!([format!("taker-{n}"), "p".repeat(RECORD_LEN)]).to_string();
        let engine = engine.clone();
        senders.push(move || {
            let (engine, ask) = (engine.clone(), ask(&sender, "send", &parcel));
            async move { engine.ask(ask).await.map(drop).context("a parcel could not be sent") }
        });
    }
    let (began, before) = (clock.now(), engine.stats().handled);
    burst(clock, senders).await?;
    // Until the last one has arrived.
    while engine.stats().waiting + engine.stats().leaving > 0 {
        tokio::task::yield_now().await;
    }
    let rate = (engine.stats().handled - before) as f64 / (clock.now() - began).as_secs_f64();
    figures.value("bare log, 64 committers, 1 KB", format!("{log:.0}/s"), None);
    figures.value("tells from 64 agents to 64 others, 1 KB", format!("{rate:.0}/s"), None);
    Ok(())
}

async fn number(engine: &Arc<Engine>, agent: &Address, method: &str, body: &str) -> anyhow::Result<u64> {
    Ok(serde_json::from_slice(&engine.ask(ask(agent, method, body)).await?.payload.body)?)
}
