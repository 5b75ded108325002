//! `stride cluster adopt DIR`: what is in the data directory of a node that was alone, into a cluster.

use std::path::PathBuf;

use clap::Args;
use stride_sim::Clock;

use super::transfer::{ClusterArgs, Progress, failed, show};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The data directory, as given to `stride up --data`; no node may run on it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only copy objects and components, which can be done while the node still runs, so that the rest takes less long
    #[arg(long)]
    ahead: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Adopt {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let progress = Progress::begin("adopt", Clock::real());
        let places = self.cluster.with(self.dir.clone());
        let dir = self.dir.display();
        if self.ahead {
            let copied = places.copy_ahead(&|stage, done| progress.tell(stage, done)).await;
            progress.end();
            let copied = copied.map_err(|e| failed("nothing was taken into the cluster", &e))?;
            return match self.json {
                true => output::json(&copied),
                false => Ok(output::line(format_args!(
                    "{} chunks ({} bytes) are in the cluster's store, {} of them new; stop the node and run this again without --ahead",
                    copied.chunks, copied.bytes, copied.copied
                ))?),
            };
        }
        let done = places.adopt(&|stage, done| progress.tell(stage, done)).await;
        progress.end();
        let done = done.map_err(|e| failed(&format!("{dir} was not taken into the cluster"), &e))?;
        if self.json {
            return output::json(&done);
        }
        show(&done)?;
        Ok(output::line(format_args!(
            "{dir} is in the cluster {}: start its nodes with new data directories. No node starts on {dir} any more; keep it until you trust the cluster",
            done.cluster
        ))?)
    }
}
