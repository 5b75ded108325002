//! `stride cluster local`: nodes and a database of their own on one machine, each a process, as they would be on several.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use stride_private_postgres::Server;
use stride_sim::{Clock, Tasks};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    signal,
};

use crate::{output, report::Trouble};

/// How long the nodes may take to end, each giving its cells to the others first.
const END_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Local {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16), value_name = "N")]
    nodes: u16,
    /// Where the first node listens; the others take the ports behind it
    #[arg(long, default_value_t = 7373, value_name = "PORT")]
    port: u16,
}

/// A node that runs.
struct Started {
    name: String,
    url: String,
    process: Child,
}

impl Local {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        output::line("starting PostgreSQL ...")?;
        let server = Tasks::real().blocking(Server::start_apart).await.context("there is no database to share")?;
        let dir = tempfile::Builder::new().prefix("stride-cluster-").tempdir().context("no directory for the nodes")?;
        let mut nodes = Vec::new();
        for number in 0..self.nodes {
            nodes.push(self.start(number, dir.path(), &server.url("postgres")).await?);
        }
        tell(&nodes, dir.path())?;
        // None of them is restarted: what happens when one ends is what there is to see.
        signal::ctrl_c().await.context("cannot listen for Ctrl-C")?;
        output::line("ending: every node gives its cells to the others, the last one keeps them")?;
        for node in &mut nodes {
            node.ask_to_end();
        }
        let ended = futures::future::join_all(nodes.iter_mut().map(|node| node.process.wait()));
        if Clock::real().timeout(END_WITHIN, ended).await.is_err() {
            // Dropping kills them.
            bail!(Trouble::failed("some nodes did not end in time and are killed"));
        }
        Ok(())
    }

    async fn start(&self, number: u16, dir: &Path, database: &str) -> anyhow::Result<Started> {
        let name = format!("node-{}", number + 1);
        let port = self.port.checked_add(number).with_context(|| format!("there is no port for {name}"))?;
        let log = log_of(dir, &name);
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut process = Command::new(std::env::current_exe().context("this program is not where it was")?)
            .arg("up")
            .args(["--listen", &format!("127.0.0.1:{port}"), "--peers", "127.0.0.1:0"])
            .args(["--objects", &format!("file://{}", dir.join("objects").display())])
            .arg("--data")
            .arg(dir.join(&name))
            .env("STRIDE_CLUSTER", database)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // A Ctrl-C is for this program, which ends them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).await.context("a node cannot be listened to")?;
        }
        let Some(url) = line.trim().strip_prefix("stride ready ") else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!(Trouble::failed(format!("{name} did not start")).why(said.trim().to_owned()));
        };
        output::line(format_args!("{name} is ready at {url}"))?;
        Ok(Started { name, url: url.to_owned(), process })
    }
}

impl Started {
    fn ask_to_end(&mut self) {
        if let Some(pid) = self.process.id() {
            // One that has ended already, because somebody tried that, needs no signal.
            let _ = std::process::Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
    }
}

fn log_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}

/// Says what there is, and what to do with it.
fn tell(nodes: &[Started], dir: &Path) -> anyhow::Result<()> {
    let mut table = output::table(&["NODE", "URL", "PID", "LOG"]);
    for node in nodes {
        let pid = node.process.id().map_or_else(String::new, |pid| pid.to_string());
        table.add_row([node.name.clone(), node.url.clone(), pid, log_of(dir, &node.name).display().to_string()]);
    }
    output::print(&table)?;
    let (first, last) = (&nodes[0].url, &nodes[nodes.len() - 1]);
    let pid = last.process.id().unwrap_or_default();
    output::line(format_args!(
        "\nIn another terminal, with any of these as STRIDE_URL:\n  \
           export STRIDE_URL={first}\n  \
           stride nodes                        # who is there, and how many cells each has\n  \
           stride deploy examples/counter      # at one node, for all\n  \
           stride ask counter/alice add 1\n  \
           stride --url {} ask counter/alice add 1   # another node, the same agent\n  \
           kill -9 {pid}                       # {} dies; the others have its cells within three seconds\n  \
           stride ask counter/alice add 1      # nothing is lost\n\n\
         Ctrl-C ends all of it; nothing is kept.",
        last.url, last.name
    ))?;
    Ok(())
}
