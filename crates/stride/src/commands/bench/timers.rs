//! Timers: how late one is, how many fire a second when all are due at once, and what pending ones cost while nothing is.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use stride_agents::Engine;
use stride_ids::Address;
use stride_sim::{Clock, Timestamp};
use tokio::sync::Notify;

use super::{
    floor::BareLog,
    log::record,
    node::Server,
    rig::{address, ask},
    table::{Against, Figures, Latencies, ratio},
    traffic::{Connection, Request},
    watched::watched,
};

const WAIT: Duration = Duration::from_millis(5);
const ROUNDS: usize = 10;
const ALONE: usize = 30;
const AGENTS: u64 = 64;
/// How many timers of each agent are due at once.
const EACH: u64 = 300;
const TOGETHER: u64 = AGENTS * EACH;
const PENDING: u64 = 100_000;
const IDLE: Duration = Duration::from_secs(10);
const HOUR: u64 = 3_600_000;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    firing(clock, figures).await?;
    pending(clock, figures).await
}

fn payment(id: u64) -> serde_json::Value {
    json!({"id": id.to_string(), "to": "till", "cents": 1})
}

/// An account that can pay for as long as a bench takes.
async fn rich(engine: &Arc<Engine>, key: &str) -> anyhow::Result<Address> {
    let account = address("account", key)?;
    engine.ask(ask(&account, "deposit", "4000000000")).await?;
    Ok(account)
}

async fn firing(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let paid = Arc::new(Notify::new());
    let bank = watched(clock, &dir.path().join("bank"), "bank", "account/*", ("pay", paid.clone())).await?;
    let engine = &bank.engine;
    let mut log = BareLog::create(&dir.path().join("bare"))?;
    let ann = rich(engine, "ann").await?;
    let [mut sleeps, mut appends, mut timers] = [(); 3].map(|()| Latencies::new());
    let milliseconds = WAIT.as_millis() as u64;
    for _ in 0..ROUNDS {
        log.time(clock, &record(), ALONE, &mut appends)?;
        for _ in 0..ALONE {
            let began = clock.now();
            clock.sleep(WAIT).await;
            sleeps.add(clock.now() - began);
            let began = clock.now();
            engine.ask(ask(&ann, "pay_later", &json!([milliseconds, payment(0)]).to_string())).await?;
            paid.notified().await;
            // An answer shows only what is durable.
            engine.ask(ask(&ann, "payments", "")).await?;
            timers.add(clock.now() - began);
        }
    }
    figures.latency("bare append + fdatasync, 1 KB", &appends, None);
    figures.latency("bare sleep of 5 ms", &sleeps, None);
    let against = Against { baseline: "bare sleep", ratio: ratio(timers.p50(), sleeps.p50()), goal: "about 1x" };
    figures.latency("a timer of 5 ms, from set to durable turn", &timers, Some(against));

    let mut payers = Vec::new();
    for n in 0..AGENTS {
        payers.push(rich(engine, &format!("payer-{n}")).await?);
    }
    // Long enough from now that all are set by then.
    let due: Timestamp = clock.timestamp() + 10_000;
    for id in 0..EACH {
        let set = payers.iter().map(|payer| {
            let later = json!([due.saturating_sub(clock.timestamp()), payment(id)]).to_string();
            engine.ask(ask(payer, "pay_later", &later))
        });
        futures::future::try_join_all(set).await?;
    }
    let left = due.saturating_sub(clock.timestamp());
    anyhow::ensure!(left > 0, "this machine cannot set {TOGETHER} timers within ten seconds");
    let handled = engine.stats().handled;
    clock.sleep(Duration::from_millis(left)).await;
    let began = clock.now();
    // Each is a message of its own, which pays by one more.
    while engine.stats().handled - handled < 2 * TOGETHER {
        clock.sleep(Duration::from_millis(1)).await;
    }
    let rate = TOGETHER as f64 / (clock.now() - began).as_secs_f64();
    figures.value(&format!("{TOGETHER} timers due at once, each a turn and a tell"), format!("{rate:.0}/s"), None);
    Ok(())
}

async fn pending(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Server::node(&dir.path().join("data"))?;
    node.deploy("bank").await?;
    let (none, resident) = (idle(clock, &node).await?, node.resident()?);
    let setters = (0..AGENTS).map(async |n| {
        let mut connection = Connection::open(node.address).await?;
        for id in (n..PENDING).step_by(AGENTS as usize) {
            let later = json!([HOUR, payment(id)]).to_string();
            let path = format!("/v1/agents/account/payer-{n}/pay_later");
            connection.send(&Request::post(&path, "application/json", later.as_bytes())).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(setters).await?;
    // What was written is stored by now and then; only afterwards is the node idle.
    clock.sleep(IDLE).await;
    let (some, resident_then) = (idle(clock, &node).await?, node.resident()?);
    figures.value("CPU time of an idle node", format!("{none:.2?} per second"), None);
    let against = Against { baseline: "without them", ratio: ratio(some, none), goal: "not measurable" };
    figures.value(&format!("with {PENDING} pending timers"), format!("{some:.2?} per second"), Some(against));
    let mib = resident_then.saturating_sub(resident) as f64 / f64::from(1 << 20);
    figures.value(&format!("memory of {PENDING} pending timers"), format!("{mib:.1} MiB"), None);
    Ok(())
}

/// The CPU time that a node takes each second while nothing happens.
async fn idle(clock: &Clock, node: &Server) -> anyhow::Result<Duration> {
    let (began, before) = (clock.now(), node.cpu_time()?);
    clock.sleep(IDLE).await;
    Ok((node.cpu_time()? - before).div_f64((clock.now() - began).as_secs_f64()))
}
