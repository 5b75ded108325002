//! Tells whoever adds and removes nodes how many are wanted: a command of the operator's, run by whichever node reconciles.
//!
//! Always true: a node runs one at a time, none for longer than a minute, and none that failed is run again at once. What it is told is a
//! total, so a word that is said twice, by two nodes if the reconciler has just changed, does no harm.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde::Serialize;
use stride_cluster::{Demand, NodeRow, Scaler, Tables};
use stride_sim::Clock;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::watch};

use super::{Switchboard, in_time};

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the command may take.
const HOOK_MAX: Duration = Duration::from_secs(60);

/// What the command reads, as JSON.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    demand: &'a Demand,
    members: Vec<Member<'a>>,
}

/// A node, so that the command can choose which one to end.
#[derive(Serialize)]
struct Member<'a> {
    node: &'a str,
    address: &'a str,
    state: &'static str,
    cells: u32,
    agents: u64,
    waiting: u64,
}

/// See the module.
pub(super) struct Scaling {
    pub(super) hook: String,
    /// How many agents a node has room for.
    pub(super) agents_max: usize,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) tables: Arc<dyn Tables>,
    pub(super) clock: Clock,
}

impl Scaling {
    /// Until the node stops.
    pub(super) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut scaler = Scaler::default();
        while self.clock.timeout(LOOK_EVERY, stopped.wait_for(|stop| *stop)).await.is_err() {
            if !self.switchboard.beat().is_some_and(|beat| beat.reconciles()) {
                // Whoever does has its own idea of how long that has been so.
                scaler = Scaler::default();
                continue;
            }
            // While the tables are away nobody is told anything.
            let Ok(world) = in_time(&self.clock, self.tables.world()).await else { continue };
            let demand = Demand::of(world.nodes.values(), self.agents_max);
            if !scaler.is_due(self.clock.now(), &demand) {
                continue;
            }
            tracing::info!(
                nodes = demand.nodes,
                wanted = demand.wanted,
                reason = demand.reason,
                "the scale hook is run"
            );
            let told = Told { demand: &demand, members: world.nodes.values().map(member).collect() };
            let outcome = self.tell(&told).await;
            if let Err(why) = &outcome {
                tracing::warn!(%why, "the scale hook failed; it is run again later");
            }
            scaler.told(self.clock.now(), outcome.is_ok());
        }
    }

    async fn tell(&self, told: &Told<'_>) -> Result<(), String> {
        let input = serde_json::to_vec(told).map_err(|e| e.to_string())?;
        let run = async {
            let mut child = Command::new("sh")
                .args(["-c", &self.hook])
                .stdin(Stdio::piped())
                // Standard output belongs to whoever waits for the node to be ready.
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A command that reads nothing is as good.
                let _ = stdin.write_all(&input).await;
            }
            child.wait().await
        };
        match self.clock.timeout(HOOK_MAX, run).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it ended with {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it took longer than {HOOK_MAX:?} and was killed")),
        }
    }
}

fn member(row: &NodeRow) -> Member<'_> {
    let state = match row {
        NodeRow { dead: true, .. } => "dead",
        NodeRow { draining: true, .. } => "draining",
        _ => "ready",
    };
    let NodeRow { spec, cells, agents, queue, .. } = row;
    Member { node: spec.name.0.as_str(), address: &spec.http, state, cells: *cells, agents: *agents, waiting: *queue }
}
