//! Training as an `iterate` on the pure machine of flows: the same steps as in a loop.

#[path = "../../../crates/flows/tests/common/drive.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod drive;
#[path = "../../../crates/flows/tests/common/exports.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod exports;

use std::cell::RefCell;

use drive::World;
use exports::{Exports, call};
use models::mlp::make_batch;
use serde_json::{Value, json};
use stride_flows::{Draft, Known, Passes};

use super::*;

const BATCHES: u64 = 3;
const ROWS: usize = 64;

thread_local! {
    static TRAINER: RefCell<Trainer> = RefCell::new(Trainer::new(FEATURES));
}

fn batch(name: &str) -> Vec<u8> {
    make_batch(name.strip_prefix("batch-").unwrap().parse().unwrap(), FEATURES, ROWS)
}

/// Objects are the platform's, so what a turn of the trainer reads is made here.
fn ask(agent: &str, key: &str, method: &str, input: &Value) -> Result<Value, (String, String)> {
    assert_eq!((agent, key, method), ("trainer", "reviews", "step"));
    let loss = TRAINER.with_borrow_mut(|trainer| {
        trainer.see(&batch(input.as_str().unwrap()));
        trainer.step()
    });
    Ok(json!({ "loss": loss }))
}

const PARTS: u64 = 1;

fn lines(_: u64) -> Value {
    json!([])
}

fn train(goal: f32) -> Value {
    TRAINER.set(Trainer::new(FEATURES));
    let draft = Draft::read(include_bytes!("../train.json")).unwrap();
    let plan = draft.check(&Exports(&[])).unwrap_or_else(|e| panic!("{e}")).plan(&Passes::all(), &Known::default());
    let batches: Vec<String> = (0..BATCHES).map(|at| format!("batch-{at}")).collect();
    let input = json!({ "training": "reviews", "batches": batches, "goal": goal });
    World::rough(9).run(&plan, input).unwrap()
}

#[test]
fn training_as_an_iterate_takes_the_steps_of_a_loop_through_crashes() {
    let mut trainer = Trainer::new(FEATURES);
    let mut losses = (0..).map(|at: u64| {
        trainer.see(&batch(&format!("batch-{}", at % BATCHES)));
        trainer.step()
    });
    let first = losses.next().unwrap();
    let goal = first / 2.0;
    let (steps, loss) = losses.enumerate().find(|(_, loss)| *loss <= goal).unwrap();
    assert_eq!(train(goal), json!({ "steps": steps + 2, "loss": loss }));
    TRAINER.with_borrow(|kept| assert_eq!(kept.to_bytes(), trainer.to_bytes(), "the same weights, to the bit"));
}

#[test]
fn a_goal_that_is_reached_at_once_takes_one_step() {
    assert_eq!(train(f32::MAX)["steps"], 1);
}
