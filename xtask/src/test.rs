//! `cargo xtask test`: every test, in release, so that tests, demo and benches share one build.

use crate::{guests, postgres, step};

pub(crate) fn run() -> anyhow::Result<()> {
    postgres::install()?;
    guests::build(&guests::ALL)?;
    // The examples of the documentation first: they are few, and the output ends with the summary of the tests.
    step::run(&mut step::cargo(["test", "--workspace", "--release", "--doc"]))?;
    step::run(&mut step::cargo(["test", "--workspace", "--release", "--lib", "--bins", "--tests"]))
}
