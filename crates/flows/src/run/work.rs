//! How each kind of node begins.

use serde_json::Value;
use stride_ids::Failure;

use super::{
    command::{Call, Command, Content, Error, Item, Message, ReadFrom},
    machine::Machine,
    rows::{Due, Owner, Slot, Stored, Task},
    task::nothing,
    values::without_attempts,
};
use crate::{
    expr::{EvalError, Expr, Scope},
    ir::{self, Join, JoinKind, Sink, Source, Wait, WaitTimer},
    limits::LIST_BYTES_MAX,
    plan::{Body, Inputs, Port, Stage, Work},
    value,
};

/// What a node begins with.
struct Seen {
    input: Value,
    context: Value,
}

impl Seen {
    fn eval(&self, expr: &Expr) -> Result<Value, EvalError> {
        expr.eval(Scope { input: &self.input, context: &self.context })
    }

    fn text(&self, expr: &Expr) -> Result<String, EvalError> {
        expr.text(Scope { input: &self.input, context: &self.context })
    }
}

/// What beginning comes to: a command, a value, or something that was begun already.
enum Begun {
    Command(Command),
    Value(Stored),
    Error(Error),
    Going,
}

impl From<EvalError> for Begun {
    fn from(e: EvalError) -> Self {
        Self::Error(Error::new("expression", e.to_string()))
    }
}

impl Machine<'_> {
    pub(super) fn begin(&mut self, step: &str) -> Result<(), Failure> {
        let Some(task) = self.task(step)? else { return Ok(()) };
        let plan = self.plan;
        let work = &plan.graphs[task.graph].nodes[task.index].work;
        let items = self.items_port(&task, work);
        if let Some((key, pages)) = self.large_list(&task, items)? {
            let owner = Owner::Task { step: step.to_owned(), slot: Slot::Collect(key) };
            return self.collect(format!("{step}/!list-{}", pages.prefix.replace('/', ".")), owner, &pages);
        }
        match work {
            Work::Each(each) => return self.begin_each(step, task, each),
            Work::Reduce { items, by_key, .. } => return self.begin_reduce(step, task, items, *by_key),
            _ => {}
        }
        let input = self.input(&task, None)?;
        let context = if may_look(work) { self.context(step, task.attempt) } else { Value::Null };
        let seen = Seen { input, context };
        let begun = match self.begun(step, &task, work, seen)? {
            Ok(begun) => begun,
            Err(e) => e.into(),
        };
        let owner = Owner::Task { step: step.to_owned(), slot: Slot::Whole };
        match begun {
            Begun::Command(command) => self.send(owner, command),
            Begun::Value(value) => self.whole(step, task, value),
            Begun::Error(error) => self.failed(step, task, error),
            Begun::Going => Ok(()),
        }
    }

    fn begun(&mut self, id: &str, task: &Task, work: &Work, seen: Seen) -> Result<Result<Begun, EvalError>, Failure> {
        let step = id.to_owned();
        let owner = Owner::Task { step: step.clone(), slot: Slot::Whole };
        Ok(match work {
            Work::Chain(stages) => {
                self.launch(&Body::Chain(stages.clone()), step, Stored::Json(seen.input), owner, false)?;
                Ok(Begun::Going)
            }
            Work::Pass(expr) => seen.eval(expr).map(|value| Begun::Value(Stored::Json(value))),
            Work::Fail(fail) => seen
                .text(&fail.error)
                .and_then(|code| Ok(Begun::Error(Error { code, message: seen.text(&fail.message)? }))),
            Work::Succeed(expr) => match seen.eval(expr) {
                Ok(value) => {
                    self.succeed(task, value)?;
                    Ok(Begun::Going)
                }
                Err(e) => Err(e),
            },
            Work::Join(spec) => join(spec, &seen),
            Work::Source(source) => match read_from(source, &seen) {
                Ok(Origin::Outside(source)) => {
                    Ok(Begun::Command(Command::Read { step, number: 0, source, after: None }))
                }
                Ok(Origin::Here(items)) => {
                    let pages = self.write_pages(&format!("o/{step}"), items)?;
                    Ok(Begun::Value(Stored::Pages(pages)))
                }
                Err(e) => Err(e),
            },
            Work::Ask(ask) => message(step, ask, &seen).map(|message| Begun::Command(Command::Ask(message))),
            Work::Tell(tell) => message(step, tell, &seen).map(|message| Begun::Command(Command::Tell(message))),
            Work::Subflow(subflow) => seen
                .eval(&subflow.input)
                .map(|input| Begun::Command(Command::Start { step, flow: subflow.flow.as_str().to_owned(), input })),
            Work::Sink(Sink::Object(object)) => seen.text(&object.bucket).and_then(|bucket| {
                let (to, content) =
                    (Some((bucket, seen.text(&object.key)?)), Content::Value(seen.eval(&object.value)?));
                Ok(Begun::Command(Command::Put { step, to, content }))
            }),
            Work::Sink(Sink::Topic(topic)) => seen.text(&topic.topic).and_then(|name| {
                Ok(Begun::Command(Command::Publish { step, topic: name, value: seen.eval(&topic.value)? }))
            }),
            Work::Wait(Wait::Approval(approval)) => seen.eval(&approval.question).and_then(|question| {
                let of = approval.of.as_ref().map(|of| seen.eval(of)).transpose()?;
                Ok(Begun::Command(Command::Approval { step, question, of }))
            }),
            Work::Wait(Wait::Event(event)) => match seen.text(&event.name) {
                Ok(name) => match self.early_event(&name)? {
                    Some(payload) => Ok(Begun::Value(Stored::Json(payload))),
                    None => {
                        super::rows::save(self.rows, &format!("w/{step}"), &name)?;
                        Ok(Begun::Going)
                    }
                },
                Err(e) => Err(e),
            },
            Work::Wait(Wait::Timer(timer)) => match due_in(timer, &seen, self.now_ms) {
                Ok(ms) => {
                    self.set_timer(&format!("{step}:wait"), ms, Due::Wait { step })?;
                    Ok(Begun::Going)
                }
                Err(e) => Err(e),
            },
            Work::Iterate { state, .. } => match seen.eval(state) {
                Ok(state) => {
                    self.begin_rounds(id, task.clone(), state)?;
                    Ok(Begun::Going)
                }
                Err(e) => Err(e),
            },
            Work::Branch { cases, otherwise } => {
                let scope = Scope { input: &seen.input, context: &seen.context };
                self.begin_branch(id, cases, otherwise.as_ref(), scope)?.map(|()| Begun::Going)
            }
            Work::Parallel(branches) => {
                self.begin_parallel(id, task.clone(), branches, &seen.input)?;
                Ok(Begun::Going)
            }
            Work::Each(_) | Work::Reduce { .. } => Ok(Begun::Value(nothing())),
        })
    }

    /// The port whose list is walked over and never needed as a value.
    pub(super) fn items_port(&self, task: &Task, work: &Work) -> Option<Port> {
        let expr = match work {
            Work::Each(each) => match &each.items {
                crate::plan::Items::Expr(expr) => expr,
                crate::plan::Items::Parts(_) => return None,
            },
            Work::Reduce { items, .. } => items,
            _ => return None,
        };
        let Expr::Input(path) = expr else { return None };
        match &self.node(task).inputs {
            Inputs::One(port) if path.is_root() => Some(*port),
            Inputs::Many(ports) => ports.get(path.only_field()?).copied(),
            _ => None,
        }
    }

    /// A call of one value.
    pub(super) fn call(
        &mut self,
        id: String,
        stages: Vec<Stage>,
        input: Value,
        owner: &Owner,
    ) -> Result<Call, Failure> {
        let items = vec![Item { index: 0, value: input, input: None }];
        let context = self.context(&id, 1);
        let key = without_attempts(&id);
        let mut call = Call {
            step: id,
            key: format!("{}{key}", self.header.id),
            stages,
            combine: None,
            items,
            is_batch: false,
            context,
            affinity: None,
            near_data: false,
            hardware: None,
            prefers: None,
            node: None,
        };
        if let Owner::Task { step, .. } = owner
            && let Some(task) = self.task(step)?
        {
            self.placed(&mut call, &task)?;
        }
        Ok(call)
    }

    /// Says where it runs.
    pub(super) fn placed(&self, call: &mut Call, task: &Task) -> Result<(), Failure> {
        let placing = &self.node(task).placing;
        if let Some(affinity) = &placing.affinity {
            let input = self.input(task, affinity.reads())?;
            // It is only advice: where it cannot be told, the work runs anywhere.
            call.affinity = affinity.text(Scope { input: &input, context: &call.context }).ok();
        }
        call.near_data = placing.near_data;
        call.hardware.clone_from(&placing.hardware);
        call.prefers.clone_from(&placing.prefers);
        call.node.clone_from(&placing.node);
        Ok(())
    }

    fn succeed(&mut self, task: &Task, value: Value) -> Result<(), Failure> {
        let mut id = task.frame.clone();
        while let Some(frame) = self.frame(&id)? {
            if frame.is_scope {
                return self.close_frame(&id, frame, Ok(Stored::Json(value)));
            }
            let Owner::Task { step, .. } = &frame.owner else { return Ok(()) };
            let Some(around) = self.task(step)? else { return Ok(()) };
            id = around.frame;
        }
        Ok(())
    }
}

/// Whether its beginning may look at the run, beside its input.
fn may_look(work: &Work) -> bool {
    match work {
        Work::Pass(expr) => expr.reads_context(),
        Work::Ask(message) | Work::Tell(message) => message.key.reads_context() || message.input.reads_context(),
        // Its stages are given what they look at when they are done.
        Work::Chain(_) => false,
        _ => true,
    }
}

fn message(step: String, ask: &ir::Ask, seen: &Seen) -> Result<Message, EvalError> {
    let (agent, method) = (ask.agent.clone(), ask.method.clone());
    Ok(Message { step, agent, key: seen.text(&ask.key)?, method, input: seen.eval(&ask.input)? })
}

enum Origin {
    Outside(ReadFrom),
    Here(Vec<Value>),
}

fn read_from(source: &Source, seen: &Seen) -> Result<Origin, EvalError> {
    Ok(match source {
        Source::Value(expr) => match seen.eval(expr)? {
            Value::Array(items) => Origin::Here(items),
            other => return Err(EvalError(format!("expected a list, given {}", value::kind(&other)))),
        },
        Source::Objects(objects) => {
            let (bucket, prefix) = (seen.text(&objects.bucket)?, seen.text(&objects.prefix)?);
            Origin::Outside(ReadFrom::Objects { bucket, prefix })
        }
        Source::Lines(objects) => {
            let (bucket, prefix) = (seen.text(&objects.bucket)?, seen.text(&objects.prefix)?);
            Origin::Outside(ReadFrom::Lines { bucket, prefix })
        }
        Source::Topic(topic) => Origin::Outside(ReadFrom::Topic {
            topic: seen.text(&topic.topic)?,
            count_max: topic.count_max,
            time_max_ms: topic.time_max_ms,
        }),
    })
}

fn due_in(timer: &WaitTimer, seen: &Seen, now_ms: u64) -> Result<u64, EvalError> {
    let number = |value: &Value| value.as_f64().filter(|ms| *ms >= 0.0).map(|ms| ms as u64);
    match timer {
        WaitTimer::Ms(expr) => {
            let value = seen.eval(expr)?;
            number(&value).ok_or_else(|| EvalError(format!("expected milliseconds, given {value}")))
        }
        WaitTimer::Until(expr) => {
            let value = seen.eval(expr)?;
            let at = match &value {
                Value::String(text) => crate::expr::millis(text).map(|ms| u64::try_from(ms).unwrap_or(0)),
                other => number(other),
            };
            let at = at.ok_or_else(|| EvalError(format!("expected a moment, given {value}")))?;
            Ok(at.saturating_sub(now_ms))
        }
    }
}

fn join(spec: &Join, seen: &Seen) -> Result<Begun, EvalError> {
    let side = |side: &ir::Side| -> Result<Vec<(Value, Value)>, EvalError> {
        let Value::Array(items) = seen.eval(&side.items)? else {
            return Err(EvalError(
                "a join takes two lists; one that is in an object has to be read by a function".into(),
            ));
        };
        let key = |item: &Value| side.key.eval(Scope { input: item, context: &seen.context });
        items.into_iter().map(|item| Ok((key(&item)?, item))).collect()
    };
    let (left, right) = (side(&spec.left)?, side(&spec.right)?);
    let mut by_key: std::collections::BTreeMap<String, Vec<usize>> = std::collections::BTreeMap::new();
    for (at, (key, _)) in right.iter().enumerate() {
        by_key.entry(key.to_string()).or_default().push(at);
    }
    let row = |key: &Value, left: Value, right: Value| {
        value::record([("key", key.clone()), ("left", left), ("right", right)])
    };
    let (mut all, mut met, mut bytes) = (Vec::new(), vec![false; right.len()], 0);
    for (key, item) in &left {
        let partners = by_key.get(&key.to_string()).map_or(&[][..], Vec::as_slice);
        for at in partners {
            met[*at] = true;
            all.push(row(key, item.clone(), right[*at].1.clone()));
            // Many of one key on both sides are as many pairs as their product.
            bytes += all.last().map_or(0, value::size);
            if bytes > LIST_BYTES_MAX {
                let what = format!(
                    "the join has more than {LIST_BYTES_MAX} bytes; join smaller lists, or let a function do it"
                );
                return Ok(Begun::Error(Error::new("value_too_large", what)));
            }
        }
        if partners.is_empty() && spec.kind != JoinKind::Inner {
            all.push(row(key, item.clone(), Value::Null));
        }
    }
    if spec.kind == JoinKind::Full {
        all.extend(
            right
                .iter()
                .zip(&met)
                .filter(|(_, met)| !**met)
                .map(|((key, item), _)| row(key, Value::Null, item.clone())),
        );
    }
    Ok(Begun::Value(Stored::Json(Value::Array(all))))
}
