//! The paper's training case: a perceptron and batches of 100 MB. The same model code in the same run, one step of each way
//! after the other: natively on a local file, in an agent that keeps its weights and reads objects where they lie, and in two ways
//! that ship the data to the code.
//!
//! - *Functions*: a function of Stride keeps nothing, reaches no network and takes 4 MiB. So whoever drives the training fetches the
//!   batch over HTTP and sends it on, group by group, each with the parameters to a fresh instance; the weights are an object.
//! - *Fetching process*: the same without functions. A native process that is already running fetches the batch over HTTP and
//!   computes; the weights are an object. On the same link and processor a function service can hardly be faster than this.
//!
//! All ways begin with the same weights and see the same rows, and after every step their losses have to be the same, bit for bit.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use models::mlp::{FEATURES, GROUP, Gradient, Trainer, make_batch, row_len};
use reqwest::{Client, Response};
use serde::Deserialize;
use stride_sim::Clock;

use super::{
    node::Server,
    table::{Against, Figures, Latencies, ratio},
};

const BATCHES: usize = 3;
/// Every batch is seen so often; the first time does not count.
const EPOCHS: usize = 5;
/// A batch is 100 MB.
const ROWS: usize = 100_000_000 / row_len(FEATURES);
/// The same for a test: two groups, the second of which is not whole.
const ROWS_TINY: usize = GROUP + 5;
/// How many rows the native way reads at a time; the agent does the same.
const PIECE: usize = 32;
/// All batches stay in the node's cache, as they stay in the page cache for the native way.
const CONFIG: &str = "object_cache_mib = 512";

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures, tiny: bool) -> anyhow::Result<()> {
    let (rows, epochs) = if tiny { (ROWS_TINY, 2) } else { (ROWS, EPOCHS) };
    let dir = tempfile::tempdir()?;
    let node = Server::node_with(&dir.path().join("data"), CONFIG)?;
    node.deploy("training").await?;
    let http = Http { client: Client::new(), base: format!("http://{}/v1", node.address) };
    for n in 0..BATCHES {
        let batch = make_batch(n as u64, FEATURES, rows);
        std::fs::write(file(dir.path(), n), &batch)?;
        http.put(&format!("batch-{n}"), batch).await?;
    }
    let mut functions = Shipped::new(&http, "weights-of-functions").await?;
    let mut fetching = Shipped::new(&http, "weights-of-process").await?;
    let mut native = Trainer::new(FEATURES);
    let mut ways = Ways::default();
    let mut losses = Vec::new();
    for epoch in 0..epochs {
        if epoch == 1 {
            ways = Ways::default();
        }
        for n in 0..BATCHES {
            let loss = ways.native.step(clock, |parts| native_step(clock, &mut native, &file(dir.path(), n), parts))?;
            let name = format!("batch-{n}");
            let began = clock.now();
            let step: AgentStep = serde_json::from_slice(&http.ask("trainer/paper/step", &name).await?)?;
            let parts = Parts { fetch: seconds(step.fetch_seconds), compute: seconds(step.compute_seconds) };
            ways.agent.add(clock.now() - began, &parts);
            let began = clock.now();
            let (by_functions, parts) = functions.step_by_functions(clock, &name).await?;
            ways.functions.add(clock.now() - began, &parts);
            let began = clock.now();
            let (by_process, parts) = fetching.step_here(clock, &name).await?;
            ways.fetching.add(clock.now() - began, &parts);
            let all = [step.loss, by_functions, by_process].map(f32::to_bits);
            ensure!(all == [loss.to_bits(); 3], "the losses of step {} are not the same", losses.len());
            losses.push(loss);
        }
    }
    ways.show(figures, rows * row_len(FEATURES));
    let curve = losses.chunks(BATCHES).map(|epoch| format!("{:.3}", epoch.iter().sum::<f32>() / epoch.len() as f32));
    let curve = curve.collect::<Vec<_>>().join(" ");
    figures.value("  loss by epoch, the same bits in all four ways", curve, None);
    for (what, value) in PAPER {
        figures.value(what, value.into(), None);
    }
    Ok(())
}

/// What the paper measured, per iteration over 100 MB.
const PAPER: [(&str, &str); 2] = [
    ("  paper: Lambda", "3.08 s: 2.49 s fetch, 0.59 s compute"),
    ("  paper: EC2", "0.14 s: 0.04 s fetch, 0.10 s compute"),
];

fn file(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("batch-{n}"))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Where the time of a step goes.
#[derive(Debug, Default)]
struct Parts {
    fetch: Duration,
    compute: Duration,
}

/// What the agent answers.
#[derive(Deserialize)]
struct AgentStep {
    loss: f32,
    fetch_seconds: f64,
    compute_seconds: f64,
}

fn native_step(clock: &Clock, trainer: &mut Trainer, path: &Path, parts: &mut Parts) -> anyhow::Result<f32> {
    let mut file = File::open(path)?;
    let mut rows = vec![0; PIECE * row_len(FEATURES)];
    loop {
        let began = clock.now();
        let mut filled = 0;
        while filled < rows.len() {
            match file.read(&mut rows[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let fetched = clock.now();
        trainer.see(&rows[..filled]);
        parts.fetch += fetched - began;
        parts.compute += clock.now() - fetched;
        if filled < rows.len() {
            break;
        }
    }
    let began = clock.now();
    let loss = trainer.step();
    parts.compute += clock.now() - began;
    Ok(loss)
}

/// A node's routes.
struct Http {
    client: Client,
    base: String,
}

impl Http {
    async fn put(&self, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("{}/objects/training/{key}", self.base);
        self.client.put(url).body(bytes).send().await?.error_for_status()?;
        Ok(())
    }

    async fn get(&self, key: &str) -> anyhow::Result<Response> {
        let url = format!("{}/objects/training/{key}", self.base);
        Ok(self.client.get(url).send().await?.error_for_status()?)
    }

    async fn ask(&self, path: &str, argument: &str) -> anyhow::Result<Vec<u8>> {
        let request = self.client.post(format!("{}/agents/{path}", self.base)).json(argument);
        Ok(request.send().await?.error_for_status()?.bytes().await?.into())
    }

    /// Calls the function; its answer, and how long the guest ran.
    async fn gradient(&self, body: Vec<u8>) -> anyhow::Result<(Gradient, Duration)> {
        let url = format!("{}/functions/training/gradient", self.base);
        let answer = self.client.post(url).body(body).send().await?.error_for_status()?;
        let timing = answer.headers().get("server-timing").context("the answer has no Server-Timing")?.to_str()?;
        let run = timing.split("run;dur=").nth(1).and_then(|rest| rest.split(',').next()).context("it has no `run`")?;
        let run = seconds(run.trim().parse::<f64>()? / 1e3);
        let gradient =
            Gradient::from_bytes(FEATURES, &answer.bytes().await?).context("the function answered no gradient")?;
        Ok((gradient, run))
    }
}

/// A training whose weights are an object, because who computes keeps nothing.
struct Shipped<'a> {
    http: &'a Http,
    key: &'static str,
}

impl<'a> Shipped<'a> {
    async fn new(http: &'a Http, key: &'static str) -> anyhow::Result<Self> {
        http.put(key, Trainer::new(FEATURES).to_bytes()).await?;
        Ok(Self { http, key })
    }

    async fn load(&self) -> anyhow::Result<Trainer> {
        let bytes = self.http.get(self.key).await?.bytes().await?;
        Trainer::from_bytes(FEATURES, &bytes).context("what is stored is no training")
    }

    async fn step_by_functions(&mut self, clock: &Clock, batch: &str) -> anyhow::Result<(f32, Parts)> {
        let (began, mut compute) = (clock.now(), Duration::ZERO);
        let mut trainer = self.load().await?;
        let parameters = trainer.parameters().to_bytes();
        let mut groups = Groups::of(self.http.get(batch).await?);
        while let Some(rows) = groups.next().await? {
            let (gradient, run) = self.http.gradient([&parameters[..], &rows].concat()).await?;
            ensure!(trainer.take(&gradient), "the gradient is of another model");
            compute += run;
        }
        let loss = self.end(clock, trainer, &mut compute).await?;
        Ok((loss, Parts { fetch: (clock.now() - began).saturating_sub(compute), compute }))
    }

    async fn step_here(&mut self, clock: &Clock, batch: &str) -> anyhow::Result<(f32, Parts)> {
        let (began, mut compute) = (clock.now(), Duration::ZERO);
        let mut trainer = self.load().await?;
        let mut groups = Groups::of(self.http.get(batch).await?);
        while let Some(rows) = groups.next().await? {
            let began = clock.now();
            trainer.see(&rows);
            compute += clock.now() - began;
        }
        let loss = self.end(clock, trainer, &mut compute).await?;
        Ok((loss, Parts { fetch: (clock.now() - began).saturating_sub(compute), compute }))
    }

    async fn end(&self, clock: &Clock, mut trainer: Trainer, compute: &mut Duration) -> anyhow::Result<f32> {
        let began = clock.now();
        let loss = trainer.step();
        *compute += clock.now() - began;
        self.http.put(self.key, trainer.to_bytes()).await?;
        Ok(loss)
    }
}

/// A batch as it arrives, in groups of rows.
struct Groups {
    from: Response,
    waiting: Vec<u8>,
}

impl Groups {
    fn of(from: Response) -> Self {
        Self { from, waiting: Vec::new() }
    }

    /// The next group, the last of which may be smaller.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        const LEN: usize = GROUP * row_len(FEATURES);
        while self.waiting.len() < LEN {
            let Some(bytes) = self.from.chunk().await? else {
                let last = std::mem::take(&mut self.waiting);
                return Ok(Some(last).filter(|last| !last.is_empty()));
            };
            self.waiting.extend_from_slice(&bytes);
        }
        let after = self.waiting.split_off(LEN);
        Ok(Some(std::mem::replace(&mut self.waiting, after)))
    }
}

/// How long the steps of one way took.
struct Way {
    whole: Latencies,
    fetch: Latencies,
    compute: Latencies,
}

impl Default for Way {
    fn default() -> Self {
        Self { whole: Latencies::new(), fetch: Latencies::new(), compute: Latencies::new() }
    }
}

impl Way {
    fn step<R>(&mut self, clock: &Clock, step: impl FnOnce(&mut Parts) -> anyhow::Result<R>) -> anyhow::Result<R> {
        let (began, mut parts) = (clock.now(), Parts::default());
        let result = step(&mut parts)?;
        self.add(clock.now() - began, &parts);
        Ok(result)
    }

    fn add(&mut self, whole: Duration, parts: &Parts) {
        self.whole.add(whole);
        self.fetch.add(parts.fetch);
        self.compute.add(parts.compute);
    }

    /// The medians of its parts.
    fn split(&self) -> String {
        format!("fetch {:.1?}, compute {:.1?}", self.fetch.p50(), self.compute.p50())
    }
}

#[derive(Default)]
struct Ways {
    native: Way,
    agent: Way,
    functions: Way,
    fetching: Way,
}

impl Ways {
    fn show(&self, figures: &mut Figures, bytes: usize) {
        let against = |way: &Way, baseline, base: &Way, goal| {
            Some(Against { baseline, ratio: ratio(way.whole.p50(), base.whole.p50()), goal })
        };
        let rows = [
            ("step: native, local file", &self.native, None),
            ("step: agent, local objects", &self.agent, against(&self.agent, "native", &self.native, "p50 <= 1.5x")),
            (
                "step: functions, batch and weights over HTTP",
                &self.functions,
                against(&self.functions, "agent", &self.agent, "p50 >= 5x"),
            ),
            (
                "step: native process that fetches over HTTP",
                &self.fetching,
                against(&self.fetching, "agent", &self.agent, ""),
            ),
        ];
        for (what, way, against) in rows {
            figures.latency(what, &way.whole, against);
            figures.value("  of it", way.split(), None);
        }
        let rate = bytes as f64 / self.agent.fetch.p50().as_secs_f64() / 1e9;
        figures.bounded("  the agent's fetch", format!("{rate:.1} GB/s"), ">= 3 GB/s");
        let what = format!("  a batch: {:.1} MB of {FEATURES} features and a label a row", bytes as f64 / 1e6);
        figures.value(&what, format!("{BATCHES} batches"), None);
    }
}
