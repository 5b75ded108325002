//! What operators see of a node beside its agents, through the real binary and HTTP.

use crate::{
    cli::prints,
    rollback::deploy_version,
    support::{Node, Reply, data},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn the_cells_of_a_node_say_how_far_they_are() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy_version(&node, 2).await;
    let before = node.get("/v1/cells").await.json();
    node.ask("fragile/a", "take", "1").await.json();
    let cell = node.get("/v1/agents/fragile/a").await.json()["cell"].as_u64().unwrap() as usize;
    let after = node.get("/v1/cells").await.json();
    let number = |cells: &Value, name: &str| cells["cells"][cell][name].as_u64().unwrap();
    assert_eq!(number(&after, "last"), number(&before, "last") + 1);
    assert_eq!(number(&after, "durable"), number(&after, "last"));
    assert_eq!(number(&after, "tail"), number(&after, "last") - number(&after, "stored"));
    node.kill();
    let node = Node::start(&data);
    let cells = node.get("/v1/cells").await.json();
    assert!(number(&cells, "epoch") > number(&after, "epoch"));
    let table = prints(&node, &["cells"]);
    assert_eq!(table.lines().count(), 65, "{table}");
}

#[tokio::test]
async fn deployments_and_edits_of_state_are_in_the_audit_log_with_whose_they_are_and_a_refused_edit_is_not() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy_version(&node, 1).await;
    deploy_version(&node, 2).await;
    node.ask("fragile/a", "take", "2").await.json();
    let put =
        |agent: &str| node.request(Method::PUT, &format!("/v1/agents/fragile/{agent}/state")).body("{\"taken\":[]}");
    assert_eq!(Reply::of(put("a")).await.status, StatusCode::NO_CONTENT);
    Reply::of(put("b")).await.fails_with("not_found", "fragile/b");
    assert_eq!(node.ask("fragile/a", "taken", "").await.json(), json!([]));
    prints(&node, &["rollback", "faulty"]);
    let log = std::fs::read_to_string(data.with_extension("stderr")).unwrap();
    let audited: Vec<_> = log.lines().filter(|line| line.contains("stride::audit")).collect();
    let [deployed, again, edited, back] = audited[..] else { panic!("not four lines of audit: {log}") };
    for line in [deployed, again] {
        assert!(line.contains("deployed") && line.contains("default") && line.contains("faulty"), "{log}");
    }
    assert!(edited.contains("state edited") && edited.contains("default/fragile/a"), "{log}");
    assert!(back.contains("rolled back") && back.contains("default") && back.contains("faulty"), "{log}");
}
