//! Functions that are called for events: attempts, dead letters, and what a restart leaves.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use stride_ids::{Code, Failure};
use stride_triggers::State;

use crate::world::{World, calls, name, tenant, world};

async fn world_that_calls(function: &str) -> World {
    let world = world().await;
    world.deploy(1, &[calls("one", json!({"topic": "orders"}), function)]).await;
    world
}

async fn letters(world: &World) -> Vec<stride_triggers::Letter> {
    world.triggers.letters(&tenant(), (&name("shop"), &name("one")), None, 1_000).await.unwrap().0
}

#[tokio::test(start_paused = true)]
async fn a_function_is_called_once_for_each_event_if_all_goes_well() {
    let world = world_that_calls("f").await;
    for n in 0..100 {
        world.publish("orders", json!(n)).await;
    }
    world.until(async || world.counts("one").await == (100, 0, 0)).await;
    let mut called = world.functions.calls();
    called.sort_by_key(Value::as_u64);
    assert_eq!(called, (0..100).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_made_five_times_and_then_a_dead_letter_that_can_be_replayed() {
    let world = world_that_calls("f").await;
    world.functions.does(|_, input| match input.as_u64() {
        Some(1) => Err(Failure::new(Code::GuestError, "it is broken")),
        _ => Ok(()),
    });
    for n in [1, 2] {
        world.publish("orders", json!(n)).await;
    }
    world.until(async || world.counts("one").await == (1, 0, 1)).await;
    let count = |wanted: u64| world.functions.calls().iter().filter(|input| **input == json!(wanted)).count();
    assert_eq!((count(1), count(2)), (5, 1));
    let letter = letters(&world).await.remove(0);
    assert_eq!((letter.attempts, letter.cause.message.as_str()), (5, "it is broken"));
    world.functions.does(|_, _| Ok(()));
    let one = (&name("shop"), &name("one"));
    assert_eq!(world.triggers.replay(&tenant(), one, Some(letter.number)).await.unwrap(), 1);
    world.until(async || world.counts("one").await == (2, 0, 0)).await;
    assert_eq!(count(1), 6);
}

#[tokio::test(start_paused = true)]
async fn what_no_attempt_can_repair_is_a_dead_letter_at_once() {
    for (code, says) in
        [(Code::NotFound, "stride triggers replay"), (Code::InvalidRequest, "no"), (Code::CapabilityDenied, "no")]
    {
        let world = world_that_calls("f").await;
        world.functions.does(move |_, _| Err(Failure::new(code, "no")));
        world.publish("orders", json!(1)).await;
        world.until(async || world.counts("one").await == (0, 0, 1)).await;
        assert_eq!(world.functions.calls().len(), 1);
        assert!(letters(&world).await[0].cause.message.contains(says));
    }
}

#[tokio::test(start_paused = true)]
async fn being_overloaded_is_no_attempt() {
    let world = world_that_calls("f").await;
    let left = AtomicU32::new(20);
    world.functions.does(move |_, _| {
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(Failure::new(Code::Overloaded, "full")),
            Err(_) => Ok(()),
        }
    });
    world.publish("orders", json!(1)).await;
    world.until(async || world.counts("one").await == (1, 0, 0)).await;
    assert_eq!(world.functions.calls().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_outcome_was_not_recorded_is_made_again_with_the_same_event() {
    let world = world().await;
    world.deploy(1, &[json!({"name": "one", "topic": "orders", "function": "f"})]).await;
    *world.functions.stuck.lock() = true;
    world.publish("orders", json!(1)).await;
    world.until(async || !world.functions.calls().is_empty()).await;
    let first = world.functions.calls();
    let world = world.restarted_after(Duration::from_secs(1)).await;
    world.until(async || world.counts("one").await == (1, 0, 0)).await;
    assert_eq!(world.functions.calls(), first);
    assert!(first[0]["id"].is_string() && first[0]["source"] == json!("/topics/orders"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_dead_letters_pause_the_trigger_and_what_comes_then_waits() {
    let world = world_that_calls("f").await;
    world.functions.does(|_, _| Err(Failure::new(Code::InvalidRequest, "no")));
    for n in 0..1_100 {
        world.publish("orders", json!(n)).await;
    }
    world.until(async || world.status("one").await.state == State::Paused).await;
    let (delivered, waiting, dead) = world.counts("one").await;
    assert!(delivered == 0 && dead >= 1_000 && waiting + dead == 1_100, "{waiting} wait, {dead} are dead");
    assert!(world.status("one").await.why.unwrap().contains("dead letters"));
    world.functions.does(|_, _| Ok(()));
    let (shop, one) = (name("shop"), name("one"));
    assert_eq!(world.triggers.replay(&tenant(), (&shop, &one), None).await.unwrap(), dead);
    world.triggers.resume(&tenant(), &shop, &one).await.unwrap();
    world.until(async || world.counts("one").await == (1_100, 0, 0)).await;
}
