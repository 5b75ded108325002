//! `stride cluster`: what a cluster needs before its nodes are started, a whole one to try, and the ways into one and out of it.

mod adopt;
mod databases;
mod export;
mod init;
mod local;
mod rewind;
mod transfer;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Make the certificates by which the nodes of a cluster know each other; run again to add hosts, nothing is overwritten
    Init(init::Init),
    /// Run several nodes and a PostgreSQL of their own on this machine, to try a cluster; Ctrl-C ends all of it
    Local(local::Local),
    /// List the databases that keep the cells of a cluster
    Databases(databases::Databases),
    /// Add a database, and spread the cells over all of them while the nodes run
    AddDatabase(databases::AddDatabase),
    /// Say that a database that was added is reached at another address, or with another password
    Readdress(databases::Readdress),
    /// Take the data directory of a node that was alone into a cluster; verified before it counts, and run again if broken off
    Adopt(adopt::Adopt),
    /// Take all that a cluster has into a data directory for a node that is alone, and close the cluster
    Export(export::Export),
    /// Remove the snapshots that are newer than the database, after that was restored from a backup and before nodes start
    Rewind(rewind::Rewind),
}

impl Cluster {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Init(init) => init.run(),
            Self::Local(local) => local.run().await,
            Self::Databases(databases) => Box::pin(databases.run()).await,
            Self::AddDatabase(add) => Box::pin(add.run()).await,
            Self::Readdress(readdress) => Box::pin(readdress.run()).await,
            Self::Adopt(adopt) => Box::pin(adopt.run()).await,
            Self::Export(export) => Box::pin(export.run()).await,
            Self::Rewind(rewind) => Box::pin(rewind.run()).await,
        }
    }
}
