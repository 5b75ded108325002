//! From the start of a node to its readiness, with many agents that sleep.

use std::path::Path;

use stride_sim::Clock;

use super::{
    node::Server,
    table::{Figures, Latencies},
    traffic::{Connection, Request, one_by_one},
};

/// How many agents there are.
pub(crate) const AGENTS: u64 = 100_000;
const CONNECTIONS: u64 = 64;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = populate(clock, dir.path()).await?;
    // Dropping kills; what the store does not have yet is replayed from the journal.
    drop(node);
    let after_kill = start(clock, dir.path())?;
    figures.bounded(&format!("ready with {AGENTS} agents, after SIGKILL"), after_kill, "< 1 s");
    Server::node(dir.path())?.terminate()?;
    let after_drain = start(clock, dir.path())?;
    figures.bounded(&format!("ready with {AGENTS} agents, after a drain"), after_drain, "< 1 s");
    Ok(())
}

fn start(clock: &Clock, data: &Path) -> anyhow::Result<String> {
    let began = clock.now();
    let node = Server::node(data)?;
    let took = clock.now() - began;
    drop(node);
    Ok(format!("{took:.0?}"))
}

/// A node with many agents, each of which has taken one turn.
pub(crate) async fn populate(clock: &Clock, data: &Path) -> anyhow::Result<Server> {
    let node = Server::node(data)?;
    node.deploy("counter").await?;
    let mut workers = Vec::new();
    for worker in 0..CONNECTIONS {
        let (clock, mut connection) = (clock.clone(), Connection::open(node.address).await?);
        workers.push(tokio::spawn(async move {
            for n in (worker..AGENTS).step_by(CONNECTIONS as usize) {
                let add = Request::post(&format!("/v1/agents/counter/agent-{n}/add"), "application/json", b"1");
                one_by_one(&clock, &mut connection, &add, 1, &mut Latencies::new()).await?;
            }
            anyhow::Ok(())
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(node)
}
