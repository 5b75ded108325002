//! Topics, and triggers that hear of their messages.

use serde_json::{Value, json};
use stride_ids::{Code, Payload};
use stride_triggers::{EVENT_LEN_MAX, TOPICS};

use crate::world::{name, tells, tenant, world};

fn event(id: &str, data: Value) -> Payload {
    let event = json!({"specversion": "1.0", "id": id, "source": "/till", "type": "paid", "data": data});
    Payload { content_type: "application/cloudevents+json".into(), body: event.to_string().into() }
}

#[tokio::test(start_paused = true)]
async fn each_subscriber_is_told_of_each_message_once_and_in_their_order() {
    let world = world().await;
    let topic = json!({"topic": "orders"});
    world.deploy(1, &[tells("one", topic.clone(), "a"), tells("two", topic, "b")]).await;
    for n in 0..50 {
        world.publish("orders", json!(n)).await;
    }
    world.publish("others", json!("never")).await;
    let expected: Vec<_> = (0..50).map(|n| json!(n)).collect();
    assert_eq!(world.heard("a", 50).await, expected);
    assert_eq!(world.heard("b", 50).await, expected);
    // What has a target is told again by nobody.
    let world = world.restarted_after(std::time::Duration::from_secs(1)).await;
    world.publish("orders", json!("after")).await;
    assert_eq!(world.heard("a", 51).await.last(), Some(&json!("after")));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_without_input_hands_on_the_event_and_a_flow_gets_one_run_per_event() {
    let world = world().await;
    world.deploy(1, &[json!({"name": "begin", "topic": "orders", "flow": "order"})]).await;
    for id in ["a", "b", "a"] {
        world.triggers.publish(&tenant(), &name("orders"), event(id, json!(id)), (None, None)).await.unwrap();
    }
    world.until(async || world.counts("begin").await.0 == 2).await;
    let runs = world.engine.list(&tenant(), &name("flow"), None, 10).await.unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert!(run.key.as_str().starts_with("order/begin-"), "{run}");
        let heard = world.heard(run.key.as_str(), 1).await;
        assert_eq!((&heard[0]["source"], &heard[0]["type"]), (&json!("/till"), &json!("paid")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_the_same_source_and_id_is_taken_once() {
    let world = world().await;
    let publish = async |id: &str| {
        world.triggers.publish(&tenant(), &name("orders"), event(id, json!(1)), (None, None)).await.unwrap()
    };
    let first = publish("x").await;
    assert!(!first.duplicate && !publish("y").await.duplicate);
    let again = publish("x").await;
    assert_eq!((again.number, again.duplicate), (first.number, true));
    let window = world.triggers.read(&tenant(), &name("orders"), None, 10).await.unwrap();
    assert_eq!((window.messages.len(), window.last), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_window_is_read_from_where_the_last_one_ended() {
    let world = world().await;
    let read = async |after, limit| world.triggers.read(&tenant(), &name("t"), after, limit).await.unwrap();
    assert_eq!((read(None, 10).await.messages.len(), read(None, 10).await.last), (0, 0));
    for n in 1..=5 {
        world.publish("t", json!(n)).await;
    }
    let window = read(Some(1), 2).await;
    let numbers: Vec<_> = window.messages.iter().map(|message| message.number).collect();
    assert_eq!((numbers, window.first, window.last), (vec![2, 3], 1, 5));
    assert_eq!(window.messages[0].event["data"], json!(2));
    assert_eq!(window.messages[0].event["source"], json!("/topics/t"));
    assert_eq!(read(Some(5), 10).await.messages, []);
    // The same by a message, as guests and flows read.
    let read = world.ask(TOPICS, "t", "read", json!({"after": 4})).await.unwrap();
    let read: Value = serde_json::from_slice(&read.body).unwrap();
    assert_eq!(read["messages"][0]["event"]["data"], json!(5));
    let failure = world.ask(TOPICS, "t", "read", json!({"form": 4})).await.unwrap_err();
    assert!(failure.code == Code::InvalidRequest && failure.message.contains("after"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_keeps_the_newest_messages_and_forgets_who_sent_the_others() {
    let world = world().await;
    let first = event("first", json!(0));
    world.triggers.publish(&tenant(), &name("t"), first.clone(), (None, None)).await.unwrap();
    for n in 0..10_000 {
        world.publish("t", json!(n)).await;
    }
    let window = world.triggers.read(&tenant(), &name("t"), None, 1).await.unwrap();
    assert_eq!((window.first, window.messages[0].number, window.last), (2, 2, 10_001));
    assert!(!world.triggers.publish(&tenant(), &name("t"), first, (None, None)).await.unwrap().duplicate);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_event_too_large_or_no_topic_is_refused() {
    let world = world().await;
    let publish =
        async |payload| world.triggers.publish(&tenant(), &name("t"), payload, (None, None)).await.unwrap_err();
    let failure = publish(Payload::json("1".repeat(EVENT_LEN_MAX))).await;
    assert!(failure.code == Code::PayloadTooLarge && failure.message.contains("object"), "{failure}");
    let event = Payload { content_type: "application/cloudevents+json".into(), body: "{}".into() };
    assert_eq!(publish(event).await.code, Code::InvalidRequest);
    let failure = world.ask(TOPICS, "a/b", "publish", json!(1)).await.unwrap_err();
    assert_eq!(failure.code, Code::InvalidRequest);
    assert_eq!(world.triggers.topics(&tenant(), None, 10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn nobody_outside_the_platform_subscribes() {
    let world = world().await;
    let binding = Payload { content_type: "application/octet-stream".into(), body: vec![1, b'x'].into() };
    let address =
        stride_ids::Address { tenant: tenant(), kind: TOPICS.name(), key: stride_ids::AgentKey::new("t").unwrap() };
    for method in ["subscribe", "unsubscribe"] {
        let ask = stride_agents::Ask {
            address: address.clone(),
            method: method.into(),
            input: binding.clone(),
            idempotency_key: None,
            trace: None,
        };
        let failure = world.engine.ask(ask).await.unwrap_err();
        assert!(failure.code == Code::CapabilityDenied && failure.message.contains("[[triggers]]"), "{failure}");
    }
}
