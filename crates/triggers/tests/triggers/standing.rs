//! Triggers that are paused, changed and gone, and events that cannot be told.

use std::time::Duration;

use serde_json::{Value, json};
use stride_ids::Code;
use stride_triggers::State;

use crate::world::{name, tells, tenant, with, world};

fn of_orders(key: &str) -> Value {
    tells("one", json!({"topic": "orders"}), key)
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_trigger_is_paused_waits_and_is_told_in_its_order() {
    let world = world().await;
    let (shop, one) = (name("shop"), name("one"));
    world.deploy(1, &[of_orders("a")]).await;
    world.triggers.pause(&tenant(), &shop, &one).await.unwrap();
    for n in 0..600 {
        world.publish("orders", json!(n)).await;
    }
    world.until(async || world.counts("one").await.1 == 600).await;
    assert_eq!(world.status("one").await.state, State::Paused);
    let world = world.restarted_after(Duration::from_secs(60)).await;
    assert_eq!((world.counts("one").await, world.hearing("a").await.len()), ((0, 600, 0), 0));
    world.triggers.resume(&tenant(), &shop, &one).await.unwrap();
    world.publish("orders", json!(600)).await;
    let expected: Vec<_> = (0..=600).map(|n| json!(n)).collect();
    assert_eq!(world.heard("a", 601).await, expected);
    assert_eq!((world.counts("one").await, world.status("one").await.state), ((601, 0, 0), State::Running));
}

#[tokio::test(start_paused = true)]
async fn a_filter_lets_through_what_it_says_and_counts_the_rest() {
    let world = world().await;
    let filter = json!({"filter": {"$eq": ["$.data.state", "paid"]}, "input": "$.data.n"});
    world.deploy(1, &[with(of_orders("a"), filter)]).await;
    for (n, state) in [(1, "new"), (2, "paid"), (3, "sent"), (4, "paid")] {
        world.publish("orders", json!({"n": n, "state": state})).await;
    }
    world.publish("orders", json!("of another shape")).await;
    assert_eq!(world.heard("a", 2).await, [json!(2), json!(4)]);
    world.until(async || world.status("one").await.filtered == 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_trigger_makes_nothing_of_is_a_dead_letter_and_replayed_once_the_trigger_is_repaired() {
    let world = world().await;
    let (shop, one) = (name("shop"), name("one"));
    world.deploy(1, &[of_orders("$.data.id")]).await;
    world.publish("orders", json!({"id": "a"})).await;
    world.publish("orders", json!({"key": "b"})).await;
    world.heard("a", 1).await;
    world.until(async || world.counts("one").await == (1, 0, 1)).await;
    let (letters, more) = world.triggers.letters(&tenant(), (&shop, &one), None, 10).await.unwrap();
    assert!(!more && letters[0].cause.code == Code::InvalidRequest, "{letters:?}");
    assert!(letters[0].cause.message.contains("`key`") && letters[0].event.contains("\"b\""), "{letters:?}");
    // With nothing repaired it dies again.
    assert_eq!(world.triggers.replay(&tenant(), (&shop, &one), None).await.unwrap(), 1);
    world.until(async || world.counts("one").await == (1, 0, 1)).await;
    world.deploy(2, &[of_orders("b")]).await;
    let (letters, _) = world.triggers.letters(&tenant(), (&shop, &one), None, 10).await.unwrap();
    assert_eq!(world.triggers.replay(&tenant(), (&shop, &one), Some(letters[0].number)).await.unwrap(), 1);
    assert_eq!(world.heard("b", 1).await, [json!({"key": "b"})]);
    let failure = world.triggers.replay(&tenant(), (&shop, &one), Some(99)).await.unwrap_err();
    assert_eq!((failure.code, world.counts("one").await), (Code::NotFound, (2, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_refuses_is_parked_there_and_holds_up_nothing() {
    let world = world().await;
    let refused = with(of_orders("a"), json!({"name": "bad", "method": "refuse"}));
    world.deploy(1, &[refused, of_orders("b")]).await;
    world.publish("orders", json!(1)).await;
    world.heard("b", 1).await;
    world.until(async || world.engine.parked(&tenant(), None, 10).unwrap().len() == 1).await;
    let parked = world.engine.parked(&tenant(), None, 10).unwrap();
    assert_eq!(parked[0].from.as_deref(), Some("stride-trigger/shop/bad"));
    assert_eq!(world.counts("bad").await, (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_no_deployment_has_any_more_hears_nothing_and_leaves_what_waited_as_dead_letters() {
    let world = world().await;
    let (shop, one) = (name("shop"), name("one"));
    world.deploy(1, &[of_orders("a")]).await;
    world.triggers.pause(&tenant(), &shop, &one).await.unwrap();
    world.publish("orders", json!(1)).await;
    world.until(async || world.counts("one").await.1 == 1).await;
    world.deploy(2, &[]).await;
    world.until(async || world.counts("one").await.2 == 1).await;
    world.publish("orders", json!(2)).await;
    assert_eq!(world.status("one").await.state, State::Gone);
    assert_eq!(world.triggers.resume(&tenant(), &shop, &one).await.unwrap_err().code, Code::NotFound);
    // It comes back with another deployment, and so do its letters.
    world.deploy(3, &[of_orders("a")]).await;
    world.triggers.replay(&tenant(), (&shop, &one), None).await.unwrap();
    assert_eq!(world.heard("a", 1).await, [json!(1)]);
    world.deploy(4, &[]).await;
    let is_gone = async || world.engine.list(&tenant(), &name("stride-trigger"), None, 9).await.unwrap().is_empty();
    world.until(is_gone).await;
    assert!(world.triggers.list(&tenant()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_letters_of_a_trigger_that_is_gone_can_be_dropped() {
    let world = world().await;
    let (shop, one) = (name("shop"), name("one"));
    world.deploy(1, &[of_orders("$.data.id")]).await;
    world.publish("orders", json!({})).await;
    world.until(async || world.counts("one").await.2 == 1).await;
    world.deploy(2, &[]).await;
    assert_eq!(world.triggers.drop_letters(&tenant(), (&shop, &one), None).await.unwrap(), 1);
    world.until(async || world.triggers.list(&tenant()).await.unwrap().is_empty()).await;
    let failure = world.triggers.drop_letters(&tenant(), (&shop, &one), None).await.unwrap_err();
    assert_eq!(failure.code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind_changes_nothing_and_a_new_source_takes_the_place_of_the_old_one() {
    let world = world().await;
    world.deploy(1, &[of_orders("a")]).await;
    world.deploy(5, &[tells("one", json!({"topic": "news"}), "b")]).await;
    world.deploy(3, &[of_orders("a")]).await;
    world.deploy(4, &[]).await;
    world.publish("orders", json!("old")).await;
    world.publish("news", json!("new")).await;
    world.declare(5, &[tells("one", json!({"topic": "news"}), "b")]);
    assert_eq!(world.heard("b", 1).await, [json!("new")]);
    assert_eq!(world.hearing("a").await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_route_is_listed_and_keeps_nothing_and_a_missing_target_is_said() {
    let world = world().await;
    let route = json!({"name": "api", "http": "POST /orders/{id}", "function": "nothing"});
    world.deploy(1, &[route]).await;
    let status = world.status("api").await;
    assert_eq!(
        (status.source.as_deref(), status.target.as_deref()),
        (Some("http POST /orders/{id}"), Some("function shop/nothing"))
    );
    assert!(status.why.unwrap().contains("something"));
    let failure = world.triggers.pause(&tenant(), &name("shop"), &name("api")).await.unwrap_err();
    assert!(failure.code == Code::InvalidRequest && failure.message.contains("route"), "{failure}");
    let failure = world.triggers.pause(&tenant(), &name("shop"), &name("apy")).await.unwrap_err();
    assert!(failure.code == Code::NotFound && failure.message.contains("shop/api"), "{failure}");
}
