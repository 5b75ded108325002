//! `cargo xtask cluster`: three nodes on this machine, to try what a cluster does.

use clap::Args;

use crate::{
    guests, postgres,
    step::{cargo, run, target},
};

/// How many.
#[derive(Args)]
pub(crate) struct Cluster {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: u16,
}

impl Cluster {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        postgres::install()?;
        guests::install_target()?;
        run(&mut cargo(["build", "--release", "--workspace", "--bin", "stride"]))?;
        let mut stride = std::process::Command::new(target().join("release/stride"));
        run(stride.args(["cluster", "local", "--nodes", &self.nodes.to_string()]))
    }
}
