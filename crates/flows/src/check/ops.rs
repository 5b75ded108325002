//! Operators: what each takes and gives.

use super::{Checker, Found, bodies::context};
use crate::{
    catalog::Effect,
    ir::{Ask, Body, Branch, Each, Iterate, Join, JoinKind, Op, Parallel, Reduce, Sink, Source, Wait, WaitTimer},
    limits::{ROUNDS_MAX, TIME_MS_MAX, WINDOW_MAX},
    schema::Schema,
};

fn keyed(value: Schema) -> Schema {
    Schema::record([("key", Schema::String), ("value", value)])
}

impl Checker<'_> {
    /// What an operator gives that gets `input`. `at` is the place of the operator's one field.
    pub(super) fn op(&mut self, at: &str, op: &Op, input: &Schema, depth: usize) -> Found {
        let at = &format!("{at}/{}", op.name());
        match op {
            Op::Source(source) => self.source(at, source, input),
            Op::Call(call) => {
                let given = self.expr(&format!("{at}/input"), &call.input, input, &Schema::Any);
                self.function(&format!("{at}/function"), &call.function, &given)
            }
            Op::Map(each) => self.each(at, each, input, &Schema::Any, depth, |_, body| Schema::list(body)),
            Op::FlatMap(each) => {
                let wanted = Schema::list(Schema::Any);
                self.each(at, each, input, &wanted, depth, |_, body| Schema::list(body.item().unwrap_or_default()))
            }
            Op::Filter(each) => self.each(at, each, input, &Schema::Bool, depth, |item, _| Schema::list(item)),
            Op::KeyBy(each) => self.each(at, each, input, &Schema::String, depth, |item, _| Schema::list(keyed(item))),
            Op::Reduce(reduce) => self.reduce(at, reduce, input, depth),
            Op::Join(join) => self.join(at, join, input),
            Op::Iterate(iterate) => self.iterate(at, iterate, input, depth),
            Op::Branch(branch) => self.branch(at, branch, input, depth),
            Op::Parallel(parallel) => self.parallel(at, parallel, input, depth),
            Op::Ask(ask) => self.ask(at, ask, input),
            Op::Tell(tell) => Found { output: Schema::Null, ..self.ask(at, tell, input) },
            Op::Wait(wait) => self.wait(at, wait, input),
            Op::Sink(sink) => self.sink(at, sink, input),
            Op::Subflow(subflow) => {
                let given = self.expr(&format!("{at}/input"), &subflow.input, input, &Schema::Any);
                let Some(signature) = self.catalog.flow(subflow.flow.as_str()) else {
                    self.unknown(&format!("{at}/flow"), "flow", subflow.flow.as_str());
                    return Found::default();
                };
                if let Err(e) = signature.input.accepts(&given) {
                    self.problem(
                        &format!("{at}/input"),
                        format!("the flow does not take this: {e}"),
                        "build what it takes",
                    );
                }
                Found { output: signature.output, effects: [Effect::Observe, Effect::Message].into() }
            }
            Op::Pass(pass) => Found::pure(self.expr(&format!("{at}/value"), &pass.value, input, &Schema::Any)),
            Op::Succeed(succeed) => {
                self.expr(&format!("{at}/value"), &succeed.value, input, &Schema::Any);
                Found::default()
            }
            Op::Fail(fail) => {
                self.expr(&format!("{at}/error"), &fail.error, input, &Schema::String);
                self.expr(&format!("{at}/message"), &fail.message, input, &Schema::Any);
                Found::default()
            }
        }
    }

    fn source(&mut self, at: &str, source: &Source, input: &Schema) -> Found {
        match source {
            Source::Value(items) => Found::pure(Schema::list(self.items(&format!("{at}/value"), items, input))),
            Source::Objects(objects) | Source::Lines(objects) => {
                let is_lines = matches!(source, Source::Lines(_));
                let at = format!("{at}/{}", if is_lines { "lines" } else { "objects" });
                self.expr(&format!("{at}/bucket"), &objects.bucket, input, &Schema::String);
                self.expr(&format!("{at}/prefix"), &objects.prefix, input, &Schema::String);
                let item = if is_lines { Schema::String } else { Schema::Object };
                Found::with(Schema::list(item), Effect::ReadObjects)
            }
            Source::Topic(topic) => {
                self.expr(&format!("{at}/topic/topic"), &topic.topic, input, &Schema::String);
                self.between(&format!("{at}/topic/count_max"), topic.count_max, 1, 10_000);
                self.between(&format!("{at}/topic/time_max_ms"), topic.time_max_ms, 1, TIME_MS_MAX);
                Found { output: Schema::list(Schema::Any), effects: [Effect::Observe, Effect::Message].into() }
            }
        }
    }

    fn each(
        &mut self,
        at: &str,
        each: &Each,
        input: &Schema,
        wanted: &Schema,
        depth: usize,
        gives: fn(Schema, Schema) -> Schema,
    ) -> Found {
        let item = self.items(&format!("{at}/items"), &each.items, input);
        let given = match &each.input {
            None => item.clone(),
            Some(expr) => {
                let known = Schema::record([("index", Schema::Int), ("value", item.clone())]);
                self.expr_in(&format!("{at}/input"), expr, input, &context([("item", known)]), &Schema::Any)
            }
        };
        let found = self.body_to(&format!("{at}/body"), &each.body, &given, wanted, depth);
        self.between(&format!("{at}/window"), each.window, 1, WINDOW_MAX);
        if let Some(percent) = each.failures.percent_max {
            self.between(&format!("{at}/failures/percent_max"), percent, 0.0, 100.0);
        }
        Found { output: gives(item, found.output), effects: found.effects }
    }

    fn reduce(&mut self, at: &str, reduce: &Reduce, input: &Schema, depth: usize) -> Found {
        let mut item = self.items(&format!("{at}/items"), &reduce.items, input);
        self.between(&format!("{at}/window"), reduce.window, 1, WINDOW_MAX);
        if reduce.by_key {
            if let Err(e) = keyed(Schema::Any).accepts(&item) {
                self.problem(&format!("{at}/items"), format!("items have no key: {e}"), "put a `key_by` before it");
            }
            item = item.field("value").unwrap_or_default();
        }
        let mut found = self.body(&format!("{at}/body"), &reduce.body, &Schema::list(item.clone()), depth);
        // A fold of folds gets what it gives.
        let folds = Schema::union([item, found.output.clone()]).unwrap_or_default();
        if let (true, Body::Function(name)) = (reduce.associative, &reduce.body) {
            self.function(&format!("{at}/body/function"), name, &Schema::list(folds));
        }
        if reduce.by_key {
            found.output = Schema::list(keyed(found.output));
        }
        found
    }

    fn join(&mut self, at: &str, join: &Join, input: &Schema) -> Found {
        let left = self.items(&format!("{at}/left/items"), &join.left.items, input);
        let right = self.items(&format!("{at}/right/items"), &join.right.items, input);
        let key = self.expr(&format!("{at}/left/key"), &join.left.key, &left, &Schema::Any);
        self.expr(&format!("{at}/right/key"), &join.right.key, &right, &key);
        let or_null = |schema: Schema, missing: bool| match missing {
            true => Schema::union([schema, Schema::Null]).unwrap_or_default(),
            false => schema,
        };
        let left = or_null(left, join.kind == JoinKind::Full);
        let right = or_null(right, join.kind != JoinKind::Inner);
        Found::pure(Schema::list(Schema::record([("key", key), ("left", left), ("right", right)])))
    }

    fn iterate(&mut self, at: &str, iterate: &Iterate, input: &Schema, depth: usize) -> Found {
        let first = self.expr(&format!("{at}/state"), &iterate.state, input, &Schema::Any);
        self.between(&format!("{at}/rounds_max"), iterate.rounds_max, 1, ROUNDS_MAX);
        // What a state looks like is known only of a body that says so: states may grow from round to round.
        let state = match &iterate.body {
            Body::Graph(graph) => graph.input.clone(),
            Body::Function(_) | Body::Expr(_) => Schema::Any,
        };
        let body = format!("{at}/body");
        let found = self.body_to(&body, &iterate.body, &state, &state, depth);
        if let Err(e) = state.accepts(&first) {
            self.problem(&format!("{at}/state"), format!("the first state does not fit: {e}"), "build it with `state`");
        }
        if let Body::Function(name) = &iterate.body {
            self.function(&format!("{body}/function"), name, &first);
            self.function(&format!("{body}/function"), name, &found.output);
        }
        if let Some(until) = &iterate.until {
            let context = context([("round", Schema::Int), ("previous", Schema::Any)]);
            self.expr_in(&format!("{at}/until"), until, &found.output, &context, &Schema::Bool);
        }
        found
    }

    fn branch(&mut self, at: &str, branch: &Branch, input: &Schema, depth: usize) -> Found {
        if branch.cases.is_empty() {
            self.problem(&format!("{at}/cases"), "a branch without a case", "add one, or use `pass`");
        }
        let mut all = Vec::new();
        for (index, case) in branch.cases.iter().enumerate() {
            self.expr(&format!("{at}/cases/{index}/when"), &case.when, input, &Schema::Bool);
            all.push(self.body(&format!("{at}/cases/{index}/body"), &case.body, input, depth));
        }
        if let Some(body) = &branch.otherwise {
            all.push(self.body(&format!("{at}/otherwise"), body, input, depth));
        }
        let output = Schema::union(all.iter().map(|found| found.output.clone())).unwrap_or_default();
        Found { output, effects: all.into_iter().flat_map(|found| found.effects).collect() }
    }

    fn parallel(&mut self, at: &str, parallel: &Parallel, input: &Schema, depth: usize) -> Found {
        if parallel.branches.is_empty() {
            self.problem(&format!("{at}/branches"), "nothing to do side by side", "add a branch");
        }
        let mut effects = std::collections::BTreeSet::new();
        let mut fields = std::collections::BTreeMap::new();
        for (name, body) in &parallel.branches {
            let found = self.body(&format!("{at}/branches/{name}"), body, input, depth);
            effects.extend(found.effects);
            fields.insert(name.as_str().to_owned(), found.output);
        }
        Found { output: Schema::Record(fields), effects }
    }

    fn ask(&mut self, at: &str, ask: &Ask, input: &Schema) -> Found {
        self.expr(&format!("{at}/key"), &ask.key, input, &Schema::Any);
        let given = self.expr(&format!("{at}/input"), &ask.input, input, &Schema::Any);
        let Some(signature) = self.catalog.agent(&ask.agent, &ask.method) else {
            self.unknown(&format!("{at}/method"), "method", &format!("{}/{}", ask.agent, ask.method));
            return Found::with(Schema::Any, Effect::Message);
        };
        if let Err(e) = signature.input.accepts(&given) {
            self.problem(&format!("{at}/input"), format!("the method does not take this: {e}"), "build what it takes");
        }
        Found::with(signature.output, Effect::Message)
    }

    fn wait(&mut self, at: &str, wait: &Wait, input: &Schema) -> Found {
        let output = match wait {
            Wait::Event(event) => {
                self.expr(&format!("{at}/event/name"), &event.name, input, &Schema::String);
                Schema::Any
            }
            Wait::Timer(WaitTimer::Ms(ms)) => {
                self.expr(&format!("{at}/timer/ms"), ms, input, &Schema::Number);
                input.clone()
            }
            Wait::Timer(WaitTimer::Until(until)) => {
                let moment = Schema::OneOf(vec![Schema::Int, Schema::String]);
                self.expr(&format!("{at}/timer/until"), until, input, &moment);
                input.clone()
            }
            Wait::Approval(approval) => {
                self.expr(&format!("{at}/approval/question"), &approval.question, input, &Schema::Any);
                if let Some(of) = &approval.of {
                    self.expr(&format!("{at}/approval/of"), of, input, &Schema::Any);
                }
                Schema::record([("by", Schema::String), ("payload", Schema::Any)])
            }
        };
        Found::with(output, Effect::Observe)
    }

    fn sink(&mut self, at: &str, sink: &Sink, input: &Schema) -> Found {
        match sink {
            Sink::Object(object) => {
                self.expr(&format!("{at}/object/bucket"), &object.bucket, input, &Schema::String);
                self.expr(&format!("{at}/object/key"), &object.key, input, &Schema::String);
                self.expr(&format!("{at}/object/value"), &object.value, input, &Schema::Any);
                Found::with(Schema::Object, Effect::WriteObjects)
            }
            Sink::Topic(topic) => {
                self.expr(&format!("{at}/topic/topic"), &topic.topic, input, &Schema::String);
                self.expr(&format!("{at}/topic/value"), &topic.value, input, &Schema::Any);
                Found::with(Schema::Null, Effect::Message)
            }
        }
    }
}
