//! Messages and asks from agent to agent.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_tell_takes_effect_once_however_often_its_key_is_repeated() {
    let world = World::new().await;
    let first = world.tell("a", "note", "x", Some("key")).await.unwrap();
    let second = world.tell("a", "note", "x", Some("key")).await.unwrap();
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(first.message, second.message);
    assert_eq!(world.tell("a", "note", "y", Some("key")).await.unwrap_err().code, Code::Conflict);
    world.quiet().await;
    assert_eq!(world.all("a").await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_tell_of_what_does_not_exist_or_is_too_large_is_refused() {
    let world = World::new().await;
    assert_eq!(world.tell("a", "sing", "", None).await.unwrap_err().code, Code::NotFound);
    let large = "x".repeat(Payload::LEN_MAX + 1);
    assert_eq!(world.tell("a", "note", &large, None).await.unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(world.engine.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_between_two_agents_arrive_once_and_in_order_whichever_cells_they_are_in() {
    let world = World::new().await;
    let expected: Vec<String> = (0..20).map(|n: u32| n.to_string()).collect();
    for key in ["b", "c", "d", "e", "f", "g"] {
        world.ask("a", "fan", key).await.unwrap();
        world.quiet().await;
        assert_eq!(world.all(key).await, expected.join(" "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_accepted_is_handled_after_a_restart() {
    let world = World::new().await;
    world.engine.stop_handling().await;
    world.tell("a", "note", "x", None).await.unwrap();
    world.ask("b", "pass", "c").await.unwrap();
    assert!(world.engine.stats().waiting > 0);
    let world = world.restart_after(Duration::ZERO).await;
    world.quiet().await;
    assert_eq!((world.all("a").await, world.all("c").await), ("x".into(), "passed".into()));
}

#[tokio::test(start_paused = true)]
async fn what_always_fails_is_parked_with_its_cause_and_leaves_no_trace_while_others_go_on() {
    let world = World::new().await;
    world.tell("a", "fail", "", None).await.unwrap();
    world.tell("a", "note", "x", None).await.unwrap();
    world.quiet().await;
    assert_eq!((world.all("a").await, world.all("other").await), ("x".into(), String::new()));
    let parked = world.engine.parked(&Name::default_tenant(), None, 10).unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].attempts, parked[0].method.as_str(), parked[0].version.as_deref()), (5, "fail", Some("0")));
    assert_eq!(parked[0].cause, Failure::new(Code::GuestTrap, "it always fails"));

    let world = world.restart_after(Duration::ZERO).await;
    assert_eq!(world.engine.stats().parked, 1);
    world.bodies.version.store(1, Ordering::Relaxed);
    assert_eq!(world.engine.resume(&agent("a")).await.unwrap(), 1);
    world.quiet().await;
    assert_eq!(world.all("a").await, "x (0->1) never mended");
    assert_eq!(world.engine.stats().parked, 0);
    assert_eq!(world.engine.resume(&agent("a")).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_tried_again_asks_nothing_twice() {
    let world = World::new().await;
    let later = (world.clock.timestamp() + 400).to_string();
    world.tell("a", "fail_twice", &later, None).await.unwrap();
    world.quiet().await;
    assert_eq!((world.all("a").await, world.all("other").await), ("done".into(), "asked".into()));
    assert!(world.engine.stats().failed > 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_asks_another_one_within_its_turn() {
    let world = World::new().await;
    world.ask("b", "note", "x").await.unwrap();
    world.ask("a", "ask", "b").await.unwrap();
    assert_eq!(world.all("a").await, "[x ]");
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_asks_is_refused_wherever_it_begins() {
    let world = World::new().await;
    for circle in ["a x", "b a x", "b c a x"] {
        assert_eq!(world.ask("a", "circle", circle).await.unwrap_err().code, Code::ReentrantCall);
    }
    let both = futures::join!(world.ask("a", "circle", "b a x"), world.ask("b", "circle", "a b x"));
    assert!([both.0, both.1].iter().all(|answer| answer.as_ref().is_err_and(|e| e.code == Code::ReentrantCall)));
    world.ask("a", "note", "usable").await.unwrap();
    assert_eq!(world.all("a").await, "usable");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_tells_an_agent_of_a_type_that_was_never_deployed_fails_and_one_that_was_is_told() {
    let world = World::new().await;
    let failure = world.ask("a", "stray", "nobody").await.unwrap_err();
    assert_eq!(failure.code, Code::NotFound, "{failure}");
    assert!(failure.message.contains("agent type `nobody`"), "{failure}");
    // Deployed once and not any more: what it is told is kept for it.
    world.layout.declare(&Name::default_tenant(), &[(Name::new("nobody").unwrap(), None)].into());
    world.ask("a", "stray", "nobody").await.unwrap();
}
