//! PostgreSQL, which the tests of the journal in it start servers of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::step::run;

const PACKAGE: &str = "postgresql";

/// Installs the machine's PostgreSQL if it has none: with Debian's packages and as root, or it says what to do.
pub(crate) fn install() -> anyhow::Result<()> {
    if is_installed() {
        return Ok(());
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !is_root || Command::new("apt-get").arg("--version").output().is_err() {
        bail!(
            "the tests need PostgreSQL, 13 or newer, with initdb, postgres, pg_basebackup and psql; on Debian and Ubuntu: \
             sudo apt-get install {PACKAGE}; elsewhere, install it so that pg_config is on the path"
        );
    }
    run(Command::new("apt-get").arg("update"))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "--yes", "--no-install-recommends", PACKAGE]);
    run(&mut install).with_context(|| format!("the tests need PostgreSQL, and {PACKAGE} cannot be installed"))
}

/// Where stride-private-postgres looks for it as well.
fn is_installed() -> bool {
    let said = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = said.map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).collect();
    let there = |dir: &Path| ["initdb", "postgres", "psql", "pg_basebackup"].iter().all(|it| dir.join(it).exists());
    configured.into_iter().chain(debian).chain(path).any(|dir| there(&dir))
}
