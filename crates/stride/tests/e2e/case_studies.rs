//! The case studies of `stride bench`, a hundredth of them: that they run, and that all ways give the same.

use crate::{cli::stderr, support::root};
use serde_json::Value;
use std::process::Command;

/// The rows of a case that is run tiny, by what they are called.
fn rows(case: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stride"));
    let output = command.args(["bench", case, "--tiny", "--json"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    rows.iter().map(|row| row["what"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn are_there(rows: &[String], ways: &[&str]) {
    for way in ways {
        assert!(rows.iter().any(|row| row.contains(way)), "`{way}` is not in {rows:?}");
    }
}

#[test]
fn all_ways_of_a_prediction_give_what_the_model_gives() {
    let ways = ["native", "agent over HTTP", "function over HTTP", "stored queue", "agent in process", "paper: Lambda"];
    are_there(&rows("prediction"), &ways);
}

#[test]
fn all_ways_of_a_training_have_the_same_losses() {
    are_there(
        &rows("training"),
        &["native", "agent, local objects", "functions, batch", "process that fetches", "paper: EC2"],
    );
}

#[test]
fn every_election_ends_with_one_leader_whom_all_follow() {
    let ways = ["election of 3, the next notices: told", "election of 3, the lowest notices: polled", "lease", "paper"];
    are_there(&rows("election"), &ways);
}
