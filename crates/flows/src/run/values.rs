//! Values at rest: what a node reads, lists in pages, and what is removed.

use serde_json::{Value, json};
use stride_ids::Failure;

use super::{
    command::{Command, Content},
    machine::Machine,
    rows::{Job, Owner, Pages, Stored, Task, for_all, load, need, numbered, save},
};
use crate::{
    limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX, VALUE_BYTES_MAX},
    plan::{Inputs, Node, Port},
    value,
};

/// What ids of compensations begin with.
pub(super) const UNDO: &str = "/!undo-";

impl Machine<'_> {
    /// The value of a port.
    pub(super) fn stored(&self, frame: &str, graph: usize, port: Port) -> Result<Stored, Failure> {
        need(self.rows, &self.key(frame, graph, port))
    }

    pub(super) fn key(&self, frame: &str, graph: usize, port: Port) -> String {
        match port {
            Port::Input => format!("in/{frame}"),
            Port::Node(at) => format!("v/{frame}/{}", self.plan.graphs[graph].nodes[at].name),
        }
    }

    /// A value as JSON: of pages, the object that has them, or their items.
    pub(super) fn to_json(&self, stored: &Stored) -> Result<Value, Failure> {
        match stored {
            Stored::Json(value) => Ok(value.clone()),
            Stored::Pages(Pages { object: Some(object), .. }) => Ok(object.clone()),
            Stored::Pages(pages) => {
                let mut all = Vec::new();
                for page in 0..pages.pages {
                    all.extend(self.read_page(&pages.prefix, page)?);
                }
                Ok(Value::Array(all))
            }
        }
    }

    pub(super) fn read_page(&self, prefix: &str, page: u64) -> Result<Vec<Value>, Failure> {
        need(self.rows, &numbered(prefix, page))
    }

    /// What `$` is for a node, as far as it is read.
    pub(super) fn input(&self, task: &Task, reads: Option<Vec<&str>>) -> Result<Value, Failure> {
        let node = self.node(task);
        match &node.inputs {
            Inputs::None => Ok(Value::Null),
            Inputs::One(port) => match reads {
                Some(fields) if fields.is_empty() => Ok(Value::Null),
                _ => self.to_json(&self.stored(&task.frame, task.graph, *port)?),
            },
            Inputs::Many(ports) => {
                let read =
                    ports.iter().filter(|(name, _)| reads.as_ref().is_none_or(|reads| reads.contains(&name.as_str())));
                let read = read.map(|(name, port)| {
                    Ok((name.clone(), self.to_json(&self.stored(&task.frame, task.graph, *port)?)?))
                });
                Ok(Value::Object(read.collect::<Result<_, Failure>>()?))
            }
        }
    }

    /// The same for what only looks at it: what is too large to be a value, and was never needed as one, is null.
    pub(super) fn small(&self, stored: &Stored) -> Result<Value, Failure> {
        match stored {
            Stored::Pages(pages) if pages.object.is_none() && pages.bytes > VALUE_BYTES_MAX as u64 => Ok(Value::Null),
            stored => self.to_json(stored),
        }
    }

    pub(super) fn small_input(&self, task: &Task) -> Result<Value, Failure> {
        let of = |port: &Port| self.small(&self.stored(&task.frame, task.graph, *port)?);
        match &self.node(task).inputs {
            Inputs::None => Ok(Value::Null),
            Inputs::One(port) => of(port),
            Inputs::Many(ports) => {
                let fields = ports.iter().map(|(name, port)| Ok((name.clone(), of(port)?)));
                Ok(Value::Object(fields.collect::<Result<_, Failure>>()?))
            }
        }
    }

    /// A list that the node reads and that is too large to be a value, with the key of its row. `items`: what it reads as items is not read as a value.
    pub(super) fn large_list(&self, task: &Task, items: Option<Port>) -> Result<Option<(String, Pages)>, Failure> {
        for port in self.node(task).inputs.ports().into_iter().filter(|port| Some(*port) != items) {
            let key = self.key(&task.frame, task.graph, port);
            if let Stored::Pages(pages) = need(self.rows, &key)?
                && pages.object.is_none()
                && pages.bytes > VALUE_BYTES_MAX as u64
            {
                return Ok(Some((key, pages)));
            }
        }
        Ok(None)
    }

    pub(super) fn collect(&mut self, step: String, owner: Owner, pages: &Pages) -> Result<(), Failure> {
        let content = Content::Pages { prefix: pages.prefix.clone(), pages: pages.pages };
        self.send(owner, Command::Put { step, to: None, content })
    }

    /// The list in this row lies in an object as well now.
    pub(super) fn has_object(&mut self, key: &str, object: &Stored) -> Result<(), Failure> {
        if let Stored::Pages(mut pages) = need(self.rows, key)? {
            pages.object = Some(self.to_json(object)?);
            save(self.rows, key, &Stored::Pages(pages))?;
        }
        Ok(())
    }

    /// Lays a list out in pages.
    pub(super) fn write_pages(&mut self, prefix: &str, items: Vec<Value>) -> Result<Pages, Failure> {
        let mut pages = Pages { prefix: prefix.to_owned(), items: items.len() as u64, ..Pages::default() };
        let (mut page, mut bytes) = (Vec::new(), 0);
        for item in items {
            let size = value::size(&item) + 1;
            if !page.is_empty() && (bytes + size > PAGE_BYTES_MAX || page.len() == PAGE_ITEMS_MAX) {
                save(self.rows, &numbered(prefix, pages.pages), &std::mem::take(&mut page))?;
                pages.pages += 1;
                bytes = 0;
            }
            bytes += size;
            pages.bytes += size as u64;
            page.push(item);
        }
        if !page.is_empty() {
            save(self.rows, &numbered(prefix, pages.pages), &page)?;
            pages.pages += 1;
        }
        Ok(pages)
    }

    /// What expressions know of the run.
    pub(super) fn context(&self, step: &str, attempt: u32) -> Value {
        let name = step.rsplit('/').next().unwrap_or_default();
        // The input of the run may be large, so it is there only as long as it is small.
        let input =
            load::<Value>(self.rows, "started").ok().flatten().filter(|input| value::size(input) <= PAGE_BYTES_MAX);
        json!({
            "run": { "id": self.header.id, "flow": self.plan.flow, "started_ms": self.header.started_ms, "input": input },
            "step": { "id": without_attempts(step), "name": without_attempts(name), "attempt": attempt, "now_ms": self.now_ms },
        })
    }

    pub(super) fn node(&self, task: &Task) -> &Node {
        &self.plan.graphs[task.graph].nodes[task.index]
    }

    /// The node of a step, as its place in the plan.
    pub(super) fn place_of(&self, step: &str) -> Result<String, Failure> {
        let task: Option<Task> = load(self.rows, &format!("n/{step}"))?;
        Ok(task.map_or_else(String::new, |task| format!("{}/{}", task.graph, self.node(&task).name)))
    }

    /// Nobody waits any more for what is going on below: commands are cancelled, timers cleared, rows removed. What is recorded for compensation stays.
    pub(super) fn cancel_below(&mut self, id: &str) -> Result<(), Failure> {
        let mut gone = Vec::new();
        let mut prefix = String::with_capacity(id.len() + 4);
        for family in ["x", "t", "w", "n", "f", "in", "v", "p", "b"] {
            // The values of the run's own graph stay, for whoever looks at it.
            if family == "v" && id.is_empty() {
                continue;
            }
            prefix.clear();
            prefix.extend([family, "/", id, "/"]);
            for_all(self.rows, &prefix, |rows, key, row| {
                // What undoes something is never cancelled: it might have done half of it.
                if !id.starts_with(UNDO) && key[family.len() + 1..].starts_with(UNDO) {
                    return Ok(true);
                }
                match family {
                    "x" => {
                        let job: Job = row.value(key)?;
                        gone.extend(job.command.step().map(|step| Command::Cancel { step: step.to_owned() }));
                    }
                    "t" => gone.push(Command::ClearTimer { timer: key[2..].to_owned() }),
                    _ => {}
                }
                rows.delete(key)?;
                Ok(true)
            })?;
        }
        self.commands.append(&mut gone);
        Ok(())
    }

    /// Removes pages that were given below, except those of this list.
    pub(super) fn forget_pages(&mut self, id: &str, kept: Option<&str>) -> Result<(), Failure> {
        for_all(self.rows, &format!("o/{id}/"), |rows, key, _| {
            if kept.is_none_or(|kept| !key.starts_with(kept)) {
                rows.delete(key)?;
            }
            Ok(true)
        })
    }
}

/// The id without the numbers of attempts, the same for all of them.
pub(super) fn without_attempts(step: &str) -> String {
    let parts = step.split('/').map(|part| part.split('~').next().unwrap_or_default());
    parts.collect::<Vec<_>>().join("/")
}
