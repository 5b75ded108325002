//! Anything, in any order, from seeds; the checker looks on, and in the end all is well again.

use std::time::Duration;

use stride_cluster::{Tables as _, memory::Link};
use stride_ids::{CellId, DatabaseId};
use stride_sim::Chance;

use crate::town::{CELLS, Town, ms, name};

const SEEDS: u64 = 40;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A clock that runs nearly a fifth slow or fast.
fn clock(chance: &Chance) -> u32 {
    840 + u32::try_from(chance.below(320)).unwrap()
}

async fn live(seed: u64) {
    let chance = Chance::seeded(seed);
    let mut town = Town::new(chance.clone());
    let _further = [town.tables.add_database(), town.tables.add_database()];
    for node in &NAMES[..2] {
        town.try_start(town.spec(node, None), clock(&chance)).await.unwrap();
    }
    for _ in 0..40 {
        let node = NAMES[usize::try_from(chance.below(NAMES.len() as u64)).unwrap()];
        let known = town.nodes.get(&name(node));
        match (chance.below(10), known) {
            (0..3, None) => {
                let home = chance.hits(500).then_some("home");
                // Another one of that name may still be believed to live.
                let _ = town.try_start(town.spec(node, home), clock(&chance)).await;
            }
            (0, Some(_)) => town.kill(node),
            (1..4, Some(known)) => known.way.set(Link::Cut),
            (4, Some(known)) => known.way.set(Link::Deaf),
            (5, Some(known)) => known.way.set(Link::Slow(ms(chance.below(700)))),
            (6, Some(known)) => *known.engine.slow.lock() = ms(chance.below(4_000)),
            (7, Some(known)) if chance.hits(300) => {
                known.beat.drain(ms(chance.below(3_000))).await;
                town.kill(node);
            }
            (9, _) if chance.hits(500) => {
                let cells: Vec<CellId> = (0..CELLS).map(CellId).filter(|_| chance.hits(200)).collect();
                let to = DatabaseId(u16::try_from(chance.below(3)).unwrap());
                town.tables.way().send_tails(&cells, to).await.unwrap();
            }
            (8, _) => town.nodes.values().for_each(|node| node.way.set(Link::Refused)),
            (_, Some(known)) => known.way.set(Link::Up),
            _ => {}
        }
        let most = if chance.hits(300) { 5_000 } else { 900 };
        town.clock.sleep(ms(chance.below(most))).await;
    }
    for node in town.nodes.values() {
        node.way.set(Link::Up);
        *node.engine.slow.lock() = ms(40);
    }
    if town.nodes.is_empty() {
        town.clock.sleep(Duration::from_secs(3)).await;
        town.start("z").await;
    }
    town.until_settled().await;
}

#[test]
fn whatever_happens_nobody_answers_for_what_another_has_and_in_the_end_all_is_well() {
    let one = std::env::var("STRIDE_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in one.map_or(0..SEEDS, |seed| seed..seed + 1) {
        eprintln!("STRIDE_SEED={seed} cargo test --release -p stride-cluster --test sim at_random");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live(seed));
    }
}
