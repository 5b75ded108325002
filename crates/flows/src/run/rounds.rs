//! Iterate, branch and parallel.

use serde_json::{Value, json};
use stride_ids::Failure;

use super::{
    command::Error,
    machine::{AT_ONCE, Given, Machine, Todo},
    rows::{Owner, Progress, Slot, Stored, Task, need, save},
    task::{is_too_deep, too_deep},
};
use crate::{
    expr::{EvalError, Expr, Scope},
    ir::AtBound,
    name::NodeName,
    plan::{Body, Work},
};

impl Machine<'_> {
    pub(super) fn begin_rounds(&mut self, step: &str, mut task: Task, state: Value) -> Result<(), Failure> {
        save(self.rows, &format!("p/{step}/state"), &state)?;
        task.progress = Progress::Round(0);
        self.save_task(step, &task)?;
        self.next_round(step, task)
    }

    pub(super) fn next_round(&mut self, step: &str, mut task: Task) -> Result<(), Failure> {
        let plan = self.plan;
        let Work::Iterate { body, .. } = &plan.graphs[task.graph].nodes[task.index].work else { return Ok(()) };
        let Progress::Round(round) = &mut task.progress else { return Ok(()) };
        if self.spent >= AT_ONCE {
            return self.pause_here(step);
        }
        self.spent += 1;
        *round += 1;
        let round = *round;
        self.save_task(step, &task)?;
        let state: Value = need(self.rows, &format!("p/{step}/state"))?;
        let owner = Owner::Task { step: step.to_owned(), slot: Slot::Part(round) };
        self.launch(body, format!("{step}/{round}"), Stored::Json(state), owner, false)
    }

    pub(super) fn round_done(&mut self, step: &str, task: Task, result: Given) -> Result<(), Failure> {
        let plan = self.plan;
        let Work::Iterate { until, rounds_max, at_bound, .. } = &plan.graphs[task.graph].nodes[task.index].work else {
            return Ok(());
        };
        let Progress::Round(round) = task.progress else { return Ok(()) };
        let new = match result {
            Ok(stored) => self.to_json(&stored)?,
            Err(error) => return self.failed(step, task, error),
        };
        if is_too_deep(&new) {
            return self.failed(step, task, too_deep());
        }
        let key = format!("p/{step}/state");
        let old: Value = need(self.rows, &key)?;
        let is_last = match until {
            None => Ok(new == old),
            Some(until) => {
                let mut context = Value::Null;
                if until.reads_context() {
                    context = self.context(step, task.attempt);
                    context["round"] = json!(round);
                    context["previous"] = old;
                }
                until.test(Scope { input: &new, context: &context })
            }
        };
        match is_last {
            Err(e) => self.failed(step, task, Error::new("expression", e.to_string())),
            Ok(true) => self.whole(step, task, Stored::Json(new)),
            Ok(false) if round >= u64::from(*rounds_max) => match at_bound {
                AtBound::Finish => self.whole(step, task, Stored::Json(new)),
                AtBound::Fail => {
                    let what =
                        format!("after {round} rounds the end is not reached; raise `rounds_max`, or correct `until`");
                    self.failed(step, task, Error::new("iterate_bound", what))
                }
            },
            Ok(false) => {
                save(self.rows, &key, &new)?;
                self.next_round(step, task)
            }
        }
    }

    pub(super) fn begin_branch(
        &mut self,
        step: &str,
        cases: &[(Expr, Body)],
        otherwise: Option<&Body>,
        scope: Scope<'_>,
    ) -> Result<Result<(), EvalError>, Failure> {
        let mut chosen = otherwise.map(|body| (cases.len(), body));
        for (index, (when, body)) in cases.iter().enumerate() {
            match when.test(scope) {
                Ok(true) => {
                    chosen = Some((index, body));
                    break;
                }
                Ok(false) => {}
                Err(e) => return Ok(Err(e)),
            }
        }
        let owner = Owner::Task { step: step.to_owned(), slot: Slot::Whole };
        match chosen {
            Some((index, body)) => {
                self.launch(body, format!("{step}/{index}"), Stored::Json(scope.input.clone()), owner, false)?;
            }
            None => {
                let error = Error::new("no_case", "no case is true; add `otherwise`");
                self.todo.push_back(Todo::Deliver { owner, result: Err(error) });
            }
        }
        Ok(Ok(()))
    }

    pub(super) fn begin_parallel(
        &mut self,
        step: &str,
        mut task: Task,
        branches: &[(NodeName, Body)],
        input: &Value,
    ) -> Result<(), Failure> {
        task.progress = Progress::Parallel(branches.len());
        self.save_task(step, &task)?;
        for (name, body) in branches {
            let slot = Slot::Branch(name.as_str().to_owned());
            let owner = Owner::Task { step: step.to_owned(), slot };
            self.launch(body, format!("{step}/{name}"), Stored::Json(input.clone()), owner, true)?;
        }
        Ok(())
    }

    pub(super) fn branch_done(&mut self, step: &str, mut task: Task, name: &str, value: Stored) -> Result<(), Failure> {
        let value = self.to_json(&value)?;
        save(self.rows, &format!("p/{step}/{name}"), &value)?;
        let Progress::Parallel(left) = &mut task.progress else { return Ok(()) };
        *left -= 1;
        if *left > 0 {
            return self.save_task(step, &task);
        }
        let plan = self.plan;
        let Work::Parallel(branches) = &plan.graphs[task.graph].nodes[task.index].work else { return Ok(()) };
        let field = |(name, _): &(NodeName, Body)| {
            Ok((name.as_str().to_owned(), need::<Value>(self.rows, &format!("p/{step}/{name}"))?))
        };
        let all = branches.iter().map(field).collect::<Result<_, Failure>>()?;
        self.whole(step, task, Stored::Json(Value::Object(all)))
    }
}
