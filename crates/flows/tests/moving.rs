//! Runs that go over to another plan.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]
mod common;

use common::{drive::World, program};
use serde_json::{Value, json};
use stride_flows::{
    Event, Known, Passes, Plan,
    run::{Command, advance, move_to},
};

fn plan(graph: Value) -> Plan {
    program(graph).plan(&Passes::none(), &Known::default())
}

fn wait(name: &str) -> Value {
    json!({"do": {"wait": {"event": {"name": name}}}})
}

fn value(value: Value, after: &str) -> Value {
    json!({"do": {"pass": {"value": value}}, "after": [after]})
}

fn begin(world: &mut World, plan: &Plan) -> Vec<Command> {
    let started = Event::Started { run: "r".into(), input: json!(1) };
    advance(plan, &mut world.rows, world.now, started).unwrap()
}

fn tell(world: &mut World, plan: &Plan, name: &str) -> Vec<Command> {
    let event = Event::Event { id: name.into(), name: name.into(), payload: json!(name) };
    advance(plan, &mut world.rows, world.now, event).unwrap()
}

fn moved(world: &mut World, from: &Plan, to: &Plan) -> Result<Vec<Command>, Vec<String>> {
    move_to(from, to, &mut world.rows, world.now).unwrap()
}

#[test]
fn what_is_to_come_is_done_as_the_new_plan_says_and_what_is_done_stays() {
    let old =
        plan(json!({"nodes": {"a": wait("a"), "b": wait("b"), "end": value(json!("old"), "b")}, "output": "end"}));
    let mut to = json!({"nodes": {"a": wait("a"), "b": wait("b"), "more": wait("more"), "end": value(json!("new"), "more")}, "output": "end"});
    to["nodes"]["more"]["after"] = json!(["a", "b"]);
    let new = plan(to);
    let mut world = World::new(1);
    begin(&mut world, &old);
    tell(&mut world, &old, "a");
    assert_eq!(moved(&mut world, &old, &new), Ok(vec![]));
    assert_eq!(tell(&mut world, &new, "b"), []);
    assert_eq!(tell(&mut world, &new, "more"), [Command::Finish { result: json!("new") }]);
    assert!(advance(&old, &mut world.rows, world.now, Event::Cancelled).is_err(), "it is pinned to the new one");
}

#[test]
fn what_is_new_and_waits_for_nothing_begins_at_once() {
    let old = plan(json!({"nodes": {"a": wait("a")}, "output": "a"}));
    let new = plan(
        json!({"nodes": {"a": wait("a"), "ask": {"do": {"ask": {"agent": "index", "key": "k", "method": "add"}}, "in": "a"},
        "beside": {"do": {"call": {"function": "x/send"}}, "in": "input"}}, "output": "ask"}),
    );
    let mut world = World::new(1);
    begin(&mut world, &old);
    let commands = moved(&mut world, &old, &new).unwrap();
    assert!(matches!(&commands[..], [Command::Call(call)] if call.step == "/beside"), "{commands:?}");
    assert!(matches!(&tell(&mut world, &new, "a")[..], [Command::Ask(message)] if message.step == "/ask"));
}

#[test]
fn parts_within_items_go_over_as_well() {
    let flow = |last: &str| {
        let body = json!({"graph": {"nodes": {"w": wait("go"), "v": value(json!(last), "w")}, "output": "v"}});
        plan(json!({"nodes": {"m": {"do": {"map": {"items": [1, 2], "body": body}}, "in": "input"}}, "output": "m"}))
    };
    let (old, new) = (flow("old"), flow("new"));
    let mut world = World::new(1);
    begin(&mut world, &old);
    tell(&mut world, &old, "go");
    assert_eq!(moved(&mut world, &old, &new), Ok(vec![]));
    let again = Event::Event { id: "2".into(), name: "go".into(), payload: json!(null) };
    let commands = advance(&new, &mut world.rows, world.now, again).unwrap();
    assert_eq!(commands, [Command::Finish { result: json!(["old", "new"]) }]);
}

#[test]
fn a_run_that_cannot_go_over_says_why_and_stays_as_it_is() {
    let old = plan(
        json!({"nodes": {"a": wait("a"), "b": wait("b"), "paid": {"do": {"call": {"function": "x/send"}}, "in": "input",
        "compensate": {"function": "x/undo"}}}, "output": "b"}),
    );
    let mut world = World::new(1);
    let Command::Call(call) = &begin(&mut world, &old)[0] else { panic!("the call is not there") };
    advance(&old, &mut world.rows, world.now, Event::Done { step: call.step.clone(), result: json!(1) }).unwrap();
    tell(&mut world, &old, "b");
    let before = world.rows.kept();
    let mut late = json!({"nodes": {"b": wait("b"), "first": {"do": {"call": {"function": "x/send"}}, "in": "input"},
        "paid": {"do": {"call": {"function": "x/send"}}, "in": "input"}}, "output": "b"});
    late["nodes"]["b"]["after"] = json!(["first"]);
    let why = moved(&mut world, &old, &plan(late)).unwrap_err().join("\n");
    for part in ["`/a` is going on", "`/first` would have to be done before `/b`", "what undoes it"] {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    assert_eq!(world.rows.kept(), before);
    let gone = moved(&mut world, &old, &old);
    assert_eq!(gone, Ok(vec![]));
    assert!(matches!(&tell(&mut world, &old, "a")[..], [Command::Finish { .. }]));
    assert!(move_to(&old, &plan(json!({"nodes": {}})), &mut world.rows, world.now).is_err(), "it has ended");
}
