//! `stride check DIR`: verifies a data directory while no node runs on it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use stride_journal::embedded;
use stride_sim::disk::RealDisk;

use crate::{
    output,
    report::{Said, Trouble},
};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The data directory, as given to `stride up --data`
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        must_be_data(&self.dir)?;
        let mut sound = true;
        let dir = self.dir.join("journal");
        if dir.is_dir() {
            let report = embedded::check(&RealDisk, &dir).context("the journal cannot be checked")?;
            output::line(&report)?;
            sound &= report.damage.is_none();
        }
        let dir = self.dir.join("store");
        if dir.is_dir() {
            let report = stride_store::check(&dir).context("the store cannot be checked")?;
            output::line(&report)?;
            sound &= report.damage.is_empty() && report.orphans.is_empty();
        }
        if sound {
            return Ok(output::line(format_args!("{} is sound", self.dir.display()))?);
        }
        eprintln!(
            "error: {dir} is damaged\n  next: `stride repair {dir}` says what can be done",
            dir = self.dir.display()
        );
        Err(Said.into())
    }
}

/// A directory that a node has used. Anything else would look sound for being empty.
pub(crate) fn must_be_data(dir: &Path) -> Result<(), Trouble> {
    if dir.join("node.json").is_file() {
        return Ok(());
    }
    Err(Trouble::failed(format!("{} is not a data directory", dir.display()))
        .why("it has no node.json")
        .next("name the directory that was given to `stride up --data`; the default is ./stride-data"))
}
