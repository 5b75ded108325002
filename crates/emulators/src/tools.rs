//! Tools for tests: installed once below the target directory, from the index that pip and npm are told to use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

/// One installation at a time: tests run beside each other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A directory with these Python packages, whose programs are in its `bin`. Other versions are installed anew.
///
/// # Panics
/// If there is no Python, or the packages cannot be had.
pub fn python_tools(name: &str, packages: &[&str]) -> PathBuf {
    installed(name, packages, |dir| {
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let made = Command::new(&python).args(["-m", "venv", "--clear"]).arg(dir).output();
        let made =
            made.unwrap_or_else(|e| panic!("{}: {e}; this test needs Python 3 for {packages:?}", python.display()));
        succeeded(&made, "python3 -m venv; Python's venv module may be missing");
        let mut pip = Command::new(dir.join("bin/pip"));
        pip.args(["install", "--quiet"]).args(packages);
        succeeded(&pip.output().expect("pip is in what was made"), &format!("pip install {packages:?}"));
    })
}

/// A directory with these npm packages, whose programs are in its `node_modules/.bin`. Other versions are installed anew.
///
/// # Panics
/// If there is no npm, or the packages cannot be had.
pub fn node_tools(name: &str, packages: &[&str]) -> PathBuf {
    installed(name, packages, |dir| {
        fs::create_dir_all(dir).expect("the target directory can be written");
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(dir).args(packages);
        let installed = npm.output().unwrap_or_else(|e| panic!("npm: {e}; this test needs Node.js for {packages:?}"));
        succeeded(&installed, &format!("npm install {packages:?}"));
    })
}

fn installed(name: &str, packages: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    // A test that could not install leaves nothing that is half there: the stamp comes last.
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    let dir = target.join(name);
    let stamp = dir.join("installed");
    if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == packages.join(" ")) {
        install(&dir);
        fs::write(&stamp, packages.join(" ")).expect("the target directory can be written");
    }
    dir
}

/// What a program printed, which has to have succeeded.
///
/// # Panics
/// If it has not, with all that it said.
#[track_caller]
pub fn succeeded(output: &Output, what: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
