//! Drives runs: rows in memory, commands done in an order that a seed draws, with crashes and repeated events. What functions, agents and lines are is said by the module around
//! this one: `call`, `ask`, `lines` and `PARTS`.
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Value, json};
use stride_flows::{
    Plan,
    run::{Command, Content, Error, Event, Execution, Message, Need, Row, Rows, advance, outstanding},
};
use stride_ids::Failure;

use super::{PARTS, ask, call, lines};

#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) read: Cell<usize>,
    pub(crate) written: usize,
}

impl Rows for Memory {
    fn get(&self, key: &str) -> Result<Option<Row>, Failure> {
        let row = self.rows.get(key).cloned();
        let len = row.as_ref().map(Row::bytes).transpose()?.map_or(0, |bytes| bytes.len());
        self.read.set(self.read.get() + len);
        Ok(row)
    }
    fn put(&mut self, key: &str, row: Row) -> Result<(), Failure> {
        self.written += row.bytes()?.len();
        self.rows.insert(key.to_owned(), row);
        Ok(())
    }
    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        self.rows.remove(key);
        Ok(())
    }
    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, Failure> {
        let from = after.map_or_else(|| prefix.to_owned(), |after| format!("{after}\0"));
        Ok(self
            .rows
            .range(from..)
            .take_while(|(k, _)| k.starts_with(prefix))
            .take(limit)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }
}

impl Memory {
    /// All rows as they are kept.
    pub(crate) fn kept(&self) -> BTreeMap<String, Vec<u8>> {
        self.rows.iter().map(|(key, row)| (key.clone(), row.bytes().unwrap().to_vec())).collect()
    }
}

/// A generator whose draws follow from its seed.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// How a run is treated.
pub(crate) struct World {
    pub(crate) rows: Memory,
    pub(crate) now: u64,
    pub(crate) draw: Draw,
    /// Of a hundred events, so many come twice, and before so many the run is loaded anew from its rows.
    pub(crate) twice: usize,
    pub(crate) crash: usize,
    /// What functions of these names do the first so many times.
    pub(crate) sick: BTreeMap<String, usize>,
    pub(crate) out: Vec<Command>,
    pub(crate) old: Vec<Event>,
    pub(crate) calls: Vec<(String, Value)>,
    pub(crate) sent: BTreeMap<String, usize>,
    pub(crate) timers: BTreeMap<String, u64>,
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) bytes: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) changed_max: usize,
    pub(crate) end: Option<Result<Value, Error>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rows: Memory::default(),
            now: 1_000,
            draw: Draw(seed),
            twice: 0,
            crash: 0,
            sick: BTreeMap::new(),
            out: Vec::new(),
            old: Vec::new(),
            calls: Vec::new(),
            sent: BTreeMap::new(),
            timers: BTreeMap::new(),
            objects: BTreeMap::new(),
            bytes: 0,
            in_flight_max: 0,
            changed_max: 0,
            end: None,
        }
    }

    pub(crate) fn rough(seed: u64) -> Self {
        Self { twice: 30, crash: 30, ..Self::new(seed) }
    }

    pub(crate) fn event(&mut self, plan: &Plan, event: Event) {
        self.rows.written = 0;
        let commands = advance(plan, &mut self.rows, self.now, event).unwrap();
        self.changed_max = self.changed_max.max(self.rows.written);
        for command in commands {
            self.accept(command);
        }
        let in_flight = self
            .out
            .iter()
            .filter(|c| matches!(c, Command::Call(_)))
            .map(|c| if let Command::Call(call) = c { call.items.len() } else { 0 })
            .sum();
        self.in_flight_max = self.in_flight_max.max(in_flight);
    }

    fn accept(&mut self, command: Command) {
        match &command {
            Command::Timer { timer, at_ms } => {
                self.timers.insert(timer.clone(), *at_ms);
            }
            Command::ClearTimer { timer } => {
                self.timers.remove(timer);
            }
            Command::Cancel { step } => self.out.retain(|known| known.step() != Some(step)),
            Command::Finish { result } => {
                assert!(self.end.is_none(), "a run ends once");
                self.end = Some(Ok(result.clone()));
            }
            Command::Fail { error } => {
                assert!(self.end.is_none(), "a run ends once");
                self.end = Some(Err(error.clone()));
            }
            command => {
                let id = match command {
                    Command::Read { step, number, .. } => format!("{step} {number}"),
                    command => command.step().unwrap().to_owned(),
                };
                *self.sent.entry(id.clone()).or_default() += 1;
                assert_eq!(self.sent[&id], 1, "each effect is commanded once: {id}");
                self.out.push(command.clone());
            }
        }
    }

    /// Forgets all that is not in rows, and finds the same again.
    fn crash(&mut self) {
        self.rows.rows = self.rows.kept().into_iter().map(|(key, bytes)| (key, Row::kept(bytes.into()))).collect();
        let (mut out, mut timers) = (BTreeSet::new(), BTreeMap::new());
        for command in outstanding(&mut self.rows).unwrap() {
            match command {
                Command::Timer { timer, at_ms } => {
                    timers.insert(timer, at_ms);
                }
                Command::Finish { .. } | Command::Fail { .. } => {}
                command => {
                    out.insert(format!("{command:?}"));
                }
            }
        }
        assert_eq!(timers, self.timers, "a crash loses no timer");
        assert_eq!(
            out,
            self.out.iter().map(|c| format!("{c:?}")).collect(),
            "a crash loses no command and invents none"
        );
    }

    /// Until nothing is left to be done.
    pub(crate) fn run(&mut self, plan: &Plan, input: Value) -> Result<Value, Error> {
        self.event(plan, Event::Started { run: "run-1".into(), input: input.clone() });
        self.event(plan, Event::Started { run: "run-1".into(), input });
        self.go_on(plan);
        self.end.clone().expect("the run has ended")
    }

    /// Does one thing. False: there is none.
    pub(crate) fn step(&mut self, plan: &Plan) -> bool {
        if self.draw.below(100) < self.crash {
            self.crash();
        }
        if !self.old.is_empty() && self.draw.below(100) < self.twice {
            let event = self.old[self.draw.below(self.old.len())].clone();
            self.event(plan, event);
        }
        let ready: Vec<usize> =
            (0..self.out.len()).filter(|at| !matches!(self.out[*at], Command::Approval { .. })).collect();
        if !ready.is_empty() {
            let command = self.out.remove(ready[self.draw.below(ready.len())]);
            let event = self.answer(command);
            self.old.push(event.clone());
            self.event(plan, event);
            return true;
        }
        let Some((timer, at)) = self.timers.iter().min_by_key(|(_, at)| **at).map(|(t, at)| (t.clone(), *at)) else {
            return false;
        };
        self.now = self.now.max(at);
        self.timers.remove(&timer);
        let event = Event::Fired { timer };
        self.old.push(event.clone());
        self.event(plan, event);
        true
    }

    pub(crate) fn go_on(&mut self, plan: &Plan) {
        while self.step(plan) {}
    }

    fn function(&mut self, name: &str, input: &Value) -> Result<Value, Error> {
        self.calls.push((name.to_owned(), input.clone()));
        if let Some(left) = self.sick.get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            return Err(Error::new("unavailable", "not now"));
        }
        call(name, input).map_err(|(code, message)| Error::new(&code, message))
    }

    fn answer(&mut self, command: Command) -> Event {
        match command {
            Command::Call(call) => {
                let mut execution = Execution::new(&call);
                while let Some(need) = execution.need() {
                    let answer = match need {
                        Need::Function { name, input, .. } => self.function(&name, &input),
                        Need::Lines(part) => Ok(lines(part["part"].as_u64().unwrap())),
                        Need::Put(value) => Ok(self.put(format!("big-{}", self.objects.len()), value)),
                    };
                    execution.supply(answer);
                }
                let event = execution.finish();
                self.bytes += match &event {
                    Event::Items { outcomes, combined, .. } => {
                        json!([outcomes.iter().flatten().collect::<Vec<_>>(), combined]).to_string().len()
                    }
                    Event::Done { result, .. } => result.to_string().len(),
                    _ => 0,
                };
                event
            }
            Command::Read { step, number, source, .. } => {
                let items = match source {
                    stride_flows::run::ReadFrom::Parts { .. } => vec![json!({"part": number})],
                    stride_flows::run::ReadFrom::Objects { .. } => {
                        vec![json!({"$object": {"bucket": "b", "key": format!("k{number}"), "bytes": 9}})]
                    }
                    _ => lines(number).as_array().unwrap().clone(),
                };
                self.bytes += json!(items).to_string().len();
                Event::Page { step, number, items, next: (number + 1 < PARTS).then(|| json!(number + 1)) }
            }
            Command::Ask(message) => self.message(message),
            Command::Tell(message) => match self.message(message) {
                Event::Done { step, .. } => Event::Done { step, result: json!(null) },
                failed => failed,
            },
            Command::Publish { step, topic, value } => {
                self.calls.push((topic, value));
                Event::Done { step, result: json!(null) }
            }
            Command::Put { step, to, content } => {
                let value = match content {
                    Content::Value(value) => value,
                    Content::Pages { prefix, pages } => (0..pages)
                        .flat_map(|page| stride_flows::run::page(&self.rows, &prefix, page).unwrap())
                        .collect(),
                };
                let key = to.map_or_else(|| format!("big-{step}"), |(_, key)| key);
                let result = self.put(key, value);
                Event::Done { step, result }
            }
            Command::Start { step, flow, input } => {
                self.calls.push((flow, input));
                Event::Done { step, result: json!("done") }
            }
            Command::Continue { step } => Event::Done { step, result: json!(null) },
            other => panic!("nobody answers {other:?}"),
        }
    }

    fn message(&mut self, message: Message) -> Event {
        let Message { step, agent, key, method, input } = message;
        let answer = ask(&agent, &key, &method, &input);
        self.calls.push((format!("{agent}/{key}"), input));
        match answer {
            Ok(result) => Event::Done { step, result },
            Err((code, message)) => Event::Failed { step, error: Error::new(&code, message) },
        }
    }

    fn put(&mut self, key: String, value: Value) -> Value {
        let bytes = value.to_string().len();
        self.objects.insert(key.clone(), value);
        json!({"$object": {"bucket": "b", "key": key, "bytes": bytes}})
    }
}
