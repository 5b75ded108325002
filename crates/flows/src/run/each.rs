//! A walk over items: a window of them is in flight, and what each gives is a page of its own.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stride_ids::Failure;

use super::{
    command::{Call, Command, Error, Event, Item, Outcome, ReadFrom},
    execution::Execution,
    machine::{AT_ONCE, Given, Machine, Todo},
    rows::{Due, Job, Owner, Pages, Progress, Slot, Stored, Task, Walk, load, need, numbered, save},
    task::{is_too_deep, pause, too_deep},
    values::without_attempts,
};
use crate::{
    expr::Scope,
    ir::Failures,
    limits::PAGE_BYTES_MAX,
    plan::{Body, Each, Gives, Items, Stage, Work},
    value,
};

/// Items of one call that have no outcome yet, kept while some of them are tried again, and for a graph until it is done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Batch {
    /// What is still to be done, with its place in the batch.
    items: Vec<(usize, Item)>,
    outcomes: Vec<Option<Outcome>>,
    retried: Vec<u32>,
    attempt: u32,
}

/// Items that begin together.
struct Part {
    number: u64,
    attempt: u32,
    items: Vec<Item>,
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

    pub(super) fn begin_each(&mut self, step: &str, mut task: Task, each: &Each) -> Result<(), Failure> {
        let expr = match &each.items {
            Items::Expr(expr) => expr,
            Items::Parts(objects) => {
                let input = self.input(&task, None)?;
                let context = self.context(step, task.attempt);
                let scope = Scope { input: &input, context: &context };
                let (bucket, prefix) = match (objects.bucket.text(scope), objects.prefix.text(scope)) {
                    (Ok(bucket), Ok(prefix)) => (bucket, prefix),
                    (Err(e), _) | (_, Err(e)) => {
                        return self.failed(step, task, Error::new("expression", e.to_string()));
                    }
                };
                task.progress = Progress::Each(Walk::default());
                self.save_task(step, &task)?;
                let owner = Owner::Task { step: step.to_owned(), slot: Slot::Whole };
                let source = ReadFrom::Parts { bucket, prefix };
                return self
                    .send(owner, Command::Read { step: format!("{step}/!parts"), number: 0, source, after: None });
            }
        };
        match self.list(step, &task, expr)? {
            Ok(pages) => self.begin_walk(step, task, pages),
            Err(error) => self.failed(step, task, error),
        }
    }

    /// A list that a node walks over, in pages.
    pub(super) fn list(
        &mut self,
        step: &str,
        task: &Task,
        expr: &crate::Expr,
    ) -> Result<Result<Pages, Error>, Failure> {
        let value = match self.items_port(task, &self.plan.graphs[task.graph].nodes[task.index].work) {
            Some(port) => match self.stored(&task.frame, task.graph, port)? {
                Stored::Pages(pages) => return Ok(Ok(pages)),
                Stored::Json(value) => value,
            },
            None => {
                let input = self.input(task, expr.reads())?;
                let context = self.context(step, task.attempt);
                match expr.eval(Scope { input: &input, context: &context }) {
                    Ok(value) => value,
                    Err(e) => return Ok(Err(Error::new("expression", e.to_string()))),
                }
            }
        };
        match value {
            Value::Array(items) => Ok(Ok(self.write_pages(&format!("p/{step}/items"), items)?)),
            other => {
                let hint = if value::kind(&other) == "object" {
                    "; let a function read it, or read it as a `source`"
                } else {
                    ""
                };
                Ok(Err(Error::new("type_mismatch", format!("expected a list, given {}{hint}", value::kind(&other)))))
            }
        }
    }

    /// A page of what is read from outside is there.
    pub(super) fn page(
        &mut self,
        id: &str,
        number: u64,
        items: Vec<Value>,
        next: Option<Value>,
    ) -> Result<(), Failure> {
        let key = format!("x/{id}");
        let Some(mut job) = load::<Job>(self.rows, &key)? else { return Ok(()) };
        let Command::Read { number: wanted, after, .. } = &mut job.command else { return Ok(()) };
        if *wanted != number {
            return Ok(());
        }
        if items.iter().any(is_too_deep) {
            return self.answered(id, Err(too_deep()));
        }
        let prefix = format!("o/{id}");
        let tally = format!("p/{id}/read");
        let mut pages: Pages = load(self.rows, &tally)?.unwrap_or(Pages { prefix: prefix.clone(), ..Pages::default() });
        pages.items += items.len() as u64;
        pages.bytes += items.iter().map(|item| value::size(item) as u64 + 1).sum::<u64>();
        // What comes in larger pages than are read at once is laid out anew.
        let parts = self.write_pages(&format!("p/{id}/in"), items)?;
        for part in 0..parts.pages {
            let from = numbered(&parts.prefix, part);
            let page: Vec<Value> = need(self.rows, &from)?;
            save(self.rows, &numbered(&prefix, pages.pages), &page)?;
            self.rows.delete(&from)?;
            pages.pages += 1;
        }
        if next.is_some() {
            *after = next;
            *wanted += 1;
            save(self.rows, &tally, &pages)?;
            save(self.rows, &key, &job)?;
            self.commands.push(job.command);
            return Ok(());
        }
        self.rows.delete(&tally)?;
        if let Some(job) = self.take_job(id, pages.bytes)? {
            self.todo.push_back(Todo::Deliver { owner: job.owner, result: Ok(Stored::Pages(pages)) });
        }
        Ok(())
    }

    pub(super) fn begin_walk(&mut self, step: &str, mut task: Task, items: Pages) -> Result<(), Failure> {
        task.progress = Progress::Each(Walk { items, is_read: true, ..Walk::default() });
        self.refill(step, task)
    }

    /// Begins as many items as the window has room for.
    pub(super) fn refill(&mut self, step: &str, mut task: Task) -> Result<(), Failure> {
        let plan = self.plan;
        let Work::Each(each) = &plan.graphs[task.graph].nodes[task.index].work else { return Ok(()) };
        let Progress::Each(mut walk) = std::mem::replace(&mut task.progress, Progress::One) else { return Ok(()) };
        let context = self.context(step, task.attempt);
        let around = match &each.input {
            Some(expr) => self.input(&task, expr.reads())?,
            None => Value::Null,
        };
        let room = (each.window / each.batch.max(1)).max(1);
        let (mut page, mut at) = (Vec::new(), None);
        let mut pauses = false;
        while walk.in_flight < room && walk.index < walk.items.items {
            if self.spent >= AT_ONCE {
                pauses = true;
                break;
            }
            let mut items = Vec::new();
            while items.len() < each.batch as usize && walk.index < walk.items.items {
                if at != Some(walk.page) {
                    page = self.read_page(&walk.items.prefix, walk.page)?;
                    at = Some(walk.page);
                }
                let Some(value) = page.get(walk.offset) else {
                    (walk.page, walk.offset) = (walk.page + 1, 0);
                    continue;
                };
                let input = match item_input(each, value, walk.index, &around, &context) {
                    Ok(input) => input,
                    Err(error) => {
                        task.progress = Progress::Each(walk);
                        return self.failed(step, task, error);
                    }
                };
                items.push(Item { index: walk.index, value: value.clone(), input });
                (walk.offset, walk.index) = (walk.offset + 1, walk.index + 1);
            }
            let number = walk.batches;
            walk.batches += 1;
            self.spent += 1;
            if let Some(done) = self.begin_batch(step, &task, each, Part { number, attempt: 1, items }, &context)? {
                // Nothing had to be called, so it is done already.
                if let Err(error) = self.settle_batch(step, each, &mut walk, number, done)? {
                    task.progress = Progress::Each(walk);
                    return self.failed(step, task, error);
                }
            } else {
                walk.in_flight += 1;
            }
        }
        let is_done = walk.in_flight == 0 && walk.index >= walk.items.items;
        let given = Pages {
            prefix: format!("o/{step}"),
            pages: walk.batches,
            items: walk.given,
            bytes: walk.given_bytes,
            object: None,
        };
        let idle = walk.in_flight == 0;
        task.progress = Progress::Each(walk);
        if is_done {
            return self.whole(step, task, Stored::Pages(given));
        }
        self.save_task(step, &task)?;
        // With something in flight, its answer goes on with the rest.
        if pauses && idle { self.pause_here(step) } else { Ok(()) }
    }

    fn begin_batch(
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
    pub(super) fn items(
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
    pub(super) fn item_done(&mut self, step: &str, task: Task, part: u64, result: Given) -> Result<(), Failure> {
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

    pub(super) fn retry_batch(&mut self, step: &str, part: u64) -> Result<(), Failure> {
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
    fn settle_batch(
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

fn item_input(each: &Each, item: &Value, index: u64, around: &Value, context: &Value) -> Result<Option<Value>, Error> {
    let Some(expr) = &each.input else { return Ok(None) };
    let mut context = context.clone();
    context["item"] = json!({ "index": index, "value": item });
    let input =
        expr.eval(Scope { input: around, context: &context }).map_err(|e| Error::new("expression", e.to_string()))?;
    if value::size(&input) > 4 * PAGE_BYTES_MAX {
        return Err(Error::new(
            "value_too_large",
            "what `input` builds for an item is too large; pass a reference to an object",
        ));
    }
    Ok(Some(input))
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
