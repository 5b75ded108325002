//! `stride repair DIR`: says what repairing would give up, and does it once that is agreed to.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use stride_journal::embedded::{Settings, plan_repair};
use stride_sim::disk::RealDisk;

use crate::{
    commands::check::must_be_data,
    output,
    report::{Said, Trouble},
};

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The data directory, as given to `stride up --data`
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
}

impl Repair {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        must_be_data(&self.dir)?;
        let store = store_damage(&self.dir.join("store"))?;
        let journal = self.dir.join("journal");
        if journal.is_dir() {
            let settings = Settings { cells: cells(&self.dir)?, ..Settings::default() };
            let plan = plan_repair(Arc::new(RealDisk), &journal, &settings).context("the journal cannot be read")?;
            output::line(&plan)?;
            if plan.damage.is_some() {
                if !self.yes && !agreed()? {
                    eprintln!("nothing was changed");
                    return Err(Said.into());
                }
                plan.carry_out().context("the repair was cut off; it can be run again")?;
                output::line("repaired the journal")?;
            }
        }
        let Some(damage) = store else { return Ok(()) };
        let what = format!("the store in {} is damaged, and this version cannot repair a store", self.dir.display());
        Err(Trouble::failed(what).why(damage.join("\n")).next("restore the directory from a backup").into())
    }
}

/// What is wrong with the store, which only a backup helps against.
fn store_damage(dir: &Path) -> anyhow::Result<Option<Vec<String>>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let damage = match stride_store::check(dir) {
        Ok(report) => report.damage,
        Err(damaged @ stride_store::Error::Damaged { .. }) => vec![damaged.to_string()],
        Err(e) => return Err(e).context("the store cannot be checked"),
    };
    Ok((!damage.is_empty()).then_some(damage))
}

/// How many cells the directory was created with.
fn cells(dir: &Path) -> anyhow::Result<u16> {
    #[derive(Deserialize)]
    struct Identity {
        cells: u16,
    }
    let path = dir.join("node.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Identity { cells } = serde_json::from_slice(&text).with_context(|| format!("{} is wrong", path.display()))?;
    Ok(cells)
}

fn agreed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Trouble::usage("nobody can be asked whether to go on").next("agree with --yes").into());
    }
    eprint!("give that up? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
