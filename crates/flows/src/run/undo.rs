//! Failure of a graph, and compensation: what has succeeded below it is undone, the last first, before the failure goes up.

use serde_json::json;
use stride_ids::Failure;

use super::{
    command::Error,
    machine::{Given, Machine, Todo},
    rows::{Frame, Job, Owner, Stored, Task, Undo, for_all, load, need, save},
    values::UNDO,
};

impl Machine<'_> {
    pub(super) fn record_undo(&mut self, task: &Task, result: &Stored) -> Result<(), Failure> {
        self.header.seq += 1;
        let undo = Undo {
            frame: task.frame.clone(),
            graph: task.graph,
            index: task.index,
            input: self.small_input(task)?,
            result: self.small(result)?,
        };
        // Counted down, so that the last comes first.
        save(self.rows, &format!("c/{:016x}", u64::MAX - self.header.seq), &undo)
    }

    /// A graph fails: nothing in it goes on.
    pub(super) fn fail_frame(&mut self, id: &str, error: Error) -> Result<(), Failure> {
        let Some(mut frame) = self.frame(id)?.filter(|frame| frame.failing.is_none()) else { return Ok(()) };
        self.cancel_below(id)?;
        frame.failing = Some(error);
        save(self.rows, &format!("f/{id}"), &frame)?;
        self.undo_next(id, frame)
    }

    fn undo_next(&mut self, id: &str, frame: Frame) -> Result<(), Failure> {
        let Some((key, undo)) = self.last_undo(id)? else {
            let error =
                frame.failing.clone().unwrap_or_else(|| Error::new("internal", "a graph has failed without a cause"));
            return self.close_frame(id, frame, Err(error));
        };
        let plan = self.plan;
        let owner = Owner::Undo { frame: id.to_owned(), key: key.clone() };
        let step = format!("{UNDO}{}", &key[2..]);
        if self.adopt(&step, &owner)? {
            return Ok(());
        }
        match &plan.graphs[undo.graph].nodes[undo.index].compensate {
            Some(body) => {
                let input = json!({ "input": undo.input, "result": undo.result });
                self.launch(body, step, Stored::Json(input), owner, true)
            }
            None => {
                self.todo.push_back(Todo::Deliver { owner, result: Ok(super::task::nothing()) });
                Ok(())
            }
        }
    }

    /// A compensation that a graph further down has begun belongs to this one from now on.
    fn adopt(&mut self, step: &str, owner: &Owner) -> Result<bool, Failure> {
        if let Some(job) = load::<Job>(self.rows, &format!("x/{step}"))? {
            save(self.rows, &format!("x/{step}"), &Job { owner: owner.clone(), ..job })?;
            return Ok(true);
        }
        if let Some(frame) = self.frame(step)? {
            save(self.rows, &format!("f/{step}"), &Frame { owner: owner.clone(), ..frame })?;
            return Ok(true);
        }
        Ok(false)
    }

    fn last_undo(&mut self, id: &str) -> Result<Option<(String, Undo)>, Failure> {
        let (mut found, below) = (None, format!("{id}/"));
        for_all(self.rows, "c/", |_, key, row| {
            let undo: Undo = row.value(key)?;
            if undo.frame == id || undo.frame.starts_with(&below) {
                found = Some((key.to_owned(), undo));
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// A compensation is done. One that fails is told of with the failure; the others go on.
    pub(super) fn undone(&mut self, id: &str, key: &str, result: Given) -> Result<(), Failure> {
        let undo: Undo = need(self.rows, key)?;
        self.rows.delete(key)?;
        // The graph around it may have failed meanwhile, and goes on from what is left to undo.
        let Some(mut frame) = self.frame(id)? else { return Ok(()) };
        if let (Err(e), Some(error)) = (result, &mut frame.failing) {
            let node = &self.plan.graphs[undo.graph].nodes[undo.index].name;
            error.message = format!("{}; and `{node}` could not be compensated: {e}", error.message);
            save(self.rows, &format!("f/{id}"), &frame)?;
        }
        self.undo_next(id, frame)
    }
}
