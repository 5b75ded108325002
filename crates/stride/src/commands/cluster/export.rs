//! `stride cluster export DIR`: all that a cluster has, into a data directory for a node that is alone.

use std::path::PathBuf;

use clap::Args;
use stride_sim::Clock;

use super::transfer::{ClusterArgs, Progress, failed, show};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The data directory to make; it must not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let progress = Progress::begin("export", Clock::real());
        let done = self.cluster.with(self.dir.clone()).export(&|stage, done| progress.tell(stage, done)).await;
        progress.end();
        let dir = self.dir.display();
        let done = done.map_err(|e| failed(&format!("the cluster was not taken into {dir}"), &e))?;
        if self.json {
            return output::json(&done);
        }
        show(&done)?;
        Ok(output::line(format_args!(
            "the cluster {} is in {dir}: `stride up --data {dir}`. The cluster is closed; its database and object store can go once you trust {dir}",
            done.cluster
        ))?)
    }
}
