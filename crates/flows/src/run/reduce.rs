//! A fold, level by level: values of a group become one, until there is one for each key.
//!
//! Groups follow from the values and their order, never from what is done first. One level is in memory, and so limited.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stride_ids::Failure;

use super::{
    command::Error,
    execution::groups,
    machine::{Given, Machine},
    rows::{Fold, Owner, Progress, Slot, Stored, Task, for_all, load, need, numbered, save},
};
use crate::{
    expr::Expr,
    limits::{FOLD_MAX, LIST_BYTES_MAX},
    plan::Work,
};

/// A key, if there are keys, and the values that are folded.
type Group = (Option<String>, Value);

impl Machine<'_> {
    pub(super) fn begin_reduce(&mut self, step: &str, task: Task, items: &Expr, by_key: bool) -> Result<(), Failure> {
        let pages = match self.list(step, &task, items)? {
            Ok(pages) => pages,
            Err(error) => return self.failed(step, task, error),
        };
        if pages.bytes > LIST_BYTES_MAX as u64 {
            let what =
                format!("a fold of {} bytes; fold earlier with `associative`, or write values to objects", pages.bytes);
            return self.failed(step, task, Error::new("value_too_large", what));
        }
        let mut values = Vec::new();
        for page in 0..pages.pages {
            values.extend(self.read_page(&pages.prefix, page)?);
        }
        if values.is_empty() {
            let nothing = if by_key { json!([]) } else { Value::Null };
            return self.whole(step, task, Stored::Json(nothing));
        }
        let Some(chunks) = groups(values.iter(), by_key) else {
            return self.failed(step, task, Error::new("type_mismatch", "an item is no `{\"key\", \"value\"}`"));
        };
        let groups = if self.is_associative(&task) { chunks } else { joined(chunks) };
        self.next_level(step, task, 0, groups)
    }

    fn is_associative(&self, task: &Task) -> bool {
        matches!(self.node(task).work, Work::Reduce { associative: true, .. })
    }

    fn next_level(&mut self, step: &str, mut task: Task, level: u64, groups: Vec<Group>) -> Result<(), Failure> {
        for (index, group) in groups.iter().enumerate() {
            save(self.rows, &numbered(&format!("p/{step}/g"), index as u64), group)?;
        }
        task.progress = Progress::Reduce(Fold { level, groups: groups.len() as u64, ..Fold::default() });
        self.fill(step, task)
    }

    fn fill(&mut self, step: &str, mut task: Task) -> Result<(), Failure> {
        let plan = self.plan;
        let Work::Reduce { body, window, .. } = &plan.graphs[task.graph].nodes[task.index].work else { return Ok(()) };
        let Progress::Reduce(fold) = &mut task.progress else { return Ok(()) };
        let begun = fold.next..fold.groups.min(fold.next + u64::from(window.saturating_sub(fold.in_flight)));
        let level = fold.level;
        fold.next = begun.end;
        fold.in_flight += u32::try_from(begun.end - begun.start).unwrap_or(u32::MAX);
        self.save_task(step, &task)?;
        for index in begun {
            let (_, values): Group = need(self.rows, &numbered(&format!("p/{step}/g"), index))?;
            let owner = Owner::Task { step: step.to_owned(), slot: Slot::Part(index) };
            self.launch(body, format!("{step}/{level}-{index}"), Stored::Json(values), owner, true)?;
        }
        Ok(())
    }

    pub(super) fn group_done(&mut self, step: &str, mut task: Task, index: u64, result: Given) -> Result<(), Failure> {
        let value = match result {
            Ok(stored) => self.to_json(&stored)?,
            Err(error) => return self.failed(step, task, error),
        };
        let group = numbered(&format!("p/{step}/g"), index);
        let Some((key, _)) = load::<Group>(self.rows, &group)? else { return Ok(()) };
        self.rows.delete(&group)?;
        save(self.rows, &numbered(&format!("p/{step}/r"), index), &(key, value))?;
        let Progress::Reduce(fold) = &mut task.progress else { return Ok(()) };
        fold.in_flight = fold.in_flight.saturating_sub(1);
        if fold.in_flight > 0 || fold.next < fold.groups {
            return self.fill(step, task);
        }
        let level = fold.level + 1;
        self.level_done(step, task, level)
    }

    fn level_done(&mut self, step: &str, task: Task, level: u64) -> Result<(), Failure> {
        let mut by_key: BTreeMap<Option<String>, Vec<Value>> = BTreeMap::new();
        for_all(self.rows, &format!("p/{step}/r/"), |rows, at, row| {
            let (key, value): Group = row.value(at)?;
            by_key.entry(key).or_default().push(value);
            rows.delete(at)?;
            Ok(true)
        })?;
        let mut again = Vec::new();
        for (key, mut values) in by_key {
            if values.len() > 1 {
                again.extend(values.chunks(FOLD_MAX).map(|chunk| (key.clone(), chunk.into())));
            } else if let Some(value) = values.pop() {
                self.header.seq += 1;
                save(self.rows, &numbered(&format!("p/{step}/k"), self.header.seq), &(key, value))?;
            }
        }
        if again.is_empty() { self.folded(step, task) } else { self.next_level(step, task, level, again) }
    }

    fn folded(&mut self, step: &str, task: Task) -> Result<(), Failure> {
        let mut all: BTreeMap<Option<String>, Value> = BTreeMap::new();
        for_all(self.rows, &format!("p/{step}/k/"), |_, at, row| {
            let (key, value): Group = row.value(at)?;
            all.insert(key, value);
            Ok(true)
        })?;
        if let Some(value) = all.remove(&None) {
            return self.whole(step, task, Stored::Json(value));
        }
        let list = all.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let pages = self.write_pages(&format!("o/{step}"), list)?;
        self.whole(step, task, Stored::Pages(pages))
    }
}

/// All values of a key in one group.
fn joined(chunks: Vec<Group>) -> Vec<Group> {
    let mut all: Vec<(Option<String>, Vec<Value>)> = Vec::new();
    for (key, values) in chunks {
        let values = if let Value::Array(values) = values { values } else { vec![values] };
        match all.last_mut().filter(|(last, _)| *last == key) {
            Some((_, known)) => known.extend(values),
            None => all.push((key, values)),
        }
    }
    all.into_iter().map(|(key, values)| (key, values.into())).collect()
}
