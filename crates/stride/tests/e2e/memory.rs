//! Memory that agents hold between their turns.

use serde_json::json;
use stride_sim::Clock;

use crate::support::{Node, data};

/// What `stride_guest_memory_bytes` says.
async fn held(node: &Node) -> u64 {
    let metrics = node.get("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("stride_guest_memory_bytes ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn agents_that_hold_too_much_together_leave_memory_and_those_that_hold_nothing_stay() {
    let (_dir, data) = data();
    let node = Node::start_configured(&data, "guest_memory_mib = 64");
    node.deploy("faulty").await;
    let hold = async |key: &str, mib: u32| node.ask(&format!("hoarder/{key}"), "hold", &mib.to_string()).await.json();
    assert_eq!(hold("modest", 0).await, json!([1, 1]));
    assert_eq!(node.ask("hoarder/modest", "is_scarce", "").await.json(), json!(false));

    assert_eq!(hold("first", 20).await, json!([1, 1]));
    assert_eq!(hold("second", 20).await, json!([1, 1]));
    assert_eq!(hold("third", 20).await, json!([1, 1]));
    assert!(held(&node).await >= 60 << 20);
    assert_eq!(node.ask("hoarder/modest", "is_scarce", "").await.json(), json!(true));

    // Together they hold too much now. Who has not been used for the longest leaves, and its state stays.
    assert_eq!(hold("second", 20).await, json!([2, 2]));
    hold("fourth", 20).await;
    for _ in 0..1_000 {
        if held(&node).await <= 64 << 20 {
            break;
        }
        Clock::real().sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(held(&node).await <= 64 << 20, "nobody left");
    assert_eq!(hold("second", 0).await, json!([3, 3]), "it was used after the first one");
    assert_eq!(hold("first", 0).await, json!([2, 1]), "it has not left, or has lost its state");
    assert_eq!(hold("modest", 0).await, json!([2, 2]), "nothing is gained if it leaves");
}
