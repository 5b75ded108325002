//! The state machine on the pure machine of flows, with a job that is a plain struct.

#[path = "../../../crates/flows/tests/common/drive.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod drive;
#[path = "../../../crates/flows/tests/common/exports.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod exports;

use std::{cell::RefCell, collections::BTreeMap};

use drive::World;
use exports::Exports;
use serde_json::{Value, from_value, json};
use stride_flows::{Draft, Effect, Known, Passes, Plan, run::Error};
use stride_states::{Resources, read};

use super::*;

thread_local! {
    static JOB: RefCell<Job> = RefCell::default();
}

/// The functions reach the job, which only the platform can, so what it does is done here.
fn call(name: &str, input: &Value) -> Result<Value, (String, String)> {
    JOB.with_borrow_mut(|job| match name {
        "jobs/submit" => {
            let wanted: Wanted = from_value(input.clone()).unwrap();
            job.begin(wanted.looks, wanted.fails);
            Ok(wanted.name.into())
        }
        "jobs/check" => Ok(job.look().into()),
        "jobs/result" => Ok(json!(job.outcome())),
        other => Err(("not_found".into(), other.into())),
    })
}

fn ask(agent: &str, _: &str, _: &str, _: &Value) -> Result<Value, (String, String)> {
    panic!("nobody asks {agent}")
}

const PARTS: u64 = 1;

fn lines(_: u64) -> Value {
    json!([])
}

fn draft() -> Draft {
    let resources: BTreeMap<String, String> = serde_json::from_slice(include_bytes!("../resources.json")).unwrap();
    let resources: Resources = resources.into_iter().collect();
    read(include_bytes!("../job-poller.asl.json"), &resources).unwrap_or_else(|e| panic!("{e}"))
}

fn plan() -> Plan {
    let program = draft().check(&Exports(&[Effect::Message])).unwrap_or_else(|e| panic!("{e}"));
    program.plan(&Passes::all(), &Known::default())
}

fn run(input: Value, sick: &[&str]) -> (Result<Value, Error>, u64) {
    let mut world = World::rough(4);
    world.sick = sick.iter().map(|name| ((*name).to_owned(), 2)).collect();
    let end = world.run(&plan(), input);
    (end, world.now)
}

#[test]
fn a_job_is_looked_for_until_it_is_done() {
    let (end, now) = run(json!({ "name": "report", "wait_time": 5, "looks": 3 }), &[]);
    assert_eq!(end, Ok(json!({ "looks": 4 })));
    assert_eq!(now, 1_000 + 4 * 5_000);
}

#[test]
fn a_job_that_fails_fails_the_machine_and_what_is_not_there_for_a_moment_is_tried_again() {
    let (end, _) = run(json!({ "name": "report", "wait_time": 1, "fails": true }), &[]);
    assert_eq!(end.unwrap_err().code, "JobFailed");
    let (end, now) = run(json!({ "name": "report", "wait_time": 1 }), &["jobs/submit", "jobs/check"]);
    assert_eq!((end, now), (Ok(json!({ "looks": 1 })), 1_000 + 2 * (1_000 + 2_000) + 1_000));
}

#[test]
fn the_machine_is_an_iterate_with_its_own_names() {
    let text = serde_json::to_string(&draft()).unwrap();
    for part in
        ["\"iterate\"", "\"title\":\"Submit Job\"", "\"title\":\"Get Final Job Status\"", "\"timeout_ms\":3600000"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
