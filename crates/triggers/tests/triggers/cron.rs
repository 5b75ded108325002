//! Triggers that hear of times.

use std::time::Duration;

use serde_json::json;

use crate::world::{tells, world};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_time_is_told_when_it_comes_and_those_that_were_missed_are_told_as_one() {
    let world = world().await;
    let hourly = json!({"cron": "0 * * * *", "input": "$"});
    world.deploy(1, &[tells("one", hourly.clone(), "a")]).await;
    world.clock.sleep(2 * HOUR + HOUR / 2).await;
    let first = world.heard("a", 2).await;
    assert_eq!((&first[0]["data"], &first[0]["source"]), (&json!({"missed": 0}), &json!("/triggers/shop/one")));
    assert!(first[0]["time"].as_str().unwrap().ends_with(":00:00.000Z"), "{first:?}");
    assert_ne!(first[0]["id"], first[1]["id"]);
    let world = world.restarted_after(5 * HOUR).await;
    let all = world.heard("a", 3).await;
    assert_eq!(all[2]["data"], json!({"missed": 4}));
    // The same times again are the same timer, and others another one.
    world.deploy(2, &[tells("one", hourly, "a")]).await;
    world.clock.sleep(HOUR).await;
    world.heard("a", 4).await;
    world.deploy(3, &[tells("one", json!({"cron": "30 12 1 1 *"}), "a")]).await;
    world.clock.sleep(3 * HOUR).await;
    assert_eq!(world.hearing("a").await.len(), 4);
    world.deploy(4, &[]).await;
    let timers = world.engine.timers_of(&stride_ids::Address {
        tenant: crate::world::tenant(),
        kind: crate::world::name("stride-trigger"),
        key: stride_ids::AgentKey::new("shop/one").unwrap(),
    });
    assert_eq!(timers.unwrap(), []);
}
