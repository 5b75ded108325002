//! The operators: one method each. `docs/flows.md` says what they do.

use std::{panic::Location, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::{
    body::{IntoBody, Place},
    expr::Expr,
    flow::{Around, Flow, Node, Part},
    policy::millis,
    step::{Fold, Loop, Over, Plain, Several, Step, Ways},
};

#[track_caller]
fn value(data: &impl Serialize) -> Value {
    Expr::of(data).value().clone()
}

#[track_caller]
fn expr(data: &impl Serialize) -> Part {
    Part::Expr(value(data))
}

#[track_caller]
fn input(data: &impl Serialize) -> Part {
    Part::Input(value(data))
}

fn plain(data: impl Into<Value>) -> Part {
    Part::Plain(data.into())
}

impl Flow {
    #[track_caller]
    fn step<K>(&self, base: &str, op: &'static str, work: Part) -> Step<K> {
        Step::new(self, Node::new(base, op, work, Location::caller()), Value::Null)
    }

    /// The items of a list.
    #[track_caller]
    pub fn items(&self, list: impl Serialize) -> Step {
        self.step("items", "source", Part::record([("value", expr(&list))]))
    }

    /// References to the objects of a bucket whose keys begin so.
    #[track_caller]
    pub fn objects(&self, bucket: impl Serialize, prefix: impl Serialize) -> Step {
        let objects = Part::record([("bucket", expr(&bucket)), ("prefix", expr(&prefix))]);
        self.step("objects", "source", Part::record([("objects", objects)]))
    }

    /// The lines of these objects.
    #[track_caller]
    pub fn lines(&self, bucket: impl Serialize, prefix: impl Serialize) -> Step {
        let objects = Part::record([("bucket", expr(&bucket)), ("prefix", expr(&prefix))]);
        self.step("lines", "source", Part::record([("lines", objects)]))
    }

    /// Messages of a topic: so many, or those that come in this time after the first.
    #[track_caller]
    pub fn messages(&self, topic: impl Serialize, count_max: u32, time_max: Duration) -> Step {
        let (count, time) = (plain(count_max), plain(millis(time_max)));
        let topic = Part::record([("topic", expr(&topic)), ("count_max", count), ("time_max_ms", time)]);
        self.step("messages", "source", Part::record([("topic", topic)]))
    }

    /// Calls a function, `component/function`.
    #[track_caller]
    pub fn call(&self, function: &str, given: impl Serialize) -> Step {
        let base = function.rsplit('/').next().unwrap_or(function);
        self.step(base, "call", Part::record([("function", plain(function)), ("input", input(&given))]))
    }

    #[track_caller]
    fn over<M>(&self, op: &'static str, items: &impl Serialize, body: impl IntoBody<M>) -> Step<Over> {
        let body = body.write(self, Place { around: Around::Item, on: None }, Location::caller()).0;
        self.step(op, op, Part::record([("items", input(items)), ("body", Part::Body(body))]))
    }

    /// Every item becomes one.
    #[track_caller]
    pub fn map<M>(&self, items: impl Serialize, body: impl IntoBody<M>) -> Step<Over> {
        self.over("map", &items, body)
    }

    /// Every item becomes the items of a list.
    #[track_caller]
    pub fn flat_map<M>(&self, items: impl Serialize, body: impl IntoBody<M>) -> Step<Over> {
        self.over("flat_map", &items, body)
    }

    /// Keeps the items for which the body is true.
    #[track_caller]
    pub fn filter<M>(&self, items: impl Serialize, body: impl IntoBody<M>) -> Step<Over> {
        self.over("filter", &items, body)
    }

    /// Every item becomes `{"key", "value"}`; the body gives the key.
    #[track_caller]
    pub fn key_by<M>(&self, items: impl Serialize, body: impl IntoBody<M>) -> Step<Over> {
        self.over("key_by", &items, body)
    }

    /// The body gets a list of values and gives one.
    #[track_caller]
    pub fn reduce<M>(&self, items: impl Serialize, body: impl IntoBody<M>) -> Step<Fold> {
        let around = Around::Closed("put it into the items");
        let body = body.write(self, Place { around, on: None }, Location::caller()).0;
        self.step("reduce", "reduce", Part::record([("items", input(&items)), ("body", Part::Body(body))]))
    }

    /// Items of two lists with the same key, as `{"key", "left", "right"}`: `inner`, `left` or `full`. The closures give an item's key.
    #[track_caller]
    pub fn join<L: Serialize, R: Serialize>(
        &self,
        kind: &str,
        (left, left_key): (impl Serialize, impl FnOnce(Expr) -> L),
        (right, right_key): (impl Serialize, impl FnOnce(Expr) -> R),
    ) -> Step {
        let (at, around) = (Location::caller(), Around::Closed("put it into the items"));
        let left_key = Part::Of(self.lambda(around, left_key, at));
        let right_key = Part::Of(self.lambda(around, right_key, at));
        let left = Part::record([("items", expr(&left)), ("key", left_key)]);
        let right = Part::record([("items", expr(&right)), ("key", right_key)]);
        self.step("join", "join", Part::record([("left", left), ("right", right), ("kind", plain(kind))]))
    }

    /// From state to state, so many times at most.
    #[track_caller]
    pub fn iterate<M>(&self, state: impl Serialize, rounds_max: u32, body: impl IntoBody<M>) -> Step<Loop> {
        let around = Around::Closed("put it into the state");
        let body = body.write(self, Place { around, on: None }, Location::caller()).0;
        let rounds = plain(rounds_max);
        let work = [("state", input(&state)), ("body", Part::Body(body)), ("rounds_max", rounds)];
        self.step("iterate", "iterate", Part::record(work))
    }

    #[track_caller]
    fn on<K>(&self, op: &'static str, list: &str, empty: Part, on: &impl Serialize) -> Step<K> {
        let mut node = Node::new(op, op, Part::record([(list, empty)]), Location::caller());
        let on = value(on);
        node.uses.push(on.clone());
        Step::new(self, node, on)
    }

    /// One of several ways, which work on this value: see [`Step::case`].
    #[track_caller]
    pub fn branch(&self, on: impl Serialize) -> Step<Ways> {
        self.on("branch", "cases", Part::List(Vec::new()), &on)
    }

    /// Several bodies side by side, which work on this value: see [`Step::branch`]. Its value is the record of theirs.
    #[track_caller]
    pub fn parallel(&self, on: impl Serialize) -> Step<Several> {
        self.on("parallel", "branches", Part::record([]), &on)
    }

    /// Asks an agent. The value is its reply.
    #[track_caller]
    pub fn ask(&self, agent: &str, key: impl Serialize, method: &str, given: impl Serialize) -> Step {
        self.step(method, "ask", message(agent, &key, method, &given))
    }

    /// Tells an agent.
    #[track_caller]
    pub fn tell(&self, agent: &str, key: impl Serialize, method: &str, given: impl Serialize) -> Step {
        self.step(method, "tell", message(agent, &key, method, &given))
    }

    /// Waits for an event that somebody sends to the run. The value is what comes with it.
    #[track_caller]
    pub fn event(&self, name: impl Serialize) -> Step {
        self.step("event", "wait", Part::record([("event", Part::record([("name", expr(&name))]))]))
    }

    /// Waits so many milliseconds.
    #[track_caller]
    pub fn sleep(&self, milliseconds: impl Serialize) -> Step {
        self.step("sleep", "wait", Part::record([("timer", Part::record([("ms", expr(&milliseconds))]))]))
    }

    /// Waits until a moment: milliseconds since 1970, or a text as in RFC 3339.
    #[track_caller]
    pub fn sleep_until(&self, moment: impl Serialize) -> Step {
        self.step("sleep", "wait", Part::record([("timer", Part::record([("until", expr(&moment))]))]))
    }

    /// Waits for somebody's consent. The value is `{"by", "payload"}`.
    #[track_caller]
    pub fn approval(&self, question: impl Serialize) -> Step {
        let approval = Part::record([("question", expr(&question))]);
        self.step("approval", "wait", Part::record([("approval", approval)]))
    }

    /// The same, and says who is asked.
    #[track_caller]
    pub fn approval_of(&self, who: impl Serialize, question: impl Serialize) -> Step {
        let approval = Part::record([("question", expr(&question)), ("of", expr(&who))]);
        self.step("approval", "wait", Part::record([("approval", approval)]))
    }

    /// Writes an object. The value is a reference to it.
    #[track_caller]
    pub fn put(&self, bucket: impl Serialize, key: impl Serialize, content: impl Serialize) -> Step {
        let object = [("bucket", expr(&bucket)), ("key", expr(&key)), ("value", input(&content))];
        self.step("put", "sink", Part::record([("object", Part::record(object))]))
    }

    /// Publishes a message.
    #[track_caller]
    pub fn publish(&self, topic: impl Serialize, message: impl Serialize) -> Step {
        let topic = Part::record([("topic", expr(&topic)), ("value", input(&message))]);
        self.step("publish", "sink", Part::record([("topic", topic)]))
    }

    /// Runs another flow and takes its value.
    #[track_caller]
    pub fn subflow(&self, flow: &str, given: impl Serialize) -> Step {
        self.step(flow, "subflow", Part::record([("flow", plain(flow)), ("input", input(&given))]))
    }

    /// Builds a value. It costs no step.
    #[track_caller]
    pub fn pass(&self, value: impl Serialize) -> Step {
        self.step("pass", "pass", Part::record([("value", input(&value))]))
    }

    /// Fails with a code that `catch` and `retry` know it by.
    #[track_caller]
    pub fn fail(&self, error: impl Serialize, message: impl Serialize) -> Step {
        self.step("fail", "fail", Part::record([("error", expr(&error)), ("message", expr(&message))]))
    }

    /// Ends the nearest run, item or parallel branch around it with a value.
    #[track_caller]
    pub fn succeed(&self, value: impl Serialize) -> Step<Plain> {
        self.step("succeed", "succeed", Part::record([("value", input(&value))]))
    }
}

#[track_caller]
fn message(agent: &str, key: &impl Serialize, method: &str, given: &impl Serialize) -> Part {
    let (agent, method) = (plain(agent), plain(method));
    Part::record([("agent", agent), ("key", expr(key)), ("method", method), ("input", input(given))])
}
