//! The example components, built for WebAssembly.

use std::process::Command;

use anyhow::Context as _;

use crate::step::{cargo, run};

/// Every example.
pub(crate) const ALL: [&str; 14] = [
    "audit",
    "bank",
    "counter",
    "echo",
    "election",
    "faulty",
    "image-pipeline",
    "jobs",
    "log-analysis",
    "prediction",
    "shop",
    "thumbnails",
    "training",
    "words",
];

const TARGET: &str = "wasm32-wasip2";

/// Builds these examples.
pub(crate) fn build(examples: &[&str]) -> anyhow::Result<()> {
    install_target()?;
    let mut command = cargo(["build", "--release", "--target", TARGET]);
    run(command.args(examples.iter().flat_map(|example| ["-p", example])))
}

/// Installs the target if it is missing. A toolchain without rustup has to have it already; the build says if not.
pub(crate) fn install_target() -> anyhow::Result<()> {
    let Ok(installed) = Command::new("rustup").args(["target", "list", "--installed"]).output() else { return Ok(()) };
    if installed.status.success() && String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == TARGET) {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("the target {TARGET} is missing; `rustup target add {TARGET}` needs the network once"))
}
