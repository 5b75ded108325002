//! The lease: taking a free one, passing it on, and the end of a holder that says nothing.

use std::time::Duration;

use serde_json::{Value, json};
use stride_sim::Clock;

use super::nodes::Nodes;
use crate::commands::bench::table::{Figures, Latencies};

const ACQUIRES: usize = 500;
const HANDOVERS: usize = 100;
const SILENCES: usize = 20;
/// Long enough that a holder on another node renews in time on a busy machine.
const TTL_MS: u64 = 500;
/// Nobody means to lose a lease that lasts so long.
const LONG_MS: u64 = 60_000;

pub(super) async fn measure(
    clock: &Clock,
    figures: &mut Figures,
    nodes: &Nodes,
    name: &str,
    tiny: bool,
) -> anyhow::Result<()> {
    let rounds = |rounds: usize| if tiny { 2 } else { rounds };
    let [mut acquires, mut handovers, mut silences] = [(); 3].map(|()| Latencies::new());
    let free = format!("lease/{name}-free");
    for n in 0..rounds(ACQUIRES) {
        let holder = format!("holder-{n}");
        let began = clock.now();
        let standing: Value = nodes.ask(&free, "acquire", &json!({"holder": holder, "ttl_ms": LONG_MS})).await?;
        acquires.add(clock.now() - began);
        anyhow::ensure!(standing["yours"] == true, "a free lease was not given: {standing}");
        nodes.ask::<Value>(&free, "release", &json!({"holder": holder, "token": standing["token"]})).await?;
    }
    let mut pair = Pair::start(nodes, format!("{name}-pair"), LONG_MS).await?;
    for _ in 0..rounds(HANDOVERS) {
        handovers.add(pair.change(clock, "stop").await?);
    }
    let mut pair = Pair::start(nodes, format!("{name}-silent"), TTL_MS).await?;
    for _ in 0..rounds(SILENCES) {
        silences.add(pair.change(clock, "go_down").await?);
    }
    figures.latency("lease: acquired, one turn over HTTP", &acquires, None);
    figures.latency("lease: released, until the next one knows", &handovers, None);
    let what = format!("lease: holder silent, ttl {TTL_MS} ms, until the next one knows");
    figures.latency(&what, &silences, None);
    Ok(())
}

/// Two workers, one of which holds a lease while the other waits for it.
struct Pair<'a> {
    nodes: &'a Nodes,
    lease: String,
    ttl_ms: u64,
    holds: &'static str,
    waits: &'static str,
}

impl<'a> Pair<'a> {
    async fn start(nodes: &'a Nodes, lease: String, ttl_ms: u64) -> anyhow::Result<Self> {
        let pair = Self { nodes, lease, ttl_ms, holds: "a", waits: "b" };
        for worker in [pair.holds, pair.waits] {
            pair.begin(worker).await?;
        }
        Ok(pair)
    }

    async fn begin(&self, worker: &str) -> anyhow::Result<Option<u64>> {
        self.nodes.ask(self.address(worker), "start", &(&self.lease, self.ttl_ms)).await
    }

    fn address(&self, worker: &str) -> String {
        format!("worker/{}-{worker}", self.lease)
    }

    /// The holder ends in this way, and the other one gets the lease; how long that took.
    async fn change(&mut self, clock: &Clock, way: &str) -> anyhow::Result<Duration> {
        let began = clock.now();
        self.nodes.ask::<()>(self.address(self.holds), way, &()).await?;
        self.nodes.ask_until(self.address(self.waits), "token", Option::is_some as fn(&Option<u64>) -> bool).await?;
        let took = clock.now() - began;
        (self.holds, self.waits) = (self.waits, self.holds);
        self.begin(self.waits).await?;
        Ok(took)
    }
}
