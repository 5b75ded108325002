//! `stride cluster rewind`: the object store of a cluster whose database was restored to an earlier moment.

use clap::Args;
use stride_node::transfer;
use stride_sim::Clock;

use super::transfer::{ClusterArgs, Progress, failed};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Rewind {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Rewind {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let progress = Progress::begin("rewind", Clock::real());
        let ClusterArgs { cluster, objects } = self.cluster;
        let rewound = transfer::rewind(&cluster, &objects, &|stage, done| progress.tell(stage, done)).await;
        progress.end();
        let rewound =
            rewound.map_err(|e| failed("the object store was not brought back to the database's moment", &e))?;
        match self.json {
            true => output::json(&rewound),
            false => Ok(output::line(format_args!(
                "removed {} snapshots of {} cells that are newer than the database; start the nodes with empty data directories",
                rewound.snapshots, rewound.cells
            ))?),
        }
    }
}
