//! What agents cost in memory: live ones, and ones that only exist.

use std::path::Path;

use stride_sim::Clock;

use super::{
    node::Server,
    populate::{STATE_LEN, populate},
    table::{Figures, Latencies},
    traffic::{Connection, Request, one_by_one},
};

const LIVE: u64 = 2_000;
/// How many sleeping agents are asked for the first time.
const WOKEN: u64 = 5_000;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    live(clock, figures).await?;
    sleeping(clock, figures, 100_000, 50).await?;
    sleeping(clock, figures, 1_000_000, 100).await
}

async fn live(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Server::node(dir.path())?;
    node.deploy("counter").await?;
    let mut connection = Connection::open(node.address).await?;
    let mut wake = async |from: u64, to: u64| -> anyhow::Result<()> {
        for n in from..to {
            let add = Request::post(&format!("/v1/agents/counter/live-{n}/add"), "application/json", b"1");
            one_by_one(clock, &mut connection, &add, 1, &mut Latencies::new()).await?;
        }
        Ok(())
    };
    // The first ones pay for what all share.
    wake(0, 100).await?;
    let before = node.resident()?;
    wake(100, 100 + LIVE).await?;
    let each = (node.resident()?.saturating_sub(before)) as f64 / LIVE as f64 / 1024.0;
    figures.bounded(&format!("a live counter, of {LIVE}"), format!("{each:.1} KiB"), "<= 64 KiB resident");
    Ok(())
}

async fn sleeping(clock: &Clock, figures: &mut Figures, agents: u64, goal_mib: u64) -> anyhow::Result<()> {
    let empty = tempfile::tempdir()?;
    let node = Server::node(empty.path())?;
    node.deploy("counter").await?;
    node.terminate()?;
    let node = Server::node(empty.path())?;
    let without = node.resident()?;
    drop(node);

    let full = tempfile::tempdir()?;
    populate(clock, full.path(), agents).await?;
    let node = Server::node(full.path())?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let resident = mib(node.resident()?.saturating_sub(without));
    let what = format!("{agents} sleeping counters of {STATE_LEN} bytes");
    figures.bounded(
        &format!("{what}, in memory"),
        format!("{resident:.1} MiB"),
        &format!("<= {goal_mib} MiB resident"),
    );
    let stored = mib(len_of(&full.path().join("store"))?);
    figures.bounded(&format!("{what}, in the store"), format!("{stored:.1} MiB"), "<= 300 MiB for a million");
    // Segments of the log are as long as they will ever be from the beginning, so this part does not grow with the agents.
    let whole = mib(len_of(full.path())?);
    figures.value(&format!("{what}, all files, with the log's"), format!("{whole:.1} MiB"), None);
    let mut connection = Connection::open(node.address).await?;
    let mut first = Latencies::new();
    for n in 0..WOKEN {
        let key = n * (agents / WOKEN);
        let get = Request::post(&format!("/v1/agents/counter/agent-{key}/get"), "application/json", b"");
        one_by_one(clock, &mut connection, &get, 1, &mut first).await?;
    }
    figures.latency(&format!("first ask of one of {agents} sleeping counters"), &first, None);
    figures.goal("p99 < 1 ms");
    Ok(())
}

/// The length of all files in a directory, in bytes.
fn len_of(dir: &Path) -> std::io::Result<u64> {
    let mut len = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        len += if entry.file_type()?.is_dir() { len_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(len)
}
