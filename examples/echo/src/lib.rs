//! Answer with what they were sent, a function and an agent: what a call and a read cost when nothing is done.

use std::sync::atomic::{AtomicU64, Ordering};

use stride::prelude::*;

#[stride::function]
fn echo(input: Payload) -> Payload {
    input
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
