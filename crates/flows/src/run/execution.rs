//! How a call runs: what it needs next, one thing at a time, so that whoever runs it waits in their own way.
//!
//! ```text
//! let mut execution = Execution::new(&call);
//! while let Some(need) = execution.need() { execution.supply(answer(need)) }
//! advance(plan, rows, now, execution.finish())
//! ```
//! Always true: values over the limit go to objects before they are told to the run. If an item fails, nothing is combined: a fold of parts is an optimisation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::command::{Call, Error, Event, Item, Outcome};
use crate::{
    expr::Scope,
    limits::{FOLD_MAX, VALUE_BYTES_MAX},
    plan::{Does, Gives, Stage},
    value,
};

/// What an execution needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// What a function gives for this.
    Function {
        /// `component/function`.
        name: String,
        /// What it gets.
        input: Value,
        /// Whether an answer from before may be taken.
        memo: bool,
    },
    /// The lines of this part, as a list of texts.
    Lines(Value),
    /// A reference to an object with this value.
    Put(Value),
}

/// A call that is running.
#[derive(Debug)]
pub struct Execution<'a> {
    call: &'a Call,
    at: usize,
    /// Values of the current item, the next on top, with the stage that each comes to.
    stack: Vec<(usize, Value)>,
    outputs: Vec<Value>,
    outcomes: Vec<Outcome>,
    pending: Option<Pending>,
    folding: Option<Folding>,
}

#[derive(Debug)]
enum Pending {
    Stage(usize, Value),
    Put,
}

#[derive(Debug, Default)]
struct Folding {
    groups: Vec<(Option<String>, Value)>,
    at: usize,
    folded: Vec<Value>,
    gave_up: bool,
}

impl<'a> Execution<'a> {
    /// Begins.
    pub fn new(call: &'a Call) -> Self {
        let mut this = Self {
            call,
            at: 0,
            stack: Vec::new(),
            outputs: Vec::new(),
            outcomes: Vec::new(),
            pending: None,
            folding: None,
        };
        this.begin_item();
        this
    }

    /// What it needs next. `None`: nothing any more.
    pub fn need(&mut self) -> Option<Need> {
        loop {
            let Some((stage, value)) = self.stack.pop() else {
                self.end()?;
                continue;
            };
            let Some(part) = self.stages().get(stage) else {
                if self.folding.is_none() && value::size(&value) > self.value_bytes_max() {
                    self.pending = Some(Pending::Put);
                    return Some(Need::Put(value));
                }
                self.give(value);
                continue;
            };
            let given = match (&self.folding, stage) {
                (None, 0) => self.call.items[self.at].input.clone().unwrap_or_else(|| value.clone()),
                _ => value.clone(),
            };
            let need = match &part.does {
                Does::Expr(expr) => {
                    let result = expr.eval(Scope { input: &given, context: &self.context() });
                    self.went(stage, value, result.map_err(|e| Error::new("expression", e.to_string())));
                    continue;
                }
                Does::Function { name, input, memo } => {
                    match input.eval(Scope { input: &given, context: &self.context() }) {
                        Ok(input) => Need::Function { name: name.clone(), input, memo: *memo },
                        Err(e) => {
                            self.fail(Error::new("expression", e.to_string()));
                            continue;
                        }
                    }
                }
                Does::Lines => Need::Lines(given),
            };
            self.pending = Some(Pending::Stage(stage, value));
            return Some(need);
        }
    }

    /// Gives it what it needed, or why there is none.
    pub fn supply(&mut self, answer: Result<Value, Error>) {
        match (self.pending.take(), answer) {
            (Some(Pending::Stage(stage, value)), answer) => self.went(stage, value, answer),
            (Some(Pending::Put), Ok(reference)) => self.give(reference),
            (Some(Pending::Put), Err(error)) => self.fail(error),
            (None, _) => {}
        }
    }

    /// The event that the run is told.
    pub fn finish(mut self) -> Event {
        let step = self.call.step.clone();
        if self.call.is_batch {
            let combined = self.folding.filter(|folding| !folding.gave_up).map(|folding| folding.folded);
            let outcomes = if combined.is_some() { Vec::new() } else { self.outcomes };
            return Event::Items { step, outcomes, combined };
        }
        match self.outcomes.pop() {
            Some(Ok(mut values)) => Event::Done { step, result: values.pop().unwrap_or_default() },
            Some(Err(error)) => Event::Failed { step, error },
            None => Event::Failed { step, error: Error::new("internal", "a call was finished before its end") },
        }
    }

    /// What happens when answers are there at once.
    pub fn run(call: &'a Call, mut answer: impl FnMut(Need) -> Result<Value, Error>) -> Event {
        let mut this = Self::new(call);
        while let Some(need) = this.need() {
            this.supply(answer(need));
        }
        this.finish()
    }

    /// Values of many items share one row, so each of them may be less.
    fn value_bytes_max(&self) -> usize {
        (8 * VALUE_BYTES_MAX / self.call.items.len().max(1)).clamp(4 << 10, VALUE_BYTES_MAX)
    }

    fn stages(&self) -> &'a [Stage] {
        match (&self.folding, &self.call.combine) {
            (Some(_), Some(combine)) => &combine.stages,
            _ => &self.call.stages,
        }
    }

    fn context(&self) -> Value {
        let mut context = self.call.context.clone();
        if self.call.is_batch
            && let Some(fields) = context.as_object_mut()
        {
            fields.insert("item".into(), json!({ "index": self.call.items.get(self.at).map_or(0, |item| item.index) }));
        }
        context
    }

    fn begin_item(&mut self) {
        if let Some(Item { value, .. }) = self.call.items.get(self.at) {
            self.stack = vec![(0, value.clone())];
        }
    }

    fn went(&mut self, stage: usize, value: Value, result: Result<Value, Error>) {
        let result = match result {
            Ok(result) => result,
            Err(error) => return self.fail(error),
        };
        match (self.stages()[stage].gives, result) {
            (Gives::One, result) => self.stack.push((stage + 1, result)),
            (Gives::Flat, Value::Array(items)) => {
                self.stack.extend(items.into_iter().rev().map(|item| (stage + 1, item)));
            }
            (Gives::Keep, Value::Bool(true)) => self.stack.push((stage + 1, value)),
            (Gives::Keep, Value::Bool(false)) => {}
            (Gives::Key, Value::String(key)) => self.stack.push((stage + 1, json!({ "key": key, "value": value }))),
            (gives, other) => self.fail(wrong(gives, &other)),
        }
    }

    fn give(&mut self, value: Value) {
        match &mut self.folding {
            None => self.outputs.push(value),
            Some(folding) => {
                let key = folding.groups[folding.at].0.clone();
                folding.folded.push(key.map_or(value.clone(), |key| json!({ "key": key, "value": value })));
            }
        }
    }

    /// The item, or the fold, has failed.
    fn fail(&mut self, error: Error) {
        self.stack.clear();
        match &mut self.folding {
            Some(folding) => folding.gave_up = true,
            None => {
                self.outputs.clear();
                self.outcomes.push(Err(error));
            }
        }
    }

    /// One item, or one group, is done. `None`: that was the last.
    fn end(&mut self) -> Option<()> {
        if let Some(folding) = &mut self.folding {
            folding.at += 1;
            let (_, values) = folding.groups.get(folding.at).filter(|_| !folding.gave_up)?;
            self.stack = vec![(0, values.clone())];
            return Some(());
        }
        if self.at < self.call.items.len() {
            if self.outcomes.len() == self.at {
                self.outcomes.push(Ok(std::mem::take(&mut self.outputs)));
            }
            self.at += 1;
        }
        if self.at < self.call.items.len() {
            self.begin_item();
            return Some(());
        }
        let combine = self.call.combine.as_ref()?;
        let values = self.outcomes.iter().map(|outcome| outcome.as_ref().ok()).collect::<Option<Vec<_>>>()?;
        let groups = groups(values.into_iter().flatten(), combine.by_key)?;
        let first = groups.first().map(|(_, values)| (0, values.clone()));
        self.folding = Some(Folding { groups, ..Folding::default() });
        self.stack.extend(Some(first?));
        Some(())
    }
}

/// Neighbours, or values of one key, that are folded together. `None`: something has no key, which the fold itself will say.
pub(super) fn groups<'a>(
    values: impl Iterator<Item = &'a Value>,
    by_key: bool,
) -> Option<Vec<(Option<String>, Value)>> {
    let mut all: BTreeMap<Option<&str>, Vec<Value>> = BTreeMap::new();
    for value in values {
        let (key, value) =
            if by_key { (Some(value.get("key")?.as_str()?), value.get("value")?) } else { (None, value) };
        all.entry(key).or_default().push(value.clone());
    }
    let chunks = |(key, values): (Option<&str>, Vec<Value>)| {
        let chunk = |values: &[Value]| (key.map(str::to_owned), values.into());
        values.chunks(FOLD_MAX).map(chunk).collect::<Vec<_>>()
    };
    Some(all.into_iter().flat_map(chunks).collect())
}

fn wrong(gives: Gives, given: &Value) -> Error {
    let wanted = match gives {
        Gives::Flat => "a list",
        Gives::Keep => "true or false",
        Gives::Key => "a text as key",
        Gives::One => "a value",
    };
    Error::new("type_mismatch", format!("expected {wanted}, given {}", value::kind(given)))
}
