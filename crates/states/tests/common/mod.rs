//! Reads machines, checks, plans and runs them, with functions written in Rust.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
#![allow(dead_code, reason = "every test file takes what it needs")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stride_flows::{
    Catalog, Command, Draft, Event, Function, Known, Passes, Problems, Rows, Signature, advance,
    run::{Error, Execution, Need, Row},
};
use stride_ids::Failure;
use stride_states::{Resources, read};

/// Functions; each has a resource of the same name.
pub(crate) const NAMES: [&str; 10] =
    ["id", "price", "pay", "refund", "ship", "check", "count", "sick", "notify", "sns"];

pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:lambda:eu-west-1:123456789012:function:{name}")
}

pub(crate) fn resources() -> Resources {
    NAMES
        .iter()
        .map(|name| (arn(name), format!("shop/{name}")))
        .chain([("arn:aws:states:::sns:publish".into(), "shop/sns".into())])
        .collect()
}

struct Shop;

impl Catalog for Shop {
    fn function(&self, name: &str) -> Option<Function> {
        NAMES.contains(&name.strip_prefix("shop/")?).then(Function::default)
    }
    fn agent(&self, _: &str, _: &str) -> Option<Signature> {
        None
    }
    fn flow(&self, _: &str) -> Option<Signature> {
        None
    }
    fn names(&self) -> Vec<String> {
        NAMES.iter().map(|name| format!("shop/{name}")).collect()
    }
}

#[derive(Default)]
struct Memory(BTreeMap<String, Row>);

impl Rows for Memory {
    fn get(&self, key: &str) -> Result<Option<Row>, Failure> {
        Ok(self.0.get(key).cloned())
    }
    fn put(&mut self, key: &str, row: Row) -> Result<(), Failure> {
        self.0.insert(key.to_owned(), row);
        Ok(())
    }
    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        self.0.remove(key);
        Ok(())
    }
    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, Failure> {
        let from = after.map_or_else(|| prefix.to_owned(), |after| format!("{after}\0"));
        let rows = self.0.range(from..).take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) result: Option<Result<Value, String>>,
    pub(crate) calls: Vec<(String, Value)>,
    pub(crate) waited_ms: u64,
}

impl Done {
    pub(crate) fn called(&self, name: &str) -> usize {
        self.calls.iter().filter(|(called, _)| called == &format!("shop/{name}")).count()
    }
}

pub(crate) fn draft(machine: &Value) -> Result<Draft, Problems> {
    read(machine.to_string().as_bytes(), &resources())
}

/// Whether a draft is a program.
pub(crate) fn accepted(draft: Draft) -> Result<(), Problems> {
    draft.check(&Shop).map(drop)
}

/// Reads, checks, plans and runs it, with each function as it is here. `sick`: how often each function fails first, and with which code.
pub(crate) fn run(machine: &Value, input: Value, sick: &[(&str, usize, &str)]) -> Done {
    let draft = draft(machine).unwrap_or_else(|e| panic!("{e}\n{machine:#}"));
    let text = serde_json::to_string_pretty(&draft).unwrap();
    assert_eq!(Draft::read(text.as_bytes()).as_ref(), Ok(&draft), "what is read can be written down");
    let program = draft.check(&Shop).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut all = [Passes::none(), Passes::all()].map(|passes| {
        let plan = program.clone().plan(&passes, &Known::default());
        drive(&plan, input.clone(), sick)
    });
    // How many items of a batch had failed before it was given up is told in the message, and differs.
    let codes =
        |done: &Done| done.result.clone().map(|result| result.map_err(|e| e.split(':').next().map(str::to_owned)));
    assert_eq!(codes(&all[0]), codes(&all[1]), "passes change no result");
    std::mem::take(&mut all[0])
}

fn drive(plan: &stride_flows::Plan, input: Value, sick: &[(&str, usize, &str)]) -> Done {
    let (mut rows, mut now, mut done) = (Memory::default(), 1_000, Done::default());
    let mut left: BTreeMap<&str, usize> = sick.iter().map(|(name, times, _)| (*name, *times)).collect();
    let mut events = std::collections::VecDeque::from([Event::Started { run: "run-1".into(), input }]);
    let mut timers: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let Some(event) = events.pop_front() else {
            let Some((timer, at)) = timers.iter().min_by_key(|(_, at)| **at).map(|(t, at)| (t.clone(), *at)) else {
                return done;
            };
            timers.remove(&timer);
            done.waited_ms += at.saturating_sub(now);
            now = now.max(at);
            events.push_back(Event::Fired { timer });
            continue;
        };
        for command in advance(plan, &mut rows, now, event).unwrap() {
            match command {
                Command::Call(call) => events.push_back(Execution::run(&call, |need| {
                    let Need::Function { name, input, .. } = need else { panic!("nobody needs {need:?}") };
                    done.calls.push((name.clone(), input.clone()));
                    for (sick, _, code) in sick {
                        let times = left.get_mut(sick).filter(|times| **times > 0 && name == format!("shop/{sick}"));
                        if let Some(times) = times {
                            *times -= 1;
                            return Err(Error::new(code, "not now"));
                        }
                    }
                    Ok(function(&name, &input))
                })),
                Command::Timer { timer, at_ms } => {
                    timers.insert(timer, at_ms);
                }
                Command::ClearTimer { timer } => {
                    timers.remove(&timer);
                }
                Command::Continue { step } => events.push_back(Event::Done { step, result: Value::Null }),
                Command::Finish { result } => done.result = Some(Ok(result)),
                Command::Fail { error } => done.result = Some(Err(error.to_string())),
                Command::Cancel { .. } => {}
                other => panic!("nobody does {other:?}"),
            }
        }
    }
}

fn function(name: &str, input: &Value) -> Value {
    match name {
        "shop/price" => json!(input["count"].as_i64().unwrap() * 100),
        "shop/pay" => json!({ "receipt": format!("r-{}", input["order"].as_str().unwrap()), "fee": 3 }),
        "shop/check" => json!({ "state": if input["tries"] == json!(3) { "ready" } else { "pending" } }),
        "shop/count" => json!(input.as_i64().unwrap_or(0) + 1),
        _ => input.clone(),
    }
}
