//! `cargo xtask ci`: what CI runs, each step with its time. The README's test command comes last, as it is written there.

use std::{path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::step::{self, cargo, now, target};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 5] = [
    ("format", format),
    ("lints", lints),
    ("dependencies", dependencies),
    ("documentation", documentation),
    ("tests", tests),
];

pub(crate) fn run() -> anyhow::Result<()> {
    for (name, step) in STEPS {
        let began = now();
        eprintln!("=== {name}");
        let outcome = step();
        let how = if outcome.is_ok() { "ok" } else { "FAILED" };
        eprintln!("=== {name}: {how}, {:.1} s", began.elapsed().as_secs_f64());
        outcome.with_context(|| format!("CI stops at {name}"))?;
    }
    Ok(())
}

fn format() -> anyhow::Result<()> {
    step::run(&mut cargo(["fmt", "--all", "--check"]))
}

/// In release, as everything is: build scripts and procedural macros are then built once for all steps.
fn lints() -> anyhow::Result<()> {
    step::run(&mut cargo(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Without `advisories`: that check downloads a database, which not every machine may.
fn dependencies() -> anyhow::Result<()> {
    let deny = cargo_deny()?;
    step::run(Command::new(deny).args(["check", "bans", "licenses", "sources"]).current_dir(step::root()))
}

fn documentation() -> anyhow::Result<()> {
    let mut doc = cargo(["doc", "--release", "--workspace", "--no-deps"]);
    step::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests() -> anyhow::Result<()> {
    step::run(&mut cargo(["xtask", "test"]))
}

/// cargo-deny, from the path or installed beside what is built.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let there = |program: &PathBuf| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let tools = target().join("tools");
    let candidates = [PathBuf::from("cargo-deny"), tools.join("bin/cargo-deny")];
    if let Some(found) = candidates.iter().find(|program| there(program)) {
        return Ok(found.clone());
    }
    let mut install = cargo(["install", "cargo-deny", "--locked", "--root"]);
    step::run(install.arg(&tools))?;
    Ok(candidates[1].clone())
}
