//! A walk over items: a window of them is in flight, and what each gives is a page of its own.

mod batch;

use batch::Part;
use serde_json::{Value, json};
use stride_ids::Failure;

use super::{
    command::{Command, Error, Item, ReadFrom},
    machine::{AT_ONCE, Machine, Todo},
    rows::{Job, Owner, Pages, Progress, Slot, Stored, Task, Walk, load, need, numbered, save},
    task::{is_too_deep, too_deep},
};
use crate::{
    expr::Scope,
    limits::PAGE_BYTES_MAX,
    plan::{Each, Items, Work},
    value,
};

impl Machine<'_> {
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
