//! `stride check DIR`: verifies a data directory while no node runs on it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use stride_agents::Offline;
use stride_journal::embedded::{self, Look};
use stride_node::{Elsewhere, deployed_types};
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
        let dir = self.dir.display();
        if !sound {
            // What names the objects cannot be trusted, so there is nothing to compare them with.
            eprintln!(
                "error: {dir} is damaged; its objects were not checked\n  next: `stride repair {dir}` says what can be done"
            );
            return Err(Said.into());
        }
        if !self.objects_are_sound()? {
            eprintln!(
                "error: {dir} has objects that are damaged\n  next: get each of them from a node, which fails and marks what is damaged, and put it again; \
                 all others are given out"
            );
            return Err(Said.into());
        }
        Ok(output::line(format_args!("{dir} is sound"))?)
    }

    /// Whether all that is kept of objects is there and is what was written.
    fn objects_are_sound(&self) -> anyhow::Result<bool> {
        let Elsewhere { journal, objects } = Elsewhere::of(&self.dir)?;
        if let Some(database) = journal {
            output::line(format_args!(
                "journal: in the database {database}; what is in it and the objects were not checked"
            ))?;
            return Ok(true);
        }
        if let Some(location) = objects {
            output::line(format_args!("objects: kept in {location}; they were not checked"))?;
            return Ok(true);
        }
        let journal = self.dir.join("journal");
        if !journal.is_dir() {
            // A node that never came so far has no objects either.
            return Ok(true);
        }
        let context = "the objects cannot be checked";
        let journal = Look::at(&RealDisk, &journal).context(context)?;
        let types = deployed_types(&self.dir, journal.cells()).context(context)?;
        let index = Offline::open(&journal, &self.dir.join("store"), &types).context(context)?;
        let report = stride_data::check(&self.dir.join("objects"), &index).context(context)?;
        output::line(&report)?;
        Ok(report.damage.is_empty())
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
