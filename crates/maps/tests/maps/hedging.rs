//! Items that take far longer than others.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;
use stride_maps::Settings;
use stride_sim::Clock;

use crate::world::{World, is_done, world, world_at};

const ITEMS: u64 = 40;

async fn with_objects(world: &World) {
    for n in 0..ITEMS {
        world.put(&format!("data/in/{n:02}"), n.to_string()).await;
    }
}

#[tokio::test]
async fn a_pure_function_is_called_again_for_a_straggler_and_one_result_is_recorded() {
    let world = world().await;
    with_objects(&world).await;
    // These calls never come back, so the map ends only because of others beside them.
    world.functions.slow.lock().extend(["7".to_owned(), "30".to_owned()]);
    let (lines, status) = world.run(json!({"function": "f/pure-echo", "over": "data/in/"})).await;
    let expected: Vec<_> =
        (0..ITEMS).map(|n| json!({"input": format!("in/{n:02}"), "ok": true, "result": n.to_string()})).collect();
    assert_eq!(lines, expected);
    assert!(is_done(&status));
    assert_eq!((status.done, status.hedged), (ITEMS, 2));
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), ITEMS + 2);
}

#[tokio::test]
async fn a_function_that_is_not_pure_is_never_called_again() {
    let clock = Clock::manual();
    let world = world_at(clock.clone(), Settings::default()).await;
    with_objects(&world).await;
    world.functions.slow.lock().push("7".to_owned());
    let id = world.begin(json!({"function": "f/echo", "over": "data/in/"})).await;
    world.wait_for(&id, ITEMS - 1).await;
    clock.advance(Duration::from_secs(3_600));
    // One that is pure, and begins later, is called again and has ended: the other had its time.
    world.functions.slow.lock().push("8".to_owned());
    let pure = world.begin(json!({"function": "f/pure-echo", "over": "data/in/"})).await;
    world.wait_for(&pure, ITEMS - 1).await;
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(world.results(&pure).await.len() as u64, ITEMS);
    assert_eq!(world.status(&pure).await.hedged, 1);
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), ITEMS + ITEMS + 1);
    world.functions.let_go.send_replace(true);
    assert_eq!(world.results(&id).await.len() as u64, ITEMS);
    let status = world.status(&id).await;
    assert_eq!((status.done, status.hedged), (ITEMS, 0));
    assert_eq!(world.functions.calls.load(Ordering::Relaxed), ITEMS + ITEMS + 1);
}
