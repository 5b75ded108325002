//! `cargo xtask demo`: Stride's main job on input that every machine which built Stride has.
//!
//! Every Rust file of every dependency goes through a function that parses it; each crate's totals are kept by a durable
//! agent. Then the node is killed, and every total has to be there again. Nothing is taken on trust: the files are counted
//! here, and a file without a result, or a total that does not add up, fails the demo.

mod node;
mod report;
mod sources;
mod totals;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;

use self::{node::Node, sources::Sources};
use crate::{
    guests,
    step::{cargo, now, root, run, target},
};

#[derive(Args)]
pub(crate) struct Demo {
    /// Audit the Rust files beneath this directory instead
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Stop after this many files
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Keep the node's data afterwards
    #[arg(long)]
    keep: bool,
}

/// What `stride map` reported.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) ok: u64,
    /// The paths that have a result. Two registries may hold the same crate, which is then recorded once.
    pub(crate) paths: BTreeSet<String>,
    pub(crate) failed: BTreeMap<String, u64>,
    /// The first few failures, as they came.
    pub(crate) examples: Vec<String>,
    pub(crate) took: Duration,
}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        guests::install_target()?;
        // With the features that the whole workspace needs, as the tests have them: Wasmtime is then built once for both.
        run(&mut cargo(["build", "--release", "--workspace", "--bin", "stride"]))?;
        let sources = match &self.path {
            Some(path) => Sources::of(path)?,
            None => Sources::registry()?,
        };
        let files = sources.count().min(self.limit.unwrap_or(u64::MAX));
        ensure!(files > 0, "there is no Rust file in {sources}; name a directory that has some with --path");

        let data = Data::new(self.keep)?;
        eprintln!("==> stride up --data {}", data.dir.display());
        let mut node = Node::start(&data.dir)?;
        eprintln!("    ready in {:.2} s at {}", node.start_time().as_secs_f64(), node.url());
        run(node.stride().arg("deploy").arg(root().join("examples/audit")))?;

        eprintln!("==> stride map audit/file: {files} Rust files of {sources}");
        let mapped = self.map(&node, &sources)?;
        let totals = totals::of(&node)?;
        report::print(&totals, &mapped);
        report::complete(&totals, &mapped, files)?;

        let crates = totals.len();
        eprintln!("==> kill -9 {} and start again on the same data", node.pid());
        node.kill()?;
        node = Node::start(&data.dir)?;
        let started = node.start_time();
        report::same(&totals, &totals::of(&node)?)?;
        report::survived(crates, started);
        node.stop()?;
        report::next_steps(self.path.is_some(), data.kept());
        Ok(())
    }

    fn map(&self, node: &Node, sources: &Sources) -> anyhow::Result<Mapped> {
        let mut map = node.stride();
        map.args(["map", "audit/file"]).args(sources.arguments());
        if let Some(limit) = self.limit {
            map.arg("--limit").arg(limit.to_string());
        }
        let began = now();
        let mut map = map.stdout(Stdio::piped()).spawn().context("cannot run stride map")?;
        let mut mapped = Mapped::default();
        for line in BufReader::new(map.stdout.take().expect("stdout is piped")).lines() {
            mapped.count(&line.context("cannot read what stride map says")?)?;
        }
        let status = map.wait()?;
        mapped.took = began.elapsed();
        // Failures make it fail, and they are told below with their codes. A failure without any is another matter.
        ensure!(status.success() || !mapped.failed.is_empty(), "stride map: {status}");
        Ok(mapped)
    }
}

impl Mapped {
    fn count(&mut self, line: &str) -> anyhow::Result<()> {
        let result: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not a result: {line}"))?;
        if result["ok"] == true {
            self.ok += 1;
            self.paths.insert(result["input"].as_str().context("a result without an input")?.to_owned());
            return Ok(());
        }
        let code = result["code"].as_str().unwrap_or("unknown").to_owned();
        *self.failed.entry(code).or_default() += 1;
        if self.examples.len() < 5 {
            self.examples.push(line.to_owned());
        }
        Ok(())
    }

    pub(crate) fn results(&self) -> u64 {
        self.ok + self.failed.values().sum::<u64>()
    }
}

/// The node's directory. It lies beside the build, because a temporary directory may be in memory, where being durable is
/// no achievement.
struct Data {
    dir: PathBuf,
    keep: bool,
}

impl Data {
    fn new(keep: bool) -> anyhow::Result<Self> {
        let dir = target().join("demo").join(std::process::id().to_string());
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { dir, keep })
    }

    fn kept(&self) -> Option<&std::path::Path> {
        self.keep.then_some(&self.dir)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if !self.keep
            && let Err(e) = std::fs::remove_dir_all(&self.dir)
        {
            eprintln!("{} could not be removed: {e}", self.dir.display());
        }
    }
}
