//! What was promised, held against what the agents know when all is quiet.

use std::{collections::BTreeMap, sync::Arc};

use stride_agents::{Ask, Engine};
use stride_ids::{Address, Payload};
use stride_sim::Clock;
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History},
    },
    specifications::Specification,
};

use crate::{
    plan::{ACCOUNTS, Operation, REGISTERS},
    town::{TICK, account},
};

/// Holds everything against every promise.
pub(crate) async fn all(engine: &Arc<Engine>, operations: &[Operation], clock: &Clock, broken: &mut Vec<String>) {
    let mut known = BTreeMap::new();
    let mut sum = 0;
    for key in ACCOUNTS {
        let (balance, entries) = read(engine, key).await;
        sum += balance;
        known.insert(key, entries);
    }
    if sum != 0 {
        broken.push(format!("{sum} was made out of nothing or lost"));
    }
    // What is parked for good is an account that stayed with the version that poison is for.
    let parked = engine.parked(&stride_ids::Name::default_tenant(), None, usize::MAX).unwrap();
    for message in &parked {
        if message.method != "poison" {
            broken.push(format!("parked although it never fails for long: {message:?}"));
        }
    }
    for operation in operations {
        effects(operation, &known, parked.len(), broken);
    }
    for (key, entries) in &known {
        for entry in entries.keys().filter(|entry| entry.starts_with("disorder:")) {
            broken.push(format!("{key} got messages out of order: {entry}"));
        }
        ticks(key, entries, clock, broken);
    }
    for register in REGISTERS {
        if !linearizable(operations, register) {
            broken.push(format!("the history of {register} is not linearizable"));
        }
    }
}

type Entries = BTreeMap<String, i64>;

/// The balance of an account and the numbers in its keyed map.
async fn read(engine: &Arc<Engine>, key: &str) -> (i64, Entries) {
    let address = account(key);
    let input = Payload::json("{}");
    let ask = Ask { address: address.clone(), method: "get".into(), input, idempotency_key: None, trace: None };
    let balance = engine.ask(ask).await.unwrap().payload;
    let balance = std::str::from_utf8(&balance.body).unwrap().parse().unwrap();
    // Timers go on ticking: until nothing came in between, what was read is not of one moment.
    let mut entries = read_entries(engine, &address).await;
    loop {
        let again = read_entries(engine, &address).await;
        if again == entries {
            return (balance, entries);
        }
        entries = again;
    }
}

async fn read_entries(engine: &Arc<Engine>, address: &Address) -> Entries {
    let mut entries = Entries::new();
    // An account that never committed a turn has no state.
    if let Ok(page) = engine.state(address, "", None, usize::MAX).await {
        for entry in page.entries {
            let value = engine.state_entry(address, &entry.key).await.unwrap();
            entries.insert(entry.key, std::str::from_utf8(&value).unwrap().parse().unwrap());
        }
    }
    entries
}

/// An operation that was acknowledged happened once with all that follows, one that failed did not happen at all.
fn effects(operation: &Operation, known: &BTreeMap<&str, Entries>, parked: usize, broken: &mut Vec<String>) {
    let id = &operation.id;
    let count =
        |key: &str, what: &str| known.get(key).and_then(|entries| entries.get(&format!("{what}:{id}"))).copied();
    let mut expect = |key: &str, what: &str, expected: i64| {
        let found = count(key, what).unwrap_or(0);
        if found != expected {
            broken.push(format!("`{what}` of {id} is {found} times in {key} instead of {expected}: {operation:?}"));
        }
    };
    let times = i64::from(!operation.failed);
    match operation.method {
        "transfer" => {
            expect(operation.agent, "did", times);
            expect(operation.input["to"].as_str().unwrap(), "credited", times);
        }
        "collect" => {
            expect(operation.agent, "did", times);
            let from = operation.input["from"].as_str().unwrap();
            // A circle of asks is refused, so that nothing is withdrawn; else it is withdrawn once.
            if count(from, "withdrawn").unwrap_or(0) > 1 {
                broken.push(format!("{id} was withdrawn more than once"));
            }
        }
        "remind" => {
            expect(operation.agent, "did", times);
            expect(operation.agent, "rang", times);
        }
        "begin_ticks" | "end_ticks" => expect(operation.agent, "did", times),
        // Whether it was taken up depends on the version; it is parked or done, never both.
        "poison" => {
            let done = count(operation.agent, "did").unwrap_or(0);
            if done > 1 || (done == 0 && parked == 0) {
                broken.push(format!("{id} was done {done} times and {parked} messages are parked"));
            }
        }
        _ => {}
    }
}

/// Every time of a repeating timer is in a message or counted in one.
fn ticks(key: &str, entries: &Entries, clock: &Clock, broken: &mut Vec<String>) {
    let entry = |name: &str| entries.get(name).copied();
    let (Some(ticks), Some(since), Some(until)) = (entry("ticks"), entry("ticks since"), entry("ticks until")) else {
        return;
    };
    let period = i64::try_from(TICK).unwrap();
    if until < since {
        return;
    }
    if ticks != (until - since) / period {
        broken.push(format!("{key} counted {ticks} ticks from {since} to {until}, now {}", clock.timestamp()));
    }
}

#[derive(Clone, Debug)]
enum Access {
    /// Adds, and answers the sum; no sum in the call. It may not have happened at all.
    Add(i64, Option<i64>),
    Get(Option<i64>),
    /// It failed: nothing happened.
    Nothing,
}

struct Register;

impl Specification for Register {
    type State = i64;
    type Operation = Access;

    fn init() -> i64 {
        0
    }

    fn apply(operation: &Access, state: &i64) -> (bool, i64) {
        match operation {
            Access::Add(n, sum) => (*sum == Some(state + n), state + n),
            Access::Get(value) => (*value == Some(*state), *state),
            Access::Nothing => (true, *state),
        }
    }
}

fn linearizable(operations: &[Operation], register: &str) -> bool {
    let mut events = Vec::new();
    for operation in operations.iter().filter(|operation| operation.agent == register) {
        let client: usize = operation.id.split('.').next().unwrap().parse().unwrap();
        let (Some(called), Some(answered)) = (operation.called, operation.answered) else { continue };
        let n = operation.input["n"].as_i64().unwrap_or(0);
        let answer = operation.answer.as_i64();
        let (call, response) = match operation.method {
            _ if operation.failed => (Access::Nothing, Access::Nothing),
            "add" => (Access::Add(n, None), Access::Add(n, answer)),
            _ => (Access::Get(None), Access::Get(answer)),
        };
        events.push((called, (client, Action::Call(call))));
        events.push((answered, (client, Action::Response(response))));
    }
    events.sort_by_key(|(at, _)| *at);
    let actions: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    actions.is_empty() || WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
}
