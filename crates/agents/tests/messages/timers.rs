//! Timers.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_timer_fires_once_and_one_that_was_due_while_the_node_was_down_fires_on_return() {
    let world = World::new().await;
    world.ask("a", "after", "500").await.unwrap();
    world.clock.sleep(Duration::from_millis(400)).await;
    assert_eq!(world.all("a").await, "");
    world.clock.sleep(Duration::from_millis(200)).await;
    assert_eq!(world.all("a").await, "once+0");
    world.ask("a", "after", "500").await.unwrap();
    let world = world.restart_after(Duration::from_secs(3_600)).await;
    world.quiet().await;
    assert_eq!(world.all("a").await, "once+0 once+0");
    assert_eq!(world.engine.stats().timers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeating_timer_says_how_many_times_it_missed() {
    let world = World::new().await;
    world.ask("a", "every", "1000").await.unwrap();
    world.clock.sleep(Duration::from_millis(2_500)).await;
    assert_eq!(world.all("a").await, "again+0 again+0");
    let world = world.restart_after(Duration::ZERO).await;
    world.quiet().await;
    // It was away for 61 seconds.
    assert_eq!(world.all("a").await, "again+0 again+0 again+60");
    assert_eq!(world.engine.timers_of(&agent("a")).unwrap().len(), 1);
    world.ask("a", "cancel", "again").await.unwrap();
    world.clock.sleep(Duration::from_secs(5)).await;
    assert_eq!(world.all("a").await, "again+0 again+0 again+60 cancelled:true");
    assert_eq!(world.engine.stats().timers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_set_again_replaces_the_one_of_its_name() {
    let world = World::new().await;
    world.ask("a", "after", "500").await.unwrap();
    world.ask("a", "after", "60000").await.unwrap();
    assert_eq!(world.engine.stats().timers, 1);
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.all("a").await, "");
    world.ask("a", "cancel", "nothing").await.unwrap();
    assert_eq!(world.all("a").await, "cancelled:false");
}

#[tokio::test(start_paused = true)]
async fn a_removed_agent_takes_its_timers_and_messages_with_it() {
    let world = World::new().await;
    world.ask("a", "every", "1000").await.unwrap();
    world.tell("a", "fail", "", None).await.unwrap();
    world.quiet().await;
    world.engine.remove(&agent("a")).await.unwrap();
    let stats = world.engine.stats();
    assert_eq!((stats.timers, stats.parked, stats.waiting), (0, 0, 0));
    world.clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(world.all("a").await, "");
}
