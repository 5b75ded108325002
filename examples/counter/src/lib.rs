//! An agent that counts and a function that shouts.

use stride::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    value: u64,
}

#[stride::agent]
impl Counter {
    /// A turn: durable when the caller sees the reply.
    fn add(&mut self, n: u64) -> u64 {
        self.value += n;
        self.value
    }

    /// `&self`: changes nothing, commits nothing.
    fn get(&self) -> u64 {
        self.value
    }
}

#[stride::function]
fn shout(text: String) -> String {
    text.to_uppercase()
}
