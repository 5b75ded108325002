//! What the clients of a run want to do, and what became of it.

use serde_json::{Value, json};
use stride_sim::Chance;

/// Money accounts, which pay each other; of these the ones that end in 1 refuse some versions.
pub(crate) const ACCOUNTS: [&str; 5] = ["a0", "a1", "b0", "b1", "c0"];
/// Accounts whose histories are checked for linearizability: only clients change them.
pub(crate) const REGISTERS: [&str; 2] = ["r0", "r1"];

/// One thing that a client does; all of them under an idempotency key, and repeated until they are answered.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) agent: &'static str,
    pub(crate) method: &'static str,
    pub(crate) input: Value,
    /// Told instead of asked.
    pub(crate) told: bool,
    /// Order among all calls and answers of the run.
    pub(crate) called: Option<u64>,
    pub(crate) answered: Option<u64>,
    pub(crate) answer: Value,
    /// What the agent reported as an error: the operation did not happen, and the client went on.
    pub(crate) failed: bool,
}

/// What every client does, one after another.
pub(crate) fn plan(chance: &Chance, clients: u64, each: u64) -> Vec<Vec<Operation>> {
    let one = |client: u64, n: u64| {
        let id = format!("{client}.{n}");
        let pick = |from: &'static [&'static str]| from[chance.below(from.len() as u64) as usize];
        let (agent, other, register) = (pick(&ACCOUNTS), pick(&ACCOUNTS), pick(&REGISTERS));
        let amount = 1 + chance.below(100);
        let told = chance.hits(500);
        let (agent, method, input, told) = match chance.below(100) {
            0..20 => (register, "add", json!({ "id": id, "n": amount }), false),
            20..32 => (register, "get", json!({}), false),
            32..62 => (agent, "transfer", json!({ "id": id, "to": other, "n": amount }), told),
            62..80 => (agent, "collect", json!({ "id": id, "from": other, "n": amount }), true),
            80..90 => (agent, "remind", json!({ "id": id, "n": chance.below(3_000) }), told),
            90..94 => (agent, "begin_ticks", json!({ "id": id }), told),
            94..96 => (agent, "end_ticks", json!({ "id": id }), told),
            _ => (agent, "poison", json!({ "id": id }), true),
        };
        let (called, answered, answer, failed) = (None, None, Value::Null, false);
        Operation { id, agent, method, input, told, called, answered, answer, failed }
    };
    (0..clients).map(|client| (0..each).map(|n| one(client, n)).collect()).collect()
}
