//! Compares ways of placing in simulated clusters of 2 to 200 nodes, as a Markdown table: `cargo run --release -p stride-placement
//! --example simulate [SEED]`. The same seed prints the same table.
#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::time::Duration;

use stride_placement::simulate::{Bound, Policy, Settings, run};

const POLICIES: [Policy; 5] =
    [Policy::Random, Policy::LeastLoaded, Policy::WithoutLocality, Policy::WithoutReplication, Policy::Stride];

fn main() {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!(
        "| nodes | placement | GiB moved | of random | wait p50 | wait p99 | of it for a slot, p99 | copies ahead |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for nodes in [2, 10, 50, 200] {
        let settings = Settings::cluster(nodes);
        let mut random = None;
        for policy in POLICIES {
            let outcome = run(settings, policy, seed);
            let moved = outcome.moved.0 as f64;
            let random = *random.get_or_insert(moved);
            let [p50, p99, slot] = [outcome.wait(500), outcome.wait(990), outcome.queued(990)].map(millis);
            let (name, gib, part) = (policy.name(), gib(moved), moved / random);
            println!("| {nodes} | {name} | {gib:.1} | {part:.2} | {p50} | {p99} | {slot} | {} |", outcome.copies);
        }
        let bound = Bound::of(settings, seed);
        let moved = bound.moved.0 as f64;
        let part = moved / random.unwrap_or(moved);
        let [p50, p99] = [bound.wait(500), bound.wait(990)].map(millis);
        println!("| {nodes} | *bound* | {:.1} | {part:.2} | {p50} | {p99} | {p99} | |", gib(moved));
    }
    by_planners(seed);
}

/// How what planners know changes it: with one, all placements are known; the more there are, the less of them each knows.
fn by_planners(seed: u64) {
    println!("\n| planners | placement | GiB moved | wait p50 | wait p99 |");
    println!("| ---: | --- | ---: | ---: | ---: |");
    for planners in [1, 4, 16] {
        for policy in [Policy::LeastLoaded, Policy::Stride] {
            let outcome = run(Settings { planners, ..Settings::cluster(200) }, policy, seed);
            let [p50, p99] = [outcome.wait(500), outcome.wait(990)].map(millis);
            println!("| {planners} | {} | {:.1} | {p50} | {p99} |", policy.name(), gib(outcome.moved.0 as f64));
        }
    }
}

fn gib(bytes: f64) -> f64 {
    bytes / (1_u64 << 30) as f64
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
