//! Items that begin together: what is called for them, which are tried again, and what they gave.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stride_ids::Failure;

use crate::{
    ir::Failures,
    plan::{Body, Each, Gives, Stage, Work},
    run::{
        command::{Call, Command, Error, Event, Item, Outcome},
        execution::Execution,
        machine::{Given, Machine},
        rows::{Due, Job, Owner, Progress, Slot, Stored, Task, Walk, load, need, numbered, save},
        task::{is_too_deep, pause, too_deep},
        values::without_attempts,
    },
    value,
};

/// Items of one call that have no outcome yet, kept while some of them are tried again, and for a graph until it is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Batch {
    /// What is still to be done, with its place in the batch.
    items: Vec<(usize, Item)>,
    outcomes: Vec<Option<Outcome>>,
    retried: Vec<u32>,
    attempt: u32,
}

/// Items that begin together.
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) attempt: u32,
    pub(super) items: Vec<Item>,
}

impl Batch {
    fn of(items: &[Item], rules: usize) -> Self {
        Self {
            items: items.iter().cloned().enumerate().collect(),
            outcomes: vec![None; items.len()],
            retried: vec![0; rules],
            attempt: 1,
        }
    }
}

impl Machine<'_> {
    fn each(&self, task: &Task) -> Option<&Each> {
        match &self.plan.graphs[task.graph].nodes[task.index].work {
            Work::Each(each) => Some(each),
            _ => None,
        }
    }

    pub(super) fn begin_batch(
        &mut self,
        step: &str,
        task: &Task,
        each: &Each,
        part: Part,
        context: &Value,
    ) -> Result<Option<Vec<Outcome>>, Failure> {
        let Part { number: batch, attempt, items } = part;
        let id = if attempt == 1 { format!("{step}/{batch}") } else { format!("{step}/{batch}~{attempt}") };
        let owner = Owner::Task { step: step.to_owned(), slot: Slot::Part(batch) };
        let stages = match &each.body {
            Body::Chain(stages) => stages.clone(),
            Body::Graph(graph) => {
                let Some(item) = items.first() else { return Ok(Some(Vec::new())) };
                let input = item.input.clone().unwrap_or_else(|| item.value.clone());
                if attempt == 1 {
                    let batch_of_one = Batch::of(&items, self.node(task).retry.len());
                    save(self.rows, &format!("b/{step}/{batch}"), &batch_of_one)?;
                }
                self.open_frame(id, *graph, Stored::Json(input), owner, true)?;
                return Ok(None);
            }
        };
        let calls = stages.iter().any(Stage::is_call);
        let mut call = Call {
            key: format!("{}{}", self.header.id, without_attempts(&id)),
            step: id,
            stages,
            combine: each.combine.clone(),
            items,
            is_batch: true,
            context: context.clone(),
            affinity: None,
            near_data: false,
            hardware: None,
            prefers: None,
            node: None,
        };
        if !calls {
            call.combine = None;
            let never = |_| Err(Error::new("internal", "an expression needs nothing"));
            return Ok(match Execution::run(&call, never) {
                Event::Items { outcomes, .. } => Some(outcomes),
                _ => None,
            });
        }
        self.placed(&mut call, task)?;
        self.send(owner, Command::Call(call))?;
        Ok(None)
    }

    /// A call over items has its answer.
    pub(in crate::run) fn items(
        &mut self,
        id: &str,
        outcomes: Vec<Outcome>,
        combined: Option<Vec<Value>>,
    ) -> Result<(), Failure> {
        let given = outcomes.iter().flatten().flatten().chain(combined.iter().flatten());
        let bytes = given.map(|value| value::size(value) as u64).sum();
        let Some(Job { owner: Owner::Task { step, slot: Slot::Part(part) }, command: Command::Call(call), .. }) =
            self.take_job(id, bytes)?
        else {
            return Ok(());
        };
        let Some(task) = self.task(&step)? else { return Ok(()) };
        let rules = self.node(&task).retry.len();
        let key = format!("b/{step}/{part}");
        let mut batch = load(self.rows, &key)?.unwrap_or_else(|| Batch::of(&call.items, rules));
        if let (Some(combined), true) = (combined, batch.items.len() == batch.outcomes.len()) {
            return self.batch_done(&step, task, part, vec![Ok(combined)]);
        }
        let missing = || Err(Error::new("internal", "a call over items was answered with too few outcomes"));
        let mut outcomes = outcomes.into_iter();
        for (place, _) in &batch.items {
            batch.outcomes[*place] = Some(outcomes.next().unwrap_or_else(missing));
        }
        self.batch_answered(&step, task, part, batch)
    }

    /// A graph for an item is done.
    pub(in crate::run) fn item_done(
        &mut self,
        step: &str,
        task: Task,
        part: u64,
        result: Given,
    ) -> Result<(), Failure> {
        let mut batch: Batch = need(self.rows, &format!("b/{step}/{part}"))?;
        let gives = self.each(&task).map_or(Gives::One, |each| each.gives);
        let outcome = match (result, batch.items.first()) {
            (Err(error), _) => Err(error),
            (Ok(stored), Some((_, item))) => gave(gives, &item.value, self.to_json(&stored)?),
            (Ok(_), None) => Ok(Vec::new()),
        };
        batch.outcomes = vec![Some(outcome)];
        self.batch_answered(step, task, part, batch)
    }

    /// What has failed and may be tried again is; the rest waits for it.
    fn batch_answered(&mut self, step: &str, task: Task, part: u64, mut batch: Batch) -> Result<(), Failure> {
        let rules = self.node(&task).retry.clone();
        let mut again = None;
        let outcomes = &batch.outcomes;
        batch.items.retain(|(place, _)| {
            let Some(Some(Err(error))) = outcomes.get(*place) else { return false };
            let rule = rules.iter().position(|rule| error.fits(&rule.errors));
            let rule = rule.filter(|rule| batch.retried[*rule] < rules[*rule].retries);
            again = again.or(rule);
            rule.is_some()
        });
        let key = format!("b/{step}/{part}");
        if let Some(rule) = again {
            let pause = pause(&rules[rule], batch.retried[rule], &format!("{step}/{part}"));
            batch.retried[rule] += 1;
            save(self.rows, &key, &batch)?;
            let due = Due::Batch { step: step.to_owned(), batch: part };
            return self.set_timer(&format!("{step}/{part}:retry"), pause, due);
        }
        self.rows.delete(&key)?;
        self.batch_done(step, task, part, batch.outcomes.into_iter().flatten().collect())
    }

    pub(in crate::run) fn retry_batch(&mut self, step: &str, part: u64) -> Result<(), Failure> {
        let Some(task) = self.task(step)? else { return Ok(()) };
        let plan = self.plan;
        let Work::Each(each) = &plan.graphs[task.graph].nodes[task.index].work else { return Ok(()) };
        let key = format!("b/{step}/{part}");
        let mut batch: Batch = need(self.rows, &key)?;
        batch.attempt += 1;
        save(self.rows, &key, &batch)?;
        let items = batch.items.into_iter().map(|(_, item)| item).collect();
        let context = self.context(step, batch.attempt);
        let again = Part { number: part, attempt: batch.attempt, items };
        self.begin_batch(step, &task, each, again, &context)?;
        Ok(())
    }

    fn batch_done(&mut self, step: &str, mut task: Task, part: u64, outcomes: Vec<Outcome>) -> Result<(), Failure> {
        let plan = self.plan;
        let Work::Each(each) = &plan.graphs[task.graph].nodes[task.index].work else { return Ok(()) };
        let Progress::Each(walk) = &mut task.progress else { return Ok(()) };
        walk.in_flight = walk.in_flight.saturating_sub(1);
        match self.settle_batch(step, each, walk, part, outcomes)? {
            Ok(()) => self.refill(step, task),
            Err(error) => self.failed(step, task, error),
        }
    }

    /// Writes down what a batch gave. An error, if too many items have failed.
    pub(super) fn settle_batch(
        &mut self,
        step: &str,
        each: &Each,
        walk: &mut Walk,
        part: u64,
        outcomes: Vec<Outcome>,
    ) -> Result<Result<(), Error>, Failure> {
        let (mut given, mut first) = (Vec::new(), None);
        for outcome in outcomes {
            match outcome {
                Ok(values) if values.iter().any(is_too_deep) => {
                    walk.failed += 1;
                    first = first.or(Some(too_deep()));
                }
                Ok(values) => given.extend(values),
                Err(error) => {
                    walk.failed += 1;
                    first = first.or(Some(error));
                }
            }
        }
        walk.given += given.len() as u64;
        walk.given_bytes += given.iter().map(|value| value::size(value) as u64 + 1).sum::<u64>();
        save(self.rows, &numbered(&format!("o/{step}"), part), &given)?;
        Ok(match first {
            Some(error) if is_too_many(&each.failures, walk.failed, walk.items.items) => {
                let Error { code, message } = error;
                Err(Error {
                    code,
                    message: format!(
                        "{} of {} items have failed, one of them so: {message}",
                        walk.failed, walk.items.items
                    ),
                })
            }
            _ => Ok(()),
        })
    }
}

fn is_too_many(failures: &Failures, failed: u64, of: u64) -> bool {
    let over_count = failures.count_max.map(|max| failed > max);
    let over_percent = failures.percent_max.map(|max| failed as f64 * 100.0 > max * of as f64);
    match (over_count, over_percent) {
        (None, None) => failed > 0,
        (count, percent) => count.unwrap_or(false) || percent.unwrap_or(false),
    }
}

fn gave(gives: Gives, item: &Value, value: Value) -> Outcome {
    match (gives, value) {
        (Gives::One, value) => Ok(vec![value]),
        (Gives::Flat, Value::Array(values)) => Ok(values),
        (Gives::Keep, Value::Bool(keep)) => Ok(if keep { vec![item.clone()] } else { Vec::new() }),
        (Gives::Key, Value::String(key)) => Ok(vec![json!({ "key": key, "value": item })]),
        (_, other) => Err(Error::new(
            "type_mismatch",
            format!("the body of an operator over items gives {}", value::kind(&other)),
        )),
    }
}
