//! A bare ZeroMQ server, and its client.
//!
//! They are a program of their own (`floors/zeromq`), built by Cargo when they are measured: libzmq is under the MPL-2.0, which
//! nothing may be that Stride is built from, and a feature of this binary would put it into every lock file and every review.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::table::Latencies;

/// A server and a client, ended when they are dropped.
pub(crate) struct ZeroMq {
    // The client first, so that it is not left without a server.
    client: Process,
    to_client: ChildStdin,
    from_client: Lines<BufReader<ChildStdout>>,
    _server: Process,
}

impl ZeroMq {
    /// One that answers with the model of the prediction case. `dir` gets the words and the batches.
    pub(crate) fn predicting(dir: &Path, words: &str, batches: &[Vec<u8>]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("words"), words)?;
        Self::start(dir, floor("run").args(["--", "serve"]).arg(dir), batches)
    }

    /// One that answers with what it is sent. `dir` gets the batches.
    pub(crate) fn echoing(dir: &Path, batches: &[Vec<u8>]) -> anyhow::Result<Self> {
        Self::start(dir, floor("run").args(["--", "echo"]), batches)
    }

    fn start(dir: &Path, server: &mut Command, batches: &[Vec<u8>]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("batches"))?;
        for (n, batch) in batches.iter().enumerate() {
            std::fs::write(dir.join(format!("batches/{n:04}")), batch)?;
        }
        let built = floor("build").status().context("Cargo cannot be run")?;
        ensure!(built.success(), "floors/zeromq does not build; libzmq needs a C++ compiler");
        let mut server = Process::start(server)?;
        let ready = BufReader::new(server.0.stdout.take().context("a piped stdout is there")?).lines().next();
        let ready = ready.context("the ZeroMQ server did not start")??;
        let endpoint = ready.strip_prefix("zeromq ready ").context("the ZeroMQ server did not start")?;
        let mut client = Process::start(floor("run").args(["--", "ask"]).arg(dir).arg(endpoint))?;
        let to_client = client.0.stdin.take().context("a piped stdin is there")?;
        let from_client = BufReader::new(client.0.stdout.take().context("a piped stdout is there")?).lines();
        Ok(Self { client, to_client, from_client, _server: server })
    }

    /// Sends `count` batches, one after another.
    pub(crate) fn time(&mut self, count: usize, into: &mut Latencies) -> anyhow::Result<()> {
        writeln!(self.to_client, "{count}")?;
        let ended = || format!("the ZeroMQ client (process {}) ended", self.client.0.id());
        let line = self.from_client.next().with_context(ended)??;
        for nanoseconds in line.split_ascii_whitespace() {
            into.add(Duration::from_nanos(nanoseconds.parse()?));
        }
        Ok(())
    }
}

/// Cargo, about to do something with the floor. `cargo run` becomes the program that it runs, so ending one ends the other.
fn floor(what: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../floors/zeromq/Cargo.toml");
    cargo.args([what, "--quiet", "--release", "--locked", "--manifest-path", manifest]);
    cargo
}

struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If it has ended already, that is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
