//! `stride up`: a node in the foreground.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use stride_data::Location;
use stride_journal::Error;
use stride_node::{Config, DatabaseUrl, Ended, Node, Reads};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{output, report::Trouble};

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where everything durable is [default: stride-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7373]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The PostgreSQL database of the cluster to join, as postgres://USER@HOST/DATABASE [default: this node is alone]
    #[arg(long, env = "STRIDE_CLUSTER", hide_env_values = true, value_name = "URL")]
    cluster: Option<DatabaseUrl>,
    /// Where other nodes of the cluster are listened for; port 0 takes a free one [default: 127.0.0.1:7375]
    #[arg(long, value_name = "ADDR")]
    peers: Option<SocketAddr>,
    /// The host name or address under which clients and other nodes reach this one [default: what is listened on]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Certificates for other nodes, as `stride cluster init` makes them [default: what goes between nodes is not encrypted]
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// On what reads are answered in a cluster: leased, at once, or strict, by asking the database, whatever clocks do [default: leased]
    #[arg(long, value_name = "MODE")]
    reads: Option<Reads>,
    /// A command that adds and removes nodes: it gets JSON with `nodes` and `wanted` on its standard input [default: none]
    #[arg(long, value_name = "CMD")]
    scale_hook: Option<String>,
    /// Where the bytes of objects are kept: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIR, with
    /// credentials in AWS_*, GOOGLE_* or AZURE_* [default: the data directory]
    #[arg(long, value_name = "URL")]
    objects: Option<Location>,
    /// A file with settings; what is typed comes on top
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log on stderr, such as info or stride_agents=debug; s3s calls every 404 an error
    #[arg(long, env = "STRIDE_LOG", default_value = "info,s3s=off", value_name = "FILTER")]
    log: String,
}

impl Up {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        log_to_stderr(&self.log)?;
        let mut config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        if let Some(data) = self.data {
            config.data = data;
        }
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if self.cluster.is_some() {
            config.cluster = self.cluster;
        }
        if self.objects.is_some() {
            config.objects = self.objects;
        }
        if let Some(peers) = self.peers {
            config.peers = peers;
        }
        if self.advertise.is_some() {
            config.advertise = self.advertise;
        }
        if self.certificates.is_some() {
            config.certificates = self.certificates;
        }
        if let Some(reads) = self.reads {
            config.reads = reads;
        }
        if self.scale_hook.is_some() {
            config.scale_hook = self.scale_hook;
        }
        config.check()?;
        // Listened to from the beginning: who stops a node that is still starting must not be ignored.
        let (mut interrupt, mut terminate) = (signals(SignalKind::interrupt())?, signals(SignalKind::terminate())?);
        let node = tokio::select! {
            node = Box::pin(Node::start(config)) => node.context("the node did not start")?,
            () = either(&mut interrupt, &mut terminate) => return Ok(()),
        };
        output::line(format_args!("stride ready http://{}", node.address()))?;

        tokio::select! {
            ended = node.failed() => {
                return Err(stopped(&ended).into());
            }
            () = either(&mut interrupt, &mut terminate) => {}
        }
        tracing::info!("draining: running requests finish, state goes to the store");
        tokio::select! {
            () = Box::pin(node.drain()) => tracing::info!("drained"),
            () = either(&mut interrupt, &mut terminate) => tracing::warn!("not drained; the next start takes longer"),
        }
        Ok(())
    }
}

/// Why the node ended by itself, and what to do.
fn stopped(ended: &Ended) -> Trouble {
    let next = match ended {
        Ended::Journal(error) => next_after(error),
        _ => "give each node a data directory of its own; nothing acknowledged is lost",
    };
    Trouble::failed("the node had to stop").why(ended.to_string()).next(next)
}

/// What to do when the journal has stopped.
fn next_after(error: &Error) -> &'static str {
    match error {
        Error::Fenced { .. } => {
            "another node runs on the same data and has taken over: let only one run; nothing acknowledged is lost"
        }
        Error::Lost(_) => "bring back the server that has the newest records, then start the node again",
        Error::Unfit(_) => "change that, then start the node again; nothing acknowledged is lost",
        _ => "free the disk if it is full, then start the node again; nothing acknowledged is lost",
    }
}

fn signals(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen to signals")
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn log_to_stderr(filter: &str) -> Result<(), Trouble> {
    let wrong = |e: tracing_subscriber::filter::ParseError| {
        Trouble::usage(format!("`{filter}` is not a log filter")).why(e.to_string()).next("use one such as --log info")
    };
    let filter: EnvFilter = filter.parse().map_err(wrong)?;
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    Ok(())
}
