//! Answer with what they were sent, functions and an agent: what a call and a read cost when nothing is done, or so much.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use stride::prelude::*;

#[stride::function]
fn echo(input: Payload) -> Payload {
    input
}

/// Does so many rounds of arithmetic first.
#[stride::function]
fn work(rounds: u64) -> u64 {
    black_box((0..rounds).fold(0, |sum: u64, round| black_box(sum.wrapping_mul(31) ^ round)));
    rounds
}

/// How many calls this instance has answered with this one: one, unless instances are used again.
#[stride::function]
fn answered(_before: u64) -> u64 {
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    ANSWERED.fetch_add(1, Ordering::Relaxed) + 1
}

#[derive(Default, Serialize, Deserialize)]
struct Echo {}

#[stride::agent]
impl Echo {
    fn say(&self, text: String) -> String {
        text
    }
}
