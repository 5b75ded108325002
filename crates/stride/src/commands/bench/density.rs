//! What agents cost in memory: live ones, and ones that only exist.

use stride_sim::Clock;

use super::{
    node::Server,
    start::{AGENTS, populate},
    table::{Figures, Latencies},
    traffic::{Connection, Request, one_by_one},
};

const LIVE: u64 = 2_000;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    live(clock, figures).await?;
    sleeping(clock, figures).await
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

async fn sleeping(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let empty = tempfile::tempdir()?;
    let node = Server::node(empty.path())?;
    node.deploy("counter").await?;
    node.terminate()?;
    let node = Server::node(empty.path())?;
    let without = node.resident()?;
    drop(node);

    let full = tempfile::tempdir()?;
    populate(clock, full.path()).await?.terminate()?;
    let node = Server::node(full.path())?;
    let mib = node.resident()?.saturating_sub(without) as f64 / f64::from(1 << 20);
    figures.bounded(&format!("{AGENTS} sleeping counters"), format!("{mib:.1} MiB"), "<= 50 MiB resident");
    Ok(())
}
