//! The whole protocol under a seed: turns, messages, deduplication, timers, parking, upgrades, recovery.
//!
//! A run is a number of lives of one node on one simulated disk. Each life ends in a crash at some await, but for the last one;
//! the clients go on where they were, repeating what was not answered under the same idempotency keys. The disk tears, loses what
//! was not synced, is slow, and fails syncs. When all is quiet, what the agents know is held against what was promised:
//!
//! - nothing that was acknowledged is lost, nothing is done twice, and whatever began ends;
//! - messages between two agents keep their order;
//! - every agent's history is linearizable;
//! - a timer rings once, a repeating one misses no time without counting it;
//! - nothing waits without being looked at again.
//!
//! `cargo xtask sim --seed N` replays a run and prints its trace. `nodes` does the same with several nodes, between which cells move
//! (`cargo xtask sim --nodes --seed N`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod check;
mod nodes;
mod plan;
mod run;
mod town;

use run::{Outcome, Planted, Setup, run};

/// How many seeds are run, unless `STRIDE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 2_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn must_hold(seed: u64, outcome: &Outcome) {
    held(&format!("--seed {seed}"), outcome);
}

fn held(flags: &str, outcome: &Outcome) {
    assert!(
        outcome.broken.is_empty(),
        "a promise is broken; replay with: cargo xtask sim {flags}\n{}",
        outcome.broken.join("\n")
    );
}

#[test]
fn every_promise_holds_for_every_seed() {
    if let Some(seed) = setting("STRIDE_SIM_SEED") {
        let outcome = run(Setup::random(seed));
        println!("{}", outcome.trace.join("\n"));
        return must_hold(seed, &outcome);
    }
    let seeds = setting("STRIDE_SIM_SEEDS").unwrap_or(SEEDS);
    let mut crashes = 0;
    for seed in 0..seeds {
        let outcome = run(Setup::random(seed));
        must_hold(seed, &outcome);
        crashes += outcome.crashes;
    }
    println!("{seeds} seeds, {crashes} crashes, every promise held");
}

#[test]
fn a_crash_at_every_await_of_a_small_run_breaks_nothing() {
    let whole = run(Setup::small(7, u64::MAX));
    must_hold(7, &whole);
    for polls in 0..whole.polls {
        must_hold(7, &run(Setup::small(7, polls)));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (first, second) = (run(Setup::random(seed)), run(Setup::random(seed)));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.polls, second.polls, "seed {seed}");
    }
    assert_ne!(run(Setup::random(1)).trace, run(Setup::random(2)).trace);
}

/// How many seeds are run with several nodes, unless `STRIDE_SIM_SEEDS` says otherwise.
const SEEDS_OF_NODES: u64 = 1_000;

#[test]
fn every_promise_holds_while_cells_move_between_nodes_that_die() {
    if let Some(seed) = setting("STRIDE_SIM_NODES_SEED") {
        let outcome = nodes::run(nodes::Setup::random(seed));
        println!("{}", outcome.trace.join("\n"));
        return held(&format!("--nodes --seed {seed}"), &outcome);
    }
    let (seeds, mut moves) = (setting("STRIDE_SIM_SEEDS").unwrap_or(SEEDS_OF_NODES), 0);
    for seed in 0..seeds {
        let outcome = nodes::run(nodes::Setup::random(seed));
        held(&format!("--nodes --seed {seed}"), &outcome);
        moves += outcome.crashes;
    }
    println!("{seeds} seeds, {moves} moves, every promise held");
}

#[test]
fn several_nodes_have_the_same_trace_under_the_same_seed() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| nodes::run(nodes::Setup::random(seed)));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

#[test]
fn a_node_that_reads_what_is_no_longer_its_own_is_caught() {
    let shows = |seed| {
        let setup = nodes::Setup { reads_unasked: true, ..nodes::Setup::random(seed) };
        nodes::run(setup).broken.iter().any(|broken| broken.contains("not linearizable"))
    };
    assert!((0..500).any(shows));
}

#[test]
fn a_node_that_replays_before_it_knows_which_types_there_are_is_caught() {
    let shows = |seed, has_rules| {
        let setup = nodes::Setup { replays_unlearned: true, has_rules, ..nodes::Setup::random(seed) };
        !nodes::run(setup).broken.is_empty()
    };
    assert!((0..500).any(|seed| shows(seed, true)));
    assert!(!(0..100).any(|seed| shows(seed, false)), "where types have no rules there is nothing to know");
}

/// Whether a planted bug shows in one of some seeds.
fn is_caught(planted: Planted) -> bool {
    let shows = |seed| !run(Setup { planted: Some(planted), ..Setup::random(seed) }).broken.is_empty();
    (0..200).any(shows)
}

#[test]
fn a_dedup_that_is_skipped_is_caught() {
    assert!(is_caught(Planted::SkippedDedup));
}

#[test]
fn a_reply_that_is_released_before_it_is_durable_is_caught() {
    assert!(is_caught(Planted::EarlyReply));
}

#[test]
fn an_alarm_that_is_lost_is_caught() {
    assert!(is_caught(Planted::LostTimer));
}
