//! A node that is going on: its attempts, its end, and what follows from its failure.

use serde_json::{Value, json};
use stride_ids::Failure;

use super::{
    command::{Command, Content, Error},
    machine::{Given, Machine, Todo},
    rows::{Due, Owner, Progress, Slot, Stored, Task, load, save},
    values::without_attempts,
};
use crate::{
    ir::Retry,
    limits::{VALUE_BYTES_MAX, VALUE_DEPTH_MAX},
    plan::Work,
    schema::{Mismatch, Schema},
    value,
};

impl Machine<'_> {
    pub(super) fn start(&mut self, frame: &str, index: usize) -> Result<(), Failure> {
        let Some(graph) = self.frame(frame)?.filter(|frame| frame.failing.is_none()).map(|frame| frame.graph) else {
            return Ok(());
        };
        let node = &self.plan.graphs[graph].nodes[index];
        let step = format!("{frame}/{}", node.name);
        let retried = vec![0; node.retry.len()];
        let task = Task { frame: frame.to_owned(), graph, index, attempt: 1, retried, progress: Progress::One };
        self.attempt(&step, &task)
    }

    fn attempt(&mut self, step: &str, task: &Task) -> Result<(), Failure> {
        save(self.rows, &format!("n/{step}"), task)?;
        if let Some(ms) = self.node(task).timeout_ms {
            self.set_timer(&format!("{step}:timeout"), ms, Due::Timeout { step: step.to_owned() })?;
        }
        self.todo.push_back(Todo::Begin { step: step.to_owned() });
        Ok(())
    }

    pub(super) fn task(&self, step: &str) -> Result<Option<Task>, Failure> {
        load(self.rows, &format!("n/{step}"))
    }

    pub(super) fn save_task(&mut self, step: &str, task: &Task) -> Result<(), Failure> {
        save(self.rows, &format!("n/{step}"), task)
    }

    /// A part of a node is done, or has failed.
    pub(super) fn part_done(&mut self, step: &str, slot: Slot, result: Given) -> Result<(), Failure> {
        let Some(task) = self.task(step)? else { return Ok(()) };
        match (slot, result) {
            (Slot::Spill, Ok(reference)) => self.succeeded(step, task, reference),
            (Slot::Collect(key), Ok(reference)) => {
                self.has_object(&key, &reference)?;
                self.begin(step)
            }
            (Slot::More, _) => self.go_on(step, task),
            (Slot::Catch, Ok(value)) => self.has_result(step, task, value),
            (Slot::Catch | Slot::Spill | Slot::Collect(_), Err(error)) => self.give_up(step, &task, error),
            (Slot::Part(part), result) => self.numbered_part(step, task, part, result),
            (Slot::Branch(name), Ok(value)) => self.branch_done(step, task, &name, value),
            (Slot::Whole, Ok(value)) => self.whole(step, task, value),
            (Slot::Branch(_) | Slot::Whole, Err(error)) => self.failed(step, task, error),
        }
    }

    /// It has a value, if that is what it should look like.
    pub(super) fn whole(&mut self, step: &str, task: Task, value: Stored) -> Result<(), Failure> {
        if let Progress::Each(walk) = &task.progress
            && let (false, Stored::Pages(pages)) = (walk.is_read, &value)
        {
            return self.begin_walk(step, task, pages.clone());
        }
        if let Err(e) = self.looks_like(&self.node(&task).output, &value)? {
            return self.failed(step, task, Error::new("type_mismatch", e.to_string()));
        }
        self.has_result(step, task, value)
    }

    /// Lists are looked at a page at a time.
    fn looks_like(&self, schema: &Schema, value: &Stored) -> Result<Result<(), Mismatch>, Failure> {
        match (schema, value) {
            (Schema::Any, _) => Ok(Ok(())),
            (schema, Stored::Json(value)) => Ok(schema.check(value)),
            (schema, Stored::Pages(pages)) => {
                for page in 0..pages.pages {
                    if let Err(e) = schema.check(&self.read_page(&pages.prefix, page)?.into()) {
                        return Ok(Err(e));
                    }
                }
                Ok(Ok(()))
            }
        }
    }

    fn has_result(&mut self, step: &str, task: Task, value: Stored) -> Result<(), Failure> {
        match value {
            Stored::Json(deep) if is_too_deep(&deep) => self.give_up(step, &task, too_deep()),
            Stored::Json(large) if value::size(&large) > VALUE_BYTES_MAX => {
                let owner = Owner::Task { step: step.to_owned(), slot: Slot::Spill };
                let step = format!("{step}/!large");
                self.send(owner, Command::Put { step, to: None, content: Content::Value(large) })
            }
            value => self.succeeded(step, task, value),
        }
    }

    fn succeeded(&mut self, step: &str, task: Task, value: Stored) -> Result<(), Failure> {
        self.stop(step)?;
        if self.node(&task).compensate.is_some() {
            self.record_undo(&task, &value)?;
        }
        self.rows.delete(&format!("n/{step}"))?;
        self.has_value(&task.frame, task.index, &value)
    }

    /// Stops all that goes on for a node.
    fn stop(&mut self, step: &str) -> Result<(), Failure> {
        for timer in ["timeout", "retry", "wait"] {
            self.clear_timer(&format!("{step}:{timer}"))?;
        }
        self.rows.delete(&format!("w/{step}"))?;
        let job = format!("x/{step}");
        if self.rows.get(&job)?.is_some() {
            self.rows.delete(&job)?;
            self.commands.push(Command::Cancel { step: step.to_owned() });
        }
        self.cancel_below(step)
    }

    /// An attempt has failed: it is tried again, or something else is done, or the graph around it fails.
    pub(super) fn failed(&mut self, step: &str, mut task: Task, error: Error) -> Result<(), Failure> {
        self.stop(step)?;
        // Over items, what is tried again is the item; see `each`.
        let whole = !matches!(self.node(&task).work, Work::Each(_));
        let rule = self.node(&task).retry.iter().position(|retry| error.fits(&retry.errors)).filter(|_| whole);
        if let Some(rule) = rule.filter(|rule| task.retried[*rule] < self.node(&task).retry[*rule].retries) {
            let pause = pause(&self.node(&task).retry[rule], task.retried[rule], step);
            task.retried[rule] += 1;
            task.progress = Progress::Backoff;
            self.save_task(step, &task)?;
            return self.set_timer(&format!("{step}:retry"), pause, Due::Retry { step: step.to_owned() });
        }
        let plan = self.plan;
        let caught = plan.graphs[task.graph].nodes[task.index].catch.iter().find(|caught| error.fits(&caught.errors));
        let Some(caught) = caught else { return self.give_up(step, &task, error) };
        let input = json!({ "error": error.code, "message": error.message, "input": self.small_input(&task)? });
        task.progress = Progress::One;
        self.save_task(step, &task)?;
        let owner = Owner::Task { step: step.to_owned(), slot: Slot::Catch };
        self.launch(&caught.body, format!("{step}/!catch"), Stored::Json(input), owner, false)
    }

    fn give_up(&mut self, step: &str, task: &Task, error: Error) -> Result<(), Failure> {
        self.stop(step)?;
        self.rows.delete(&format!("n/{step}"))?;
        self.fail_frame(&task.frame, error)
    }

    /// The pause is over. The next attempt has an id of its own, so that what still comes of the last one does not count.
    pub(super) fn retry(&mut self, step: &str) -> Result<(), Failure> {
        let Some(mut task) = self.task(step)? else { return Ok(()) };
        self.rows.delete(&format!("n/{step}"))?;
        self.forget_pages(step, None)?;
        task.attempt += 1;
        task.progress = Progress::One;
        let name = &self.node(&task).name;
        let step = format!("{}/{name}~{}", task.frame, task.attempt);
        self.attempt(&step, &task)
    }

    pub(super) fn timed_out(&mut self, step: &str) -> Result<(), Failure> {
        let Some(task) = self.task(step)? else { return Ok(()) };
        let ms = self.node(&task).timeout_ms.unwrap_or_default();
        self.failed(
            step,
            task,
            Error::new("timeout", format!("`{}` has taken longer than {ms} ms", without_attempts(step))),
        )
    }

    pub(super) fn waited(&mut self, step: &str) -> Result<(), Failure> {
        let Some(task) = self.task(step)? else { return Ok(()) };
        let value = self.input(&task, None)?;
        self.whole(step, task, Stored::Json(value))
    }

    /// It goes on with what it had no time for.
    fn go_on(&mut self, step: &str, task: Task) -> Result<(), Failure> {
        match task.progress {
            Progress::Each(_) => self.refill(step, task),
            Progress::Round(_) => self.next_round(step, task),
            _ => Ok(()),
        }
    }

    /// Lets somebody else have a turn.
    pub(super) fn pause_here(&mut self, step: &str) -> Result<(), Failure> {
        self.header.seq += 1;
        let owner = Owner::Task { step: step.to_owned(), slot: Slot::More };
        self.send(owner, Command::Continue { step: format!("{step}/!more-{}", self.header.seq) })
    }

    fn numbered_part(&mut self, step: &str, task: Task, part: u64, result: Given) -> Result<(), Failure> {
        match &task.progress {
            Progress::Each(_) => self.item_done(step, task, part, result),
            Progress::Reduce(_) => self.group_done(step, task, part, result),
            Progress::Round(round) if *round == part => self.round_done(step, task, result),
            _ => Ok(()),
        }
    }
}

/// How long to wait before the next attempt. With `jitter`, up to half of it less, by a hash of the step: no chance is needed for steps to differ.
pub(super) fn pause(rule: &Retry, retried: u32, step: &str) -> u64 {
    let grown = rule.backoff_ms as f64 * rule.rate.powi(i32::try_from(retried).unwrap_or(i32::MAX));
    let most = rule.backoff_max_ms.unwrap_or(crate::limits::TIME_MS_MAX);
    let pause = (grown.min(crate::limits::TIME_MS_MAX as f64) as u64).min(most);
    if !rule.jitter || pause < 2 {
        return pause;
    }
    let hash = blake3::hash(step.as_bytes());
    let draw = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or_default());
    pause - draw % (pause / 2)
}

pub(super) fn is_too_deep(value: &Value) -> bool {
    value::is_deeper_than(value, VALUE_DEPTH_MAX)
}

pub(super) fn too_deep() -> Error {
    Error::new("value_too_deep", format!("a value has more than {VALUE_DEPTH_MAX} levels; let a function flatten it"))
}

/// A record that says nothing.
pub(super) fn nothing() -> Stored {
    Stored::Json(Value::Null)
}
