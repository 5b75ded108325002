//! The machine between two events: frames, deliveries, commands. What nodes do is in the files beside it.

use std::collections::VecDeque;

use serde_json::{Value, json};
use stride_ids::{Code, Failure};

use super::{
    cancelled,
    command::{Command, Error, Event},
    pinned,
    rows::{Due, Frame, Header, Job, Owner, Rows, Slot, State, Stored, Timer, load, need, save},
    task::{is_too_deep, too_deep},
};
use crate::{
    expr::Scope,
    limits::{EVENTS_MAX, PAGE_BYTES_MAX, VALUE_BYTES_MAX},
    plan::{Body, Graph, Measure, Plan, Port},
    value,
};

/// How many parts are done at once in one event. What is more goes on with the next.
pub(super) const AT_ONCE: u32 = 128;

pub(super) struct Machine<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rows: &'a mut dyn Rows,
    pub(super) now_ms: u64,
    pub(super) header: Header,
    /// What it was, if the run had begun.
    stored: Option<Header>,
    pub(super) commands: Vec<Command>,
    pub(super) todo: VecDeque<Todo>,
    pub(super) spent: u32,
}

/// What follows from what was done. A list and no recursion, however long the chain.
pub(super) enum Todo {
    Start { frame: String, index: usize },
    Begin { step: String },
    Deliver { owner: Owner, result: Given },
    Ended { frame: String },
}

pub(super) type Given = Result<Stored, Error>;

impl<'a> Machine<'a> {
    pub(super) fn load(plan: &'a Plan, rows: &'a mut dyn Rows, now_ms: u64, event: &Event) -> Result<Self, Failure> {
        let stored = load::<Header>(rows, "run")?;
        let header = match (&stored, event) {
            (Some(header), _) => header.clone(),
            (None, Event::Started { run, .. }) => Header {
                id: run.clone(),
                plan: String::new(),
                started_ms: now_ms,
                state: State::Running,
                is_cancelled: false,
                seq: 0,
            },
            (None, _) => return Err(Failure::new(Code::NotFound, "this run has not begun")),
        };
        if !header.plan.is_empty() {
            pinned(&header, plan)?;
        }
        Ok(Self { plan, rows, now_ms, header, stored, commands: Vec::new(), todo: VecDeque::new(), spent: 0 })
    }

    pub(super) fn store(self) -> Result<Vec<Command>, Failure> {
        if self.stored.as_ref() != Some(&self.header) {
            save(self.rows, "run", &self.header)?;
        }
        Ok(self.commands)
    }

    pub(super) fn take(&mut self, event: Event) -> Result<(), Failure> {
        if self.header.state != State::Running {
            return Ok(());
        }
        if let Event::Started { input: value, .. } | Event::Event { payload: value, .. } = &event
            && is_too_deep(value)
        {
            return Err(Failure::new(Code::InvalidRequest, too_deep().message));
        }
        match event {
            Event::Started { input, .. } => self.started(input),
            Event::Done { step, result } => self.answered(&step, Ok(result)),
            Event::Failed { step, error } => self.answered(&step, Err(error)),
            Event::Approved { step, by, payload } => self.answered(&step, Ok(json!({ "by": by, "payload": payload }))),
            Event::Refused { step, by, reason } => {
                self.answered(&step, Err(Error::new("refused", format!("{by} refuses: {reason}"))))
            }
            Event::Items { step, outcomes, combined } => self.items(&step, outcomes, combined),
            Event::Page { step, number, items, next } => self.page(&step, number, items, next),
            Event::Fired { timer } => self.fired(&timer),
            Event::Event { id, name, payload } => self.told(&id, &name, payload),
            Event::Cancelled => {
                self.header.is_cancelled = true;
                self.fail_frame("", cancelled())
            }
        }
    }

    /// Does what follows, until nothing does.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Start { frame, index } => self.start(&frame, index)?,
                Todo::Begin { step } => self.begin(&step)?,
                Todo::Deliver { owner, result } => self.deliver(owner, result)?,
                Todo::Ended { frame } => self.frame_ended(&frame)?,
            }
        }
        Ok(())
    }

    fn started(&mut self, input: Value) -> Result<(), Failure> {
        if !self.header.plan.is_empty() {
            return Ok(());
        }
        self.header.plan.clone_from(&self.plan.id);
        // It is read whenever an expression may look at the run, so a large one is not kept for that.
        if value::size(&input) <= PAGE_BYTES_MAX / 4 {
            save(self.rows, "started", &input)?;
        }
        if let Some(ms) = self.plan.timeout_ms {
            self.set_timer("run", ms, Due::RunTimeout)?;
        }
        self.open_frame(String::new(), self.plan.root, Stored::Json(input), Owner::Run, true)
    }

    // --- frames ---

    pub(super) fn open_frame(
        &mut self,
        id: String,
        graph: usize,
        input: Stored,
        owner: Owner,
        is_scope: bool,
    ) -> Result<(), Failure> {
        let plan = self.plan;
        let nodes = &plan.graphs[graph].nodes;
        let frame = Frame { graph, owner, left: nodes.len(), is_scope, failing: None };
        save(self.rows, &format!("f/{id}"), &frame)?;
        save(self.rows, &format!("in/{id}"), &input)?;
        let first =
            |node: &&crate::plan::Node| node.inputs.ports().iter().chain(&node.after).all(|port| *port == Port::Input);
        for (index, _) in nodes.iter().enumerate().filter(|(_, node)| first(node)) {
            self.todo.push_back(Todo::Start { frame: id.clone(), index });
        }
        if nodes.is_empty() {
            self.todo.push_back(Todo::Ended { frame: id });
        }
        Ok(())
    }

    pub(super) fn frame(&self, id: &str) -> Result<Option<Frame>, Failure> {
        load(self.rows, &format!("f/{id}"))
    }

    /// A node has its value: whoever waited only for it begins.
    pub(super) fn has_value(&mut self, id: &str, index: usize, stored: &Stored) -> Result<(), Failure> {
        let mut frame: Frame = need(self.rows, &format!("f/{id}"))?;
        let plan = self.plan;
        let graph: &Graph = &plan.graphs[frame.graph];
        save(self.rows, &format!("v/{id}/{}", graph.nodes[index].name), stored)?;
        frame.left -= 1;
        save(self.rows, &format!("f/{id}"), &frame)?;
        for reader in graph.readers(Port::Node(index)) {
            if self.is_ready(id, graph, reader)? {
                self.todo.push_back(Todo::Start { frame: id.to_owned(), index: reader });
            }
        }
        if frame.left == 0 {
            self.todo.push_back(Todo::Ended { frame: id.to_owned() });
        }
        Ok(())
    }

    pub(super) fn is_ready(&self, id: &str, graph: &Graph, index: usize) -> Result<bool, Failure> {
        let node = &graph.nodes[index];
        for port in node.inputs.ports().iter().chain(&node.after) {
            if let Port::Node(at) = port
                && self.rows.get(&format!("v/{id}/{}", graph.nodes[*at].name))?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn frame_ended(&mut self, id: &str) -> Result<(), Failure> {
        let Some(frame) = self.frame(id)?.filter(|frame| frame.failing.is_none()) else { return Ok(()) };
        let Some(port) = self.plan.graphs[frame.graph].output else {
            return self.close_frame(id, frame, Ok(Stored::Json(Value::Null)));
        };
        match self.stored(id, frame.graph, port)? {
            Stored::Pages(pages) if pages.object.is_none() && pages.bytes > VALUE_BYTES_MAX as u64 => {
                let owner = Owner::Ending { frame: id.to_owned(), key: self.key(id, frame.graph, port) };
                self.collect(format!("{id}/!list"), owner, &pages)
            }
            result => self.close_frame(id, frame, Ok(result)),
        }
    }

    /// The frame is over, with everything in it.
    pub(super) fn close_frame(&mut self, id: &str, frame: Frame, result: Given) -> Result<(), Failure> {
        self.cancel_below(id)?;
        if !id.is_empty() {
            let kept = match &result {
                Ok(Stored::Pages(pages)) => Some(pages.prefix.clone()),
                _ => None,
            };
            self.forget_pages(id, kept.as_deref())?;
            self.rows.delete(&format!("f/{id}"))?;
            self.rows.delete(&format!("in/{id}"))?;
        }
        self.todo.push_back(Todo::Deliver { owner: frame.owner, result });
        Ok(())
    }

    fn deliver(&mut self, owner: Owner, result: Given) -> Result<(), Failure> {
        match owner {
            Owner::Task { step, slot } => self.part_done(&step, slot, result),
            Owner::Undo { frame, key } => self.undone(&frame, &key, result),
            Owner::Ending { frame, key } => match result {
                Ok(object) => {
                    self.has_object(&key, &object)?;
                    self.frame_ended(&frame)
                }
                Err(error) => self.fail_frame(&frame, error),
            },
            Owner::Run => self.run_ended(result),
        }
    }

    fn run_ended(&mut self, result: Given) -> Result<(), Failure> {
        let result = match result {
            Ok(stored) => Ok(self.to_json(&stored)?),
            Err(error) => Err(error),
        };
        self.clear_timer("run")?;
        let (state, command) = match result {
            Ok(result) => (State::Done(result.clone()), Command::Finish { result }),
            Err(error) if self.header.is_cancelled => (State::Cancelled, Command::Fail { error }),
            Err(error) => (State::Failed(error.clone()), Command::Fail { error }),
        };
        self.header.state = state;
        self.commands.push(command);
        Ok(())
    }

    // --- bodies ---

    /// Does a body with this input. `id` names its step or frame.
    pub(super) fn launch(
        &mut self,
        body: &Body,
        id: String,
        input: Stored,
        owner: Owner,
        is_scope: bool,
    ) -> Result<(), Failure> {
        match body {
            Body::Graph(graph) => self.open_frame(id, *graph, input, owner, is_scope),
            Body::Chain(stages) => {
                let input = self.to_json(&input)?;
                if stages.iter().any(crate::plan::Stage::is_call) {
                    let call = self.call(id, stages.clone(), input, &owner)?;
                    return self.send(owner, Command::Call(call));
                }
                let context = self.context(&id, 1);
                let mut value = input;
                for stage in stages {
                    let crate::plan::Does::Expr(expr) = &stage.does else { continue };
                    match expr.eval(Scope { input: &value, context: &context }) {
                        Ok(next) => value = next,
                        Err(e) => {
                            self.todo.push_back(Todo::Deliver {
                                owner,
                                result: Err(Error::new("expression", e.to_string())),
                            });
                            return Ok(());
                        }
                    }
                }
                self.todo.push_back(Todo::Deliver { owner, result: Ok(Stored::Json(value)) });
                Ok(())
            }
        }
    }

    // --- commands ---

    /// Sends a command of which a row says that it is out.
    pub(super) fn send(&mut self, owner: Owner, command: Command) -> Result<(), Failure> {
        let Some(step) = command.step().map(str::to_owned) else { return Ok(()) };
        let node = match &owner {
            Owner::Task { step, .. } => self.place_of(step)?,
            Owner::Undo { .. } => "undo".to_owned(),
            Owner::Run | Owner::Ending { .. } => "result".to_owned(),
        };
        let bytes_in = match &command {
            Command::Call(call) => call.items.iter().map(|item| value::size(&item.value) as u64).sum(),
            Command::Ask(message) | Command::Tell(message) => value::size(&message.input) as u64,
            _ => 0,
        };
        let job = Job { owner, command: command.clone(), node, at_ms: self.now_ms, bytes_in };
        save(self.rows, &format!("x/{step}"), &job)?;
        self.commands.push(command);
        Ok(())
    }

    /// The job that is out under this id. `None`: it is not out, so what is said of it does not count.
    fn job(&self, step: &str) -> Result<Option<Job>, Failure> {
        load(self.rows, &format!("x/{step}"))
    }

    /// The same, which is in no longer.
    pub(super) fn take_job(&mut self, step: &str, bytes_out: u64) -> Result<Option<Job>, Failure> {
        let job = self.job(step)?;
        if let Some(job) = &job {
            self.is_in(step, job, bytes_out)?;
        }
        Ok(job)
    }

    /// Takes a job off, and notes what it took.
    fn is_in(&mut self, step: &str, job: &Job, bytes_out: u64) -> Result<(), Failure> {
        self.rows.delete(&format!("x/{step}"))?;
        if matches!(job.command, Command::Continue { .. }) {
            return Ok(());
        }
        let key = format!("m/{}", job.node);
        let mut measure: Measure = load(self.rows, &key)?.unwrap_or_default();
        measure.calls += 1;
        measure.bytes_in = measure.bytes_in.saturating_add(job.bytes_in);
        measure.bytes_out = measure.bytes_out.saturating_add(bytes_out);
        measure.millis = measure.millis.saturating_add(self.now_ms.saturating_sub(job.at_ms));
        save(self.rows, &key, &measure)
    }

    pub(super) fn answered(&mut self, step: &str, result: Result<Value, Error>) -> Result<(), Failure> {
        let Some(job) = self.job(step)? else { return Ok(()) };
        let result = result.and_then(|value| if is_too_deep(&value) { Err(too_deep()) } else { Ok(value) });
        if let Command::Call(call) = &job.command
            && call.is_batch
        {
            let error =
                result.err().unwrap_or_else(|| Error::new("internal", "a call over items was answered by `Done`"));
            return self.items(step, vec![Err(error); call.items.len()], None);
        }
        self.is_in(step, &job, result.as_ref().map_or(0, value::size) as u64)?;
        self.todo.push_back(Todo::Deliver { owner: job.owner, result: result.map(Stored::Json) });
        Ok(())
    }

    // --- timers and events ---

    pub(super) fn set_timer(&mut self, timer: &str, after_ms: u64, what: Due) -> Result<(), Failure> {
        let at_ms = self.now_ms.saturating_add(after_ms);
        save(self.rows, &format!("t/{timer}"), &Timer { at_ms, what })?;
        self.commands.push(Command::Timer { timer: timer.to_owned(), at_ms });
        Ok(())
    }

    pub(super) fn clear_timer(&mut self, timer: &str) -> Result<(), Failure> {
        let key = format!("t/{timer}");
        if self.rows.get(&key)?.is_some() {
            self.rows.delete(&key)?;
            self.commands.push(Command::ClearTimer { timer: timer.to_owned() });
        }
        Ok(())
    }

    fn fired(&mut self, timer: &str) -> Result<(), Failure> {
        let key = format!("t/{timer}");
        let Some(set) = load::<Timer>(self.rows, &key)? else { return Ok(()) };
        if self.now_ms < set.at_ms {
            return Ok(());
        }
        self.rows.delete(&key)?;
        match set.what {
            Due::RunTimeout => {
                self.fail_frame("", Error::new("timeout", "the run has taken longer than its `timeout_ms`"))
            }
            Due::Timeout { step } => self.timed_out(&step),
            Due::Retry { step } => self.retry(&step),
            Due::Wait { step } => self.waited(&step),
            Due::Batch { step, batch } => self.retry_batch(&step, batch),
        }
    }

    fn told(&mut self, id: &str, name: &str, payload: Value) -> Result<(), Failure> {
        let seen = format!("s/{id}");
        if self.rows.get(&seen)?.is_some() {
            return Ok(());
        }
        save(self.rows, &seen, &())?;
        let mut waiting = None;
        super::rows::for_all(self.rows, "w/", |_, key, row| {
            let waits = row.value::<String>(key)? == name;
            waiting = waits.then(|| key[2..].to_owned());
            Ok(!waits)
        })?;
        if let Some(step) = waiting {
            self.rows.delete(&format!("w/{step}"))?;
            let owner = Owner::Task { step, slot: Slot::Whole };
            self.todo.push_back(Todo::Deliver { owner, result: Ok(Stored::Json(payload)) });
            return Ok(());
        }
        if self.rows.scan("e/", None, EVENTS_MAX)?.len() == EVENTS_MAX {
            let what = format!("{EVENTS_MAX} events wait for this run already; send this one again later");
            return Err(Failure::new(Code::Overloaded, what));
        }
        self.header.seq += 1;
        save(self.rows, &super::rows::numbered("e", self.header.seq), &(name.to_owned(), payload))
    }

    /// The oldest event of this name that came before anybody waited for it.
    pub(super) fn early_event(&mut self, name: &str) -> Result<Option<Value>, Failure> {
        let mut found = None;
        super::rows::for_all(self.rows, "e/", |rows, key, row| {
            let (known, payload): (String, Value) = row.value(key)?;
            if known == name {
                found = Some(payload);
                rows.delete(key)?;
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}
