//! Runs Python, reads artefacts, checks them.
#![allow(dead_code, reason = "every test file takes what it needs")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use stride_flows::{Catalog, Draft, Function, Signature};

/// Has whatever a flow names.
struct Anything;

impl Catalog for Anything {
    fn function(&self, _: &str) -> Option<Function> {
        Some(Function::default())
    }
    fn agent(&self, _: &str, _: &str) -> Option<Signature> {
        Some(Signature::default())
    }
    fn flow(&self, _: &str) -> Option<Signature> {
        Some(Signature::default())
    }
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

pub(crate) fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(here(path)).unwrap()).unwrap()
}

/// What a program of Python prints, or what it says when it fails.
pub(crate) fn python(file: &Path, arguments: &[PathBuf]) -> Result<String, String> {
    let run = Command::new("python3")
        .arg(file)
        .args(arguments)
        .env("PYTHONPATH", here("../python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    let run = run.expect("python3 runs");
    match run.status.success() {
        true => Ok(String::from_utf8(run.stdout).unwrap()),
        false => Err(String::from_utf8(run.stderr).unwrap()),
    }
}

/// A flow that is accepted, as it is read: with all that goes without saying.
pub(crate) fn accepted(flow: &Value) -> Value {
    let draft = Draft::read(flow.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}\n{flow:#}"));
    let program = draft.check(&Anything).unwrap_or_else(|e| panic!("{e}\n{flow:#}"));
    serde_json::to_value(program.draft()).unwrap()
}
