//! `stride build [PATH]`

use std::{path::PathBuf, process::Command};

use anyhow::Context as _;
use clap::Args;

use crate::{output, project::Project, report::Trouble};

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The project's directory
    #[arg(default_value = ".")]
    path: PathBuf,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let project = Project::open(&self.path)?;
        let bytes = build(&project)?;
        Ok(output::line(format_args!("built {} ({} KiB)", project.artifact.display(), bytes.div_ceil(1024)))?)
    }
}

/// Runs the project's build command and gives the size of what it left.
pub(crate) fn build(project: &Project) -> anyhow::Result<u64> {
    let status = Command::new("sh")
        .arg("-c")
        .arg(&project.command)
        .current_dir(&project.dir)
        // The manifest says where the artifact is, so nothing around us may move it.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        let next = "read the output above; if the target wasm32-wasip2 is missing: rustup target add wasm32-wasip2";
        let what = format!("{} does not build", project.name);
        return Err(Trouble::failed(what).why(format!("`{}`: {status}", project.command)).next(next).into());
    }
    let built = std::fs::metadata(&project.artifact).map_err(|e| {
        Trouble::failed(format!("the build of {} left no component", project.name))
            .why(format!("{}: {e}", project.artifact.display()))
            .next("correct `artifact` in stride.toml")
    })?;
    Ok(built.len())
}
