//! The processes that are measured: a node, or the bare echo server.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use reqwest::multipart::{Form, Part};

use crate::{project::Project, report::Trouble};

/// What a node of a cluster is started with.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) database: &'a str,
    pub(crate) objects: &'a str,
    /// Lines of its configuration.
    pub(crate) config: &'a str,
    pub(crate) certificates: Option<&'a Path>,
}

impl Member<'_> {
    /// Starts one on `data`, beside which its configuration lies.
    pub(crate) fn start(self, data: &Path) -> anyhow::Result<Server> {
        let config = data.with_extension("toml");
        std::fs::write(&config, self.config)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--listen", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--log", "warn"]);
        command.args(["--cluster", self.database, "--objects", self.objects]);
        command.arg("--data").arg(data).arg("--config").arg(config);
        if let Some(certificates) = self.certificates {
            command.arg("--certificates").arg(certificates);
        }
        Server::start(&mut command)
    }
}

/// A server in a process of its own, killed when it is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// The bare echo server.
    pub(crate) fn echo() -> anyhow::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(["bench", "echo-server"]))
    }

    /// A peer that answers with what it is sent, with TLS if it gets certificates.
    pub(crate) fn peer(certificates: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "peer-server"]);
        if let Some(certificates) = certificates {
            command.arg("--certificates").arg(certificates);
        }
        Self::start(&mut command)
    }

    /// A node on `data`.
    pub(crate) fn node(data: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]).arg(data);
        Self::start(&mut command)
    }

    /// A node on `data` with these lines as its configuration, which lies beside the data.
    pub(crate) fn node_with(data: &Path, config: &str) -> anyhow::Result<Self> {
        let path = data.with_extension("toml");
        std::fs::write(&path, config)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]).arg(data).arg("--config").arg(path);
        Self::start(&mut command)
    }

    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("a piped stdout is there")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("stride ready http://").context("the server did not start")?;
        Ok(Self { process, address: address.parse()? })
    }

    /// Builds and deploys an example of the checkout that this binary was built from.
    pub(crate) async fn deploy(&self, example: &str) -> anyhow::Result<()> {
        deploy(&format!("http://{}", self.address), example).await
    }

    /// Resident memory in bytes, each page that is shared counted once (`Pss`): all bodies of a component share the pages of
    /// its memory image that they have not written to.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).context("there is no Pss")?;
        let kib: u64 = line.split_whitespace().nth(1).context("Pss has no value")?.parse()?;
        Ok(kib * 1024)
    }

    /// The CPU time that all its threads have taken.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Asks the process to drain and end, and waits until it has.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "the node cannot be ended");
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it has ended already, that is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds an example of the checkout that this binary was built from, and deploys it to the node at `url`.
pub(crate) async fn deploy(url: &str, example: &str) -> anyhow::Result<()> {
    let (project, component) = build_example(example)?;
    let form = Form::new().text("manifest", project.manifest).part("component", Part::bytes(component));
    reqwest::Client::new().post(format!("{url}/v1/deployments")).multipart(form).send().await?.error_for_status()?;
    Ok(())
}

/// The component of an example.
pub(crate) fn example_component(example: &str) -> anyhow::Result<Vec<u8>> {
    Ok(build_example(example)?.1)
}

fn build_example(example: &str) -> anyhow::Result<(Project, Vec<u8>)> {
    let project = Project::open(&example_dir(example)?)?;
    let mut build = Command::new("sh");
    build.args(["-c", &project.command]).current_dir(&project.dir);
    // The manifest says where the artifact is, so nothing around us may move it.
    let built = build.env_remove("CARGO_TARGET_DIR").output()?;
    ensure!(built.status.success(), "{example} does not build: {}", String::from_utf8_lossy(&built.stderr));
    let component = std::fs::read(&project.artifact)?;
    Ok((project, component))
}

fn example_dir(example: &str) -> Result<PathBuf, Trouble> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Trouble::failed(format!("the example {example} is not there"))
        .why(format!("{} is where this binary was built", dir.display()))
        .next("run the benches with a binary built from a checkout that is still there"))
}
