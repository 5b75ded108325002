//! What `adopt` and `export` share: where the cluster is, how far they are, how they end.

use std::{fmt::Write as _, io::IsTerminal as _, path::PathBuf, sync::Mutex, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use stride_data::Location;
use stride_node::{
    DatabaseUrl,
    transfer::{Done, Places, Stage, TransferError},
};
use stride_sim::Clock;

use crate::{output, report::Trouble};

/// How often there is a line where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where the cluster is.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// The PostgreSQL database of the cluster, as postgres://USER@HOST/DATABASE
    #[arg(long, env = "STRIDE_CLUSTER", hide_env_values = true, value_name = "URL")]
    pub(super) cluster: DatabaseUrl,
    /// Where the cluster keeps objects and snapshots: s3://, gs://, az:// or file:///DIR
    #[arg(long, env = "STRIDE_OBJECTS", value_name = "URL")]
    pub(super) objects: Location,
}

impl ClusterArgs {
    pub(super) fn with(self, data: PathBuf) -> Places {
        Places { data, cluster: self.cluster, objects: self.objects }
    }
}

/// Says on stderr what is being done.
pub(super) struct Progress {
    what: &'static str,
    clock: Clock,
    bar: Option<ProgressBar>,
    said: Mutex<Option<(Stage, Duration)>>,
}

impl Progress {
    pub(super) fn begin(what: &'static str, clock: Clock) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix}: {msg} {pos}");
            let bar = ProgressBar::no_length().with_style(style.expect("the template is right")).with_prefix(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { what, clock, bar, said: Mutex::default() }
    }

    pub(super) fn tell(&self, stage: Stage, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(stage.to_string());
            bar.set_position(done);
            return;
        }
        let now = self.clock.now();
        let mut said = self.said.lock().expect("nothing panics while it tells");
        match *said {
            Some((before, at)) if before == stage && now.saturating_sub(at) < LINE_EVERY => return,
            Some((before, _)) if before == stage => eprintln!("{}: {stage}: {done}", self.what),
            _ => eprintln!("{}: {stage}", self.what),
        }
        *said = Some((stage, now));
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What was verified, for people.
pub(super) fn show(done: &Done) -> std::io::Result<()> {
    let Done { cells, rows, objects, deployments, .. } = done;
    let mut text =
        format!("verified: {} agents in {cells} cells, {} rows, {} bytes", rows.agents, rows.rows, rows.bytes);
    // Writing into memory does not fail.
    let _ = write!(
        text,
        "; {} messages wait, {} are parked, {} timers; {} chunks of objects ({} bytes); {deployments} deployments",
        rows.messages, rows.parked, rows.timers, objects.chunks, objects.bytes
    );
    output::line(text)
}

/// What went wrong, why, and what next.
pub(super) fn failed(what: &str, error: &TransferError) -> Trouble {
    let why = stride_ids::with_causes(error);
    let trouble = if error.is_unreachable() { Trouble::unreachable(what) } else { Trouble::failed(what) };
    trouble.why(why).next(error.next())
}
