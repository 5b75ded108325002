//! An agent: it has an address, its state is durable, and it handles one message at a time.

use stride::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Agent {
    total: i64,
}

#[stride::agent(name = "{{name}}")]
impl Agent {
    /// Takes `&mut self`: a transaction, durable when the caller sees the reply.
    fn add(&mut self, n: i64) -> i64 {
        self.total += n;
        self.total
    }

    /// Takes `&self`: changes nothing and commits nothing.
    fn get(&self) -> i64 {
        self.total
    }
}
