//! Turns without HTTP: many agents at a time against the bare log, and one hot agent against the bare disk.

use std::sync::Arc;

use anyhow::Context as _;
use stride_agents::Engine;
use stride_ids::Address;
use stride_runtime::ComponentSpec;
use stride_sim::Clock;

use super::{
    floor::BareLog,
    log::{BURST, COMMITTERS, burst, journal_burst},
    rig::{Rig, address, ask},
    table::{Against, Figures},
    turns::RECORD_LEN,
};

const BURSTS: usize = 3;
/// How many callers the hot agent has.
const CALLERS: usize = 512;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rig = Rig::open(clock, &dir.path().join("rig"), "counter", ComponentSpec::default()).await?;
    let mut disk = BareLog::create(&dir.path().join("bare"))?;
    let [mut log, mut turns, mut bare, mut hot] = [(); 4].map(|()| Vec::new());
    for n in 0..BURSTS {
        log.push(journal_burst(clock, &dir.path().join(format!("log-{n}"))).await?);
        let distinct = (0..COMMITTERS).map(|n| address("counter", &format!("agent-{n}"))).collect::<Result<_, _>>()?;
        turns.push(asks(clock, &rig.engine, distinct).await?);
        bare.push(disk.rate(clock, &[b'x'; RECORD_LEN], BURST)?);
        turns_ahead(clock, &rig.engine, &mut hot).await?;
    }
    let (log, turns, bare, hot) = (median(log), median(turns), median(bare), median(hot));
    figures.value("bare log, 64 committers, 1 KB", format!("{log:.0}/s"), None);
    let against = Against { baseline: "bare log", ratio: turns / log, goal: "rate >= 0.60x" };
    figures.value("durable turns in process, 64 callers, 64 agents", format!("{turns:.0}/s"), Some(against));
    figures.value("bare fdatasync, one after another", format!("{bare:.0}/s"), None);
    let against = Against { baseline: "bare fdatasync", ratio: hot / bare, goal: "rate >= 20x" };
    figures.value("durable turns of one agent, 512 callers", format!("{hot:.0}/s"), Some(against));
    Ok(())
}

async fn turns_ahead(clock: &Clock, engine: &Arc<Engine>, rates: &mut Vec<f64>) -> anyhow::Result<()> {
    rates.push(asks(clock, engine, vec![address("counter", "hot")?; CALLERS]).await?);
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// How many durable asks a second callers make together, each of its own agent.
async fn asks(clock: &Clock, engine: &Arc<Engine>, agents: Vec<Address>) -> anyhow::Result<f64> {
    let callers = agents.into_iter().map(|agent| {
        let engine = engine.clone();
        move || {
            let (engine, ask) = (engine.clone(), ask(&agent, "add", "1"));
            async move { engine.ask(ask).await.map(drop).context("an ask failed") }
        }
    });
    burst(clock, callers.collect()).await
}
