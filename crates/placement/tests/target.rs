//! The target of placement, in simulated clusters: at 200 nodes a fifth of the bytes that random placement moves, or fewer, and a p99
//! wait that is no worse than that of the least loaded node. `docs/design/0005-placement.md` has the whole table.

use stride_placement::simulate::{Bound, Outcome, Policy, Settings, run};

const SEED: u64 = 1;

fn moves_a_fifth(outcome: &Outcome, random: &Outcome) -> bool {
    outcome.moved.0 * 5 <= random.moved.0
}

#[test]
fn at_200_nodes_a_fifth_of_the_bytes_move_and_nobody_waits_longer() {
    let [random, least_loaded, stride] =
        [Policy::Random, Policy::LeastLoaded, Policy::Stride].map(|policy| run(Settings::cluster(200), policy, SEED));
    assert!(moves_a_fifth(&stride, &random), "{} of {}", stride.moved, random.moved);
    assert!(stride.wait(990) <= least_loaded.wait(990), "{:?}, {:?}", stride.wait(990), least_loaded.wait(990));
    // Waiting for a slot alone is not longer either, so the time is not only won by not fetching.
    assert!(stride.queued(990) <= least_loaded.queued(990));
}

#[test]
fn without_locality_the_target_is_missed() {
    for seed in 1..4 {
        let [random, stride, blind] = [Policy::Random, Policy::Stride, Policy::WithoutLocality]
            .map(|policy| run(Settings::cluster(50), policy, seed));
        assert!(moves_a_fifth(&stride, &random), "{} of {}", stride.moved, random.moved);
        assert!(!moves_a_fifth(&blind, &random), "{} of {}", blind.moved, random.moved);
    }
}

#[test]
fn nothing_moves_less_than_the_bound_and_the_same_seed_ends_the_same() {
    let settings = Settings::cluster(10);
    for seed in 1..4 {
        let bound = Bound::of(settings, seed);
        for policy in [Policy::Random, Policy::LeastLoaded, Policy::Stride, Policy::WithoutReplication] {
            let outcome = run(settings, policy, seed);
            assert!(outcome.moved >= bound.moved, "{policy:?}, seed {seed}");
            assert!(outcome.wait(990) >= bound.wait(990), "{policy:?}, seed {seed}");
            assert_eq!(outcome, run(settings, policy, seed), "{policy:?}, seed {seed}");
        }
    }
}
