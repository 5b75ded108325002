//! A node as a process, as any user would run it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::step::{now, target};

/// A running node. Dropping it kills it.
pub(crate) struct Node {
    process: Child,
    url: String,
    start_time: Duration,
}

impl Node {
    /// Starts a node on `data` and waits until it says that it is ready.
    pub(crate) fn start(data: &Path) -> anyhow::Result<Self> {
        let log = data.join("node.log");
        let stderr = File::options().create(true).append(true).open(&log);
        let mut command = Command::new(binary());
        command.arg("up").arg("--data").arg(data.join("data")).args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(stderr.with_context(|| format!("cannot write {}", log.display()))?);
        let began = now();
        let mut process = command.spawn().context("cannot run stride up")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
        let start_time = began.elapsed();
        let Some(url) = line.trim().strip_prefix("stride ready ") else {
            let status = process.wait()?;
            bail!("stride up: {status}\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        };
        Ok(Self { process, url: url.to_owned(), start_time })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// From the start of the process until it is ready.
    pub(crate) fn start_time(&self) -> Duration {
        self.start_time
    }

    /// A `stride` that talks to this node.
    pub(crate) fn stride(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("STRIDE_URL", &self.url).env_remove("STRIDE_TOKEN").env_remove("STRIDE_TENANT");
        command
    }

    /// Ends the process at once, with SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("the node had ended before it was killed")?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks the process to end, and waits until it has drained.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("cannot run kill")?;
        let status = self.process.wait()?;
        anyhow::ensure!(status.success(), "the node ended with {status} when it was asked to");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> std::path::PathBuf {
    target().join("release/stride")
}
