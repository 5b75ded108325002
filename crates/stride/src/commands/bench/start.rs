//! From the start of a node to its readiness, with many agents that sleep.

use std::{path::Path, time::Duration};

use stride_sim::Clock;

use super::{
    node::Server,
    populate::populate,
    table::Figures,
    traffic::{Connection, Request, side_by_side},
};

/// How many connections write until the node is killed, and for how long.
const CONNECTIONS: usize = 64;
const WRITING: Duration = Duration::from_secs(5);

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    with(clock, figures, 100_000, "< 1 s").await
}

/// The same with a million agents.
pub(crate) async fn measure_a_million(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    with(clock, figures, 1_000_000, "< 2 s").await
}

async fn with(clock: &Clock, figures: &mut Figures, agents: u64, goal: &str) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    populate(clock, dir.path(), agents).await?;
    figures.bounded(&format!("ready with {agents} agents, after a drain"), start(clock, dir.path())?, goal);
    let node = Server::node(dir.path())?;
    let mut writers = Vec::new();
    for n in 0..CONNECTIONS {
        let add = Request::post(&format!("/v1/agents/counter/agent-{n}/add"), "application/json", b"1");
        writers.push((Connection::open(node.address).await?, add));
    }
    let (rate, ..) = side_by_side(clock, writers, WRITING).await?;
    // Dropping kills; what the store does not have yet is replayed from the journal.
    drop(node);
    let what = format!("ready with {agents} agents, SIGKILL after {WRITING:?} of {rate:.0} turns/s");
    figures.bounded(&what, start(clock, dir.path())?, goal);
    Ok(())
}

fn start(clock: &Clock, data: &Path) -> anyhow::Result<String> {
    let began = clock.now();
    let node = Server::node(data)?;
    let took = clock.now() - began;
    drop(node);
    Ok(format!("{took:.0?}"))
}
