//! `stride cluster`: what a cluster needs before its nodes are started, and a whole one to try.

mod init;
mod local;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Make the certificates by which the nodes of a cluster know each other; run again to add hosts, nothing is overwritten
    Init(init::Init),
    /// Run several nodes and a PostgreSQL of their own on this machine, to try a cluster; Ctrl-C ends all of it
    Local(local::Local),
}

impl Cluster {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Init(init) => init.run(),
            Self::Local(local) => local.run().await,
        }
    }
}
