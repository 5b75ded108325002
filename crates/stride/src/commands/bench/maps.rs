//! A map over many small objects: with a function that does nothing, so that what is left is the cost of an item; and with one
//! that computes for about a millisecond, against that function alone, so that what is left is what the map takes from it.

use std::{num::NonZeroUsize, thread::available_parallelism, time::Duration};

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
/// How often the node is asked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Server::node(&dir.path().join("data"))?;
    node.deploy("echo").await?;
    node.deploy("faulty").await?;
    let bench = Bench { clock, http: Client::new(), url: format!("http://{}", node.address) };

    let rounds = bench.rounds().await?;
    let alone = bench.alone(rounds).await?;
    bench.fill(&rounds.to_string()).await?;
    let (mut nothing, mut computing) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        nothing.push(bench.map("echo/echo").await?);
        computing.push(bench.map("faulty/computes").await?);
    }
    let per_item = median(nothing) / u32::try_from(OBJECTS)?;
    figures.bounded("map of a no-op over 10,000 small objects, per item", format!("{per_item:.1?}"), "<= 100 µs");
    figures.value("function that computes, alone", format!("{alone:.2?}"), None);
    let cpus = available_parallelism().map_or(1, NonZeroUsize::get);
    let share = ratio(alone * u32::try_from(OBJECTS)?, median(computing) * u32::try_from(cpus)?);
    let against = Against { baseline: "all CPUs in the function", ratio: share, goal: ">= 0.85x" };
    figures.value(
        "map of that over 10,000 objects, share of the CPUs",
        format!("{:.0} %", share * 100.0),
        Some(against),
    );
    Ok(())
}

struct Bench<'a> {
    clock: &'a Clock,
    http: Client,
    url: String,
}

impl Bench<'_> {
    /// How many rounds take as long as is to be computed.
    async fn rounds(&self) -> anyhow::Result<u64> {
        let probed = self.alone(PROBE).await?;
        Ok((PROBE as f64 * ratio(COMPUTE, probed)) as u64)
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
