//! A map over many small objects: with a function that does nothing, so that what is left is the cost of an item; and with one
//! that computes for about a millisecond, against that function alone and against what native loops attain on all CPUs at once, so that
//! what is left is what the map takes from it.

use std::{hint::black_box, num::NonZeroUsize, thread::available_parallelism, time::Duration};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};
use stride_sim::Clock;

use super::{
    node::Server,
    table::{Against, Figures, ratio},
};

const OBJECTS: usize = 10_000;
const ROUNDS: usize = 5;
/// How long the function computes that does.
const COMPUTE: Duration = Duration::from_millis(1);
/// How many rounds it is told to find out how many that takes, and how often.
const PROBE: u64 = 5_000_000;
const PROBES: usize = 21;
/// How many rounds a native loop has: some tenths of a second.
const LOOP: u64 = 300_000_000;
/// How often the node is asked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Server::node(&dir.path().join("data"))?;
    node.deploy("echo").await?;
    node.deploy("faulty").await?;
    let bench = Bench { clock, http: Client::new(), url: format!("http://{}", node.address), node: &node };

    let (rounds, cpu_of_one) = bench.rounds().await?;
    let alone = bench.alone(rounds).await?;
    bench.fill(&rounds.to_string()).await?;
    let cpus = available_parallelism().map_or(1, NonZeroUsize::get);
    let (mut nothing, mut computing, mut took_cpu, mut ceilings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        nothing.push(bench.map("echo/echo").await?);
        let before = node.cpu_time()?;
        computing.push(bench.map("faulty/computes").await?);
        took_cpu.push(node.cpu_time()? - before);
        ceilings.push(
            tokio::task::spawn_blocking({
                let clock = clock.clone();
                move || ceiling(&clock, cpus)
            })
            .await?,
        );
    }
    let per_item = median(nothing) / u32::try_from(OBJECTS)?;
    figures.bounded("map of a no-op over 10,000 small objects, per item", format!("{per_item:.1?}"), "<= 100 µs");
    figures.value("function that computes, alone", format!("{alone:.2?}"), None);
    let share = ratio(alone * u32::try_from(OBJECTS)?, median(computing) * u32::try_from(cpus)?);
    ceilings.sort_unstable_by(f64::total_cmp);
    let ceiling = ceilings[ceilings.len() / 2];
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    figures.value("native loops on all CPUs at once, share of one alone on each", percent(ceiling), None);
    let against = Against { baseline: "native loops on all CPUs", ratio: share / ceiling, goal: ">= 0.85x" };
    figures.value("map of that over 10,000 objects, share of the CPUs", percent(share), Some(against));
    let of_node = ratio(cpu_of_one * u32::try_from(OBJECTS)?, median(took_cpu));
    let against = Against { baseline: "CPU time of the node", ratio: of_node, goal: ">= 0.85x" };
    figures.value("CPU time in the function, share of the node's", percent(of_node), Some(against));
    Ok(())
}

/// What the machine itself allows: how fast native loops are on all CPUs at once, against one that has the machine for itself. CPUs that
/// share a core, and others who use the machine, take from both alike.
fn ceiling(clock: &Clock, cpus: usize) -> f64 {
    let timed = |threads: usize| {
        let began = clock.now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| black_box(native(black_box(LOOP))));
            }
        });
        clock.now() - began
    };
    ratio(timed(1), timed(cpus))
}

/// The same that the function computes.
fn native(rounds: u64) -> u64 {
    (0..rounds).fold(0xcbf2_9ce4_8422_2325, |hash, round| black_box((hash ^ round).wrapping_mul(0x0100_0000_01b3)))
}

struct Bench<'a> {
    clock: &'a Clock,
    http: Client,
    url: String,
    node: &'a Server,
}

impl Bench<'_> {
    /// How many rounds take as long as is to be computed, and the CPU time that they take: others who use the machine add to the one and
    /// not to the other.
    async fn rounds(&self) -> anyhow::Result<(u64, Duration)> {
        let before = self.node.cpu_time()?;
        let probed = self.alone(PROBE).await?;
        let took_cpu = (self.node.cpu_time()? - before) / u32::try_from(PROBES)?;
        let part = ratio(COMPUTE, probed);
        Ok(((PROBE as f64 * part) as u64, took_cpu.mul_f64(part)))
    }

    /// How long the function computes if nothing else does.
    async fn alone(&self, rounds: u64) -> anyhow::Result<Duration> {
        let mut took = Vec::new();
        for _ in 0..PROBES {
            let request = self.http.post(format!("{}/v1/functions/faulty/computes", self.url)).body(rounds.to_string());
            let response = request.send().await?.error_for_status()?;
            let timing = response.headers().get("server-timing").context("no Server-Timing")?.to_str()?;
            let run = timing.rsplit("run;dur=").next().context("the call does not say how long it ran")?;
            took.push(Duration::from_secs_f64(run.parse::<f64>()? / 1e3));
        }
        Ok(median(took))
    }

    async fn fill(&self, body: &str) -> anyhow::Result<()> {
        let put = |n: usize| {
            let url = format!("{}/v1/objects/bench/in/{n:05}", self.url);
            let request = self.http.put(url).header("content-type", "application/json").body(body.to_owned());
            async move {
                request.send().await?.error_for_status()?;
                anyhow::Ok(())
            }
        };
        stream::iter((0..OBJECTS).map(put)).buffer_unordered(16).try_collect().await
    }

    /// How long a map takes, by the node's own clock.
    async fn map(&self, function: &str) -> anyhow::Result<Duration> {
        let spec = json!({"function": function, "over": "bench/in/"});
        let begun = self.http.post(format!("{}/v1/maps", self.url)).json(&spec).send().await?.error_for_status()?;
        let id = begun.json::<Value>().await?["id"].as_str().context("a map has no id")?.to_owned();
        loop {
            self.clock.sleep(LOOK_EVERY).await;
            let status: Value = self.http.get(format!("{}/v1/maps/{id}", self.url)).send().await?.json().await?;
            if status["state"] != "running" {
                let is_whole = status["done"] == OBJECTS && status["failed"] == 0;
                ensure!(is_whole && status["state"] == "done", "the map did not come to its end: {status}");
                let at = |field: &str| status[field].as_u64().context("a map has no times");
                return Ok(Duration::from_millis(at("ended_at")?.saturating_sub(at("created_at")?)));
            }
        }
    }
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}
