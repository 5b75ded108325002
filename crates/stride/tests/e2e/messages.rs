//! What guests say to each other, through the real binary and real components.

use serde_json::{Value, json};

use crate::support::{Node, data};

/// A node whose `post` agents may reach each other.
async fn node(data: &std::path::Path) -> Node {
    let node = Node::start(data);
    let manifest = "name = \"faulty\"\n[capabilities]\nagents = [\"post/*\"]";
    assert_eq!(node.deploy_with("faulty", manifest).await.status, 201);
    node
}

async fn got(node: &Node, key: &str) -> Value {
    node.ask(&format!("post/{key}"), "got", "").await.json()
}

/// Waits until an agent has got that.
async fn gets(node: &Node, key: &str, expected: Value) {
    let mut last = Value::Null;
    for _ in 0..20_000 {
        last = got(node, key).await;
        if last == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{key} has {last} and not {expected}");
}

#[tokio::test]
async fn a_guests_messages_arrive_once_and_in_order_also_after_sigkill() {
    let (_dir, data) = data();
    let first = node(&data).await;
    assert_eq!(first.ask("post/a", "tell", r#"["b", 50]"#).await.status, 200);
    first.kill();
    let again = Node::start(&data);
    let expected: Vec<String> = (0..50).map(|n: u32| n.to_string()).collect();
    gets(&again, "b", json!(expected)).await;
    assert_eq!(again.call("faulty/posts", r#"["c", "from a function"]"#).await.status, 200);
    gets(&again, "c", json!(["from a function"])).await;
    assert_eq!(got(&again, "b").await, json!(expected));
}

#[tokio::test]
async fn a_turn_that_fails_and_a_method_that_only_reads_tell_nobody() {
    let (_dir, data) = data();
    let node = node(&data).await;
    node.ask("post/a", "tell_then_fail", "\"b\"").await.fails_with("guest_error", "after telling");
    node.ask("post/a", "tell_while_reading", "\"b\"").await.fails_with("capability_denied", "&mut self");
    let over = stride_limit() + 1;
    node.ask("post/a", "tell_too_much", &format!("[\"b\", {over}]")).await.fails_with("payload_too_large", "");
    assert_eq!(node.ask("post/a", "tell", r#"["b", 1]"#).await.status, 200);
    gets(&node, "b", json!(["0"])).await;
}

/// The limit of a payload, as the documentation says it.
fn stride_limit() -> usize {
    4 << 20
}

#[tokio::test]
async fn agents_tell_only_whom_their_capabilities_name() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    node.ask("post/a", "tell", r#"["b", 1]"#).await.fails_with("capability_denied", "[capabilities]");
    node.call("faulty/posts", r#"["b", "x"]"#).await.fails_with("capability_denied", "[capabilities]");
    assert_eq!(got(&node, "b").await, json!([]));
}

#[tokio::test]
async fn agents_ask_each_other_within_their_turns_and_a_circle_is_refused() {
    let (_dir, data) = data();
    let node = node(&data).await;
    assert_eq!(node.ask("post/c", "note", "\"x\"").await.status, 200);
    assert_eq!(node.ask("post/a", "ask_along", r#"[["b", "c"]]"#.trim()).await.status, 400);
    assert_eq!(node.ask("post/a", "ask_along", r#"["b", "c"]"#).await.json(), json!(1));
    for circle in [r#"["a"]"#, r#"["b", "a"]"#, r#"["b", "c", "b"]"#] {
        node.ask("post/a", "ask_along", circle).await.fails_with("reentrant_call", "would wait for each other");
    }
    let (one, other) = futures::join!(
        node.ask("post/a", "ask_along", r#"["b", "a"]"#),
        node.ask("post/b", "ask_along", r#"["a", "b"]"#)
    );
    one.fails_with("reentrant_call", "");
    other.fails_with("reentrant_call", "");
    assert_eq!(node.ask("post/a", "ask_along", "[]").await.json(), json!(0));
}

#[tokio::test]
async fn timers_are_set_listed_cancelled_and_fire_also_if_they_were_due_while_the_node_was_down() {
    let (_dir, data) = data();
    let first = node(&data).await;
    first.ask("post/a", "schedule", "\"no cron\"").await.fails_with("invalid_request", "no cron");
    assert_eq!(first.ask("post/a", "schedule", "\"0 0 1 1 *\"").await.status, 200);
    assert_eq!(first.ask("post/a", "begin", "3600000").await.status, 200);
    assert_eq!(first.ask("post/a", "timers", "").await.json(), json!(["again", "planned"]));
    assert_eq!(first.ask("post/a", "cancel", "\"planned\"").await.json(), json!(true));
    assert_eq!(first.ask("post/a", "cancel", "\"planned\"").await.json(), json!(false));
    assert_eq!(first.ask("post/a", "begin", "3600000").await.status, 200);
    assert_eq!(first.ask("post/a", "timers", "").await.json(), json!(["again"]));
    assert_eq!(first.ask("post/b", "remind", "1").await.status, 200);
    gets(&first, "b", json!(["once+0"])).await;
    assert_eq!(first.ask("post/c", "remind", "300").await.status, 200);
    first.kill();
    let again = Node::start(&data);
    gets(&again, "c", json!(["once+0"])).await;
    assert_eq!(got(&again, "b").await, json!(["once+0"]));
    assert_eq!(got(&again, "a").await, json!([]));
}
