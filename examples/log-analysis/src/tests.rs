//! The analysis on the pure machine of flows, over a real log of this machine if it has one.

#[path = "../../../crates/flows/tests/common/drive.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod drive;
#[path = "../../../crates/flows/tests/common/exports.rs"]
mod exports;

use std::{collections::BTreeMap, sync::OnceLock};

use drive::World;
use exports::{Exports, call};
use serde_json::{Value, json};
use stride_flows::{Draft, Known, Passes, Plan, explain};

use super::*;

/// Pages hold 16 KiB at most, so parts are small here. On a node they are of 1 MiB, and more is added up before it travels.
const PART_BYTES: usize = 15 << 10;
const PARTS: u64 = 24;

fn ask(agent: &str, _: &str, _: &str, _: &Value) -> Result<Value, (String, String)> {
    panic!("nobody asks {agent}")
}

/// A log as package managers write it: that of this machine, or one like it.
fn log() -> &'static [String] {
    static LOG: OnceLock<Vec<String>> = OnceLock::new();
    LOG.get_or_init(|| {
        let real = std::fs::read_to_string("/var/log/dpkg.log").ok().filter(|text| text.len() > 2 * PART_BYTES);
        let text = real.unwrap_or_else(|| (0..5_000).map(made).collect());
        text.lines().map(str::to_owned).collect()
    })
}

fn made(at: u32) -> String {
    let states = ["unpacked", "half-configured", "installed", "half-installed", "triggers-pending"];
    let (minute, state) = (at / 60 % 60, states[at as usize % states.len()]);
    format!("2025-06-24 {:02}:{minute:02}:{:02} status {state} lib{at}:amd64 2.36-9+deb12u{at}\n", at / 3_600, at % 60)
}

/// The lines of one part.
fn lines(part: u64) -> Value {
    let mut bytes = 0;
    let of = |line: &&String| {
        bytes += line.len() + 8;
        bytes / PART_BYTES == part as usize
    };
    log().iter().filter(of).map(|line| json!(line)).collect()
}

fn plan(passes: &Passes) -> Plan {
    let draft = Draft::read(include_bytes!("../logs.json")).unwrap();
    draft.check(&Exports(&[])).unwrap_or_else(|e| panic!("{e}")).plan(passes, &Known::default())
}

fn run(passes: &Passes, mut world: World) -> (Value, World, Plan) {
    let plan = plan(passes);
    let end = world.run(&plan, json!({ "bucket": "logs", "prefix": "" })).unwrap();
    (end, world, plan)
}

/// The same counts, counted by hand.
fn expected() -> Value {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in (0..PARTS).flat_map(|part| lines(part).as_array().unwrap().clone()) {
        if let Some(entry) = entry(line.as_str().unwrap().to_owned()) {
            *counts.entry(format!("{} {}", entry.hour, entry.what)).or_default() += 1;
        }
    }
    counts.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

#[test]
fn the_plan_moves_a_third_of_the_bytes_at_most() {
    let (plain, unoptimised, logical) = run(&Passes::none(), World::new(1));
    let (counted, optimised, physical) = run(&Passes::all(), World::new(1));
    assert_eq!(counted, expected());
    assert_eq!(plain, counted);
    let ratio = unoptimised.bytes as f64 / optimised.bytes as f64;
    println!(
        "{} lines: {} bytes between nodes, {} optimised, {ratio:.1} times fewer",
        log().len(),
        unoptimised.bytes,
        optimised.bytes
    );
    assert!(ratio >= 3.0, "{ratio:.1}");
    assert!(physical.bytes_between() * 3 <= logical.bytes_between(), "so it is expected as well");
    let text = explain::text(&physical, None);
    assert!(text.contains("at parts of") && text.contains("combined by"), "{text}");
}

#[test]
fn counts_are_right_through_crashes_and_repeated_events() {
    assert_eq!(run(&Passes::all(), World::rough(3)).0, expected());
}

#[test]
fn entries_are_read_from_both_kinds_of_lines() {
    let read = |line: &str| entry(line.to_owned()).map(|e| [e.who, e.what, e.hour]);
    let web = "10.0.0.7 - ada [24/Jun/2025:14:36:25 +0000] \"GET /a?b=1 HTTP/1.1\" 200 17 \"-\" \"curl\"";
    assert_eq!(read(web).unwrap(), ["10.0.0.7", "GET 200", "24/Jun/2025 14"]);
    assert_eq!(
        read("2025-06-24 14:36:25 status installed libc6:amd64 2.36-9").unwrap(),
        ["libc6:amd64", "status installed", "2025-06-24 14"]
    );
    assert_eq!(read("2025-06-24T14:36:25Z restarted").unwrap(), ["", "restarted", "2025-06-24 14"]);
    for line in
        ["", "hello", "2025-06-24", "2025-06-24 14", "ééééééééééééééé é", "a [b] \"c\" d", "x - - [1:2] \"\" 20"]
    {
        assert_eq!(read(line), None, "{line}");
    }
}
