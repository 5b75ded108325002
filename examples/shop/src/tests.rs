//! The order process on the pure machine of flows, with this component's code and agents that are plain structs.

#[path = "../../../crates/flows/tests/common/drive.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod drive;
#[path = "../../../crates/flows/tests/common/exports.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod exports;

use std::cell::RefCell;

use drive::World;
use exports::{Exports, refused};
use serde_json::{Value, from_value, json, to_value};
use stride_flows::{
    Draft, Effect, Known, Passes, Plan, Program,
    run::{Command, Event},
};

use super::*;

#[derive(Default)]
struct Agents {
    till: Till,
    warehouse: Warehouse,
    customer: Customer,
}

thread_local! {
    static AGENTS: RefCell<Agents> = RefCell::default();
}

type Answer = Result<Value, (String, String)>;

/// The functions reach the till, which only the platform can, so what it does is done here.
fn call(name: &str, input: &Value) -> Answer {
    AGENTS.with_borrow_mut(|agents| match name {
        "shop/pay" => {
            let payment: Payment = from_value(input.clone()).unwrap();
            payment.check().map_err(|e| refused(&e))?;
            Ok(json!(agents.till.charge(payment)))
        }
        "shop/refund" => {
            let undo: Undo = from_value(input.clone()).unwrap();
            agents.till.refund(undo.input.id, undo.result).map(|()| Value::Null).map_err(|e| refused(&e))
        }
        other => panic!("there is no function `{other}`"),
    })
}

/// A turn that fails leaves nothing.
fn ask(agent: &str, _: &str, method: &str, input: &Value) -> Answer {
    AGENTS.with_borrow_mut(|agents| {
        let before = to_value(&agents.warehouse).unwrap();
        let answer = match (agent, method) {
            ("warehouse", "hold") => agents.warehouse.hold(from_value(input.clone()).unwrap()).map(|left| json!(left)),
            ("warehouse", "ship") => agents.warehouse.ship(from_value(input.clone()).unwrap()).map(|at| json!(at)),
            ("warehouse", "release") => {
                agents.warehouse.release(from_value(input.clone()).unwrap());
                Ok(Value::Null)
            }
            ("customer", "notify") => {
                agents.customer.notify(from_value(input.clone()).unwrap());
                Ok(Value::Null)
            }
            other => panic!("there is no method {other:?}"),
        };
        answer.map_err(|e| {
            agents.warehouse = from_value(before).unwrap();
            refused(&e)
        })
    })
}

const PARTS: u64 = 1;

fn lines(_: u64) -> Value {
    json!([])
}

fn program() -> Program {
    let draft = Draft::read(include_bytes!("../order.json")).unwrap();
    draft.check(&Exports(&[Effect::Message])).unwrap_or_else(|e| panic!("{e}"))
}

fn plan() -> Plan {
    program().plan(&Passes::all(), &Known::default())
}

fn order(item: &str, cents: u32) -> Value {
    json!({ "id": "o-1", "item": item, "count": 2, "cents": cents, "customer": "ada" })
}

/// Runs an order up to its approval, through crashes and repeated events.
fn start(plan: &Plan, item: &str, cents: u32) -> World {
    AGENTS.with_borrow_mut(|agents| {
        *agents = Agents::default();
        agents.warehouse.fill(item.to_owned(), 10);
    });
    let mut world = World::rough(7);
    world.event(plan, Event::Started { run: "run-1".into(), input: order(item, cents) });
    while !world.out.iter().any(|command| matches!(command, Command::Approval { .. })) && world.end.is_none() {
        assert!(world.step(plan));
    }
    world
}

fn approve(plan: &Plan, world: &mut World) {
    decide(plan, world, Event::Approved { step: "/approve".into(), by: "bob".into(), payload: json!(null) });
}

/// Nobody is asked any more.
fn decide(plan: &Plan, world: &mut World, event: Event) {
    world.event(plan, event);
    world.out.retain(|command| !matches!(command, Command::Approval { .. }));
    world.go_on(plan);
}

/// What is in stock and in the till, how often somebody paid, and how many parcels and notices there are.
fn counts(item: &str) -> (u32, u64, usize, usize, usize) {
    AGENTS.with_borrow(|a| {
        (
            a.warehouse.left(item.into()),
            a.till.cents(),
            a.till.payments(),
            a.warehouse.parcels(),
            a.customer.notices().len(),
        )
    })
}

#[test]
fn an_order_that_is_approved_is_paid_shipped_and_told_once() {
    let plan = plan();
    let mut world = start(&plan, "chair", 9_900);
    assert_eq!(counts("chair"), (8, 0, 0, 0, 0), "put aside, and nothing else");
    world.sick.insert("shop/pay".into(), 2);
    approve(&plan, &mut world);
    assert_eq!(world.end, Some(Ok(json!(0))));
    assert_eq!(counts("chair"), (8, 9_900, 1, 1, 1));
}

#[test]
fn an_order_that_cannot_be_shipped_is_paid_back_and_released() {
    let plan = plan();
    let mut world = start(&plan, "glass", 500);
    approve(&plan, &mut world);
    let error = world.end.unwrap().unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("guest_error", "glass is broken on the way to the parcel")
    );
    assert_eq!(counts("glass"), (10, 0, 1, 0, 0));
}

#[test]
fn an_order_that_nobody_approves_within_a_day_or_that_is_refused_is_released() {
    let plan = plan();
    let mut late = start(&plan, "chair", 9_900);
    late.go_on(&plan);
    assert_eq!(late.end.unwrap().unwrap_err().code, "timeout");
    assert_eq!(counts("chair"), (10, 0, 0, 0, 0));
    let mut refused = start(&plan, "chair", 9_900);
    let refusal = Event::Refused { step: "/approve".into(), by: "bob".into(), reason: "too dear".into() };
    decide(&plan, &mut refused, refusal);
    assert_eq!(refused.end.unwrap().unwrap_err().code, "refused");
    assert_eq!(counts("chair"), (10, 0, 0, 0, 0));
}

#[test]
fn what_is_not_in_stock_or_costs_nothing_is_refused() {
    let plan = plan();
    let mut free = start(&plan, "chair", 0);
    approve(&plan, &mut free);
    assert!(free.end.unwrap().unwrap_err().message.contains("costs nothing"));
    let mut warehouse = Warehouse::default();
    warehouse.fill("chair".into(), 1);
    let hold = Hold { order: "o-2".into(), item: "chair".into(), count: 2 };
    assert_eq!(warehouse.hold(hold).unwrap_err().message, "of chair there are only 1");
    assert!(Till::default().refund("o-1".into(), 0).is_err());
}

#[test]
fn every_effect_is_one_for_an_order_however_often_it_is_asked_for() {
    let mut till = Till::default();
    let pay = |till: &mut Till, order: &str| till.charge(Payment { order: order.into(), cents: 5 });
    assert_eq!([pay(&mut till, "a"), pay(&mut till, "b"), pay(&mut till, "a")], [0, 1, 0]);
    assert_eq!((till.cents(), till.payments()), (10, 2));
    let mut warehouse = Warehouse::default();
    warehouse.fill("chair".into(), 9);
    let hold = Hold { order: "a".into(), item: "chair".into(), count: 2 };
    assert_eq!((warehouse.hold(hold.clone()).unwrap(), warehouse.hold(hold).unwrap()), (7, 7));
    let ship = || Shipment { order: "a".into(), receipt: 0 };
    assert_eq!((warehouse.ship(ship()).unwrap(), warehouse.ship(ship()).unwrap(), warehouse.parcels()), (0, 0, 1));
    warehouse.release("a".into());
    assert_eq!(warehouse.left("chair".into()), 7, "what was sent is not put back");
}

#[test]
fn a_flow_that_names_what_is_not_there_is_refused() {
    let text = String::from_utf8(include_bytes!("../order.json").to_vec()).unwrap();
    let draft = Draft::read(
        text.replace("shop/pay", "shop/pey").replace("\"hold\", \"input\"", "\"hld\", \"input\"").as_bytes(),
    );
    let problems = draft.unwrap().check(&Exports(&[Effect::Message])).unwrap_err().to_string();
    assert!(
        problems.contains("did you mean `shop/pay`?") && problems.contains("did you mean `warehouse/hold`?"),
        "{problems}"
    );
}
