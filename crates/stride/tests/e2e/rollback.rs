//! New versions, agents that refuse them, and the way back, through the real binary and HTTP.

use crate::{
    cli::{prints, stderr, stride},
    support::{Node, Reply, data, examples, replaced, root},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Deploys a version of the example `faulty`, whose agent `fragile` says what each can do.
pub(crate) async fn deploy_version(node: &Node, version: u8) -> Value {
    let text = |version| format!("this is fragile version {version}").into_bytes();
    let component = replaced(&std::fs::read(examples().join("faulty.wasm")).unwrap(), &text(1), &text(version));
    let manifest = std::fs::read_to_string(root().join("examples/faulty/stride.toml")).unwrap();
    node.deploy_bytes(component, &manifest).await.json_of(StatusCode::CREATED)
}

async fn roll_back(node: &Node, id: &Value) -> Reply {
    Reply::of(node.post(&format!("/v1/deployments/{}/rollback", id.as_str().unwrap()), "")).await
}

#[tokio::test]
async fn a_rollback_puts_the_deployment_before_in_force_and_is_refused_when_there_is_none() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let first = deploy_version(&node, 1).await;
    assert_eq!(first["replaced"], json!(null));
    roll_back(&node, &first["id"]).await.fails_with("not_found", "deploy the version that you want");
    roll_back(&node, &json!("dep-0")).await.fails_with("not_found", "no deployment `dep-0`");
    let refused = stride(&node.url, &["rollback", "faulty"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("no deployment of faulty before"), "{}", stderr(&refused));
    assert!(stderr(&stride(&node.url, &["rollback", "nothing"])).contains("stride deployments"));

    let second = deploy_version(&node, 2).await;
    assert_eq!(second["replaced"], json!({"id": first["id"], "version": first["version"]}));
    roll_back(&node, &first["id"]).await.fails_with("conflict", "not in force any more");
    assert_eq!(node.ask("fragile/a", "take", "1").await.json(), json!(1));
    let said = prints(&node, &["rollback", "faulty"]);
    assert!(said.contains(first["version"].as_str().unwrap()), "{said}");
    let in_force = |listed: &Value| listed["deployments"][0].clone();
    let back = in_force(&node.get("/v1/deployments").await.json());
    assert_eq!((&back["version"], &back["replaced"]["id"]), (&first["version"], &second["id"]));
    assert_ne!(back["id"], first["id"]);
    node.ask("fragile/b", "take", "1").await.fails_with("guest_trap", "version 1");

    // Also after a crash; and going back from having gone back is going forth.
    node.kill();
    let node = Node::start(&data);
    assert_eq!(in_force(&node.get("/v1/deployments").await.json()), back);
    let forth = roll_back(&node, &back["id"]).await.json_of(StatusCode::CREATED);
    assert_eq!(forth["version"], second["version"]);
    assert_eq!(node.ask("fragile/b", "take", "1").await.json(), json!(1));
}

#[tokio::test]
async fn an_agent_that_refuses_a_version_stays_with_the_one_before_also_after_a_restart_and_operators_see_it() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let good = deploy_version(&node, 2).await;
    assert_eq!(node.ask("fragile/a", "take", "1").await.json(), json!(1));
    let bad = deploy_version(&node, 3).await;
    assert_eq!(node.get("/v1/deployments").await.json()["deployments"][0]["refused"], json!(null));
    assert_eq!(node.ask("fragile/a", "take", "2").await.json(), json!(2));
    let refused = node.get("/v1/deployments").await.json()["deployments"][0]["refused"].clone();
    assert_eq!((&refused["agents"], &refused["example"]), (&json!(1), &json!("fragile/a")));
    assert!(refused["cause"]["message"].as_str().unwrap().contains("version 3"), "{refused}");
    let table = prints(&node, &["deployments"]);
    assert!(table.contains("1 agent stays") && table.contains("stride rollback faulty"), "{table}");
    let shown = node.get("/v1/agents/fragile/a").await.json();
    assert_eq!((&shown["version"], &shown["refused"]), (&good["version"], &bad["version"]));

    node.kill();
    let node = Node::start(&data);
    assert_eq!(node.ask("fragile/a", "take", "3").await.json(), json!(3));
    // An agent that never was on the version before has nothing to stay with.
    node.ask("fragile/b", "take", "1").await.fails_with("guest_trap", "version 3");
    prints(&node, &["rollback", "faulty"]);
    assert_eq!(node.ask("fragile/b", "take", "1").await.json(), json!(1));
    assert_eq!(node.get("/v1/agents/fragile/a").await.json()["turns"], 3);
}

#[tokio::test]
async fn a_component_migrates_what_another_version_left_once_and_one_that_cannot_is_refused() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy_version(&node, 2).await;
    assert_eq!(node.ask("fragile/a", "take", "1").await.json(), json!(1));
    assert_eq!(node.ask("fragile/a", "moved", "").await.json(), json!(""));
    deploy_version(&node, 5).await;
    // A method that only reads sees the new shape, and leaves the old one.
    assert_eq!(node.ask("fragile/a", "moved", "").await.json(), json!("5"));
    for n in [2, 3] {
        assert_eq!(node.ask("fragile/a", "take", &n.to_string()).await.json(), json!(n));
    }
    node.kill();
    let node = Node::start(&data);
    assert_eq!(node.ask("fragile/a", "moved", "").await.json(), json!("5"));

    deploy_version(&node, 4).await;
    assert_eq!(node.ask("fragile/a", "take", "4").await.json(), json!(4));
    assert_eq!(node.ask("fragile/a", "moved", "").await.json(), json!("5"));
    let refused = node.get("/v1/deployments").await.json()["deployments"][0]["refused"].clone();
    assert!(refused["cause"]["message"].as_str().unwrap().contains("version 4 cannot read"), "{refused}");
    // An agent that begins on it has nothing to read.
    assert_eq!(node.ask("fragile/b", "take", "1").await.json(), json!(1));
    prints(&node, &["rollback", "faulty"]);
    assert_eq!(node.ask("fragile/a", "taken", "").await.json(), json!([1, 2, 3, 4]));
    assert_eq!(node.ask("fragile/b", "moved", "").await.json(), json!("5"));
}

#[tokio::test]
async fn a_catalog_of_release_0_1_opens_and_goes_on() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let first = deploy_version(&node, 2).await;
    assert_eq!(node.ask("fragile/a", "take", "1").await.json(), json!(1));
    assert!(node.terminate().success());
    let path = data.join("deployments/default.faulty.json");
    let now: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut old = now["in_force"].clone();
    old["format"] = json!(1);
    old["tenant"] = now["tenant"].clone();
    old["deployment"].as_object_mut().unwrap().remove("replaced");
    std::fs::write(&path, old.to_string()).unwrap();

    let node = Node::start(&data);
    assert_eq!(node.ask("fragile/a", "take", "3").await.json(), json!(2));
    roll_back(&node, &first["id"]).await.fails_with("not_found", "before");
    deploy_version(&node, 1).await;
    prints(&node, &["rollback", "faulty"]);
    assert_eq!(node.ask("fragile/a", "take", "5").await.json(), json!(3));
}

#[tokio::test]
async fn deploy_says_how_to_go_back_once_it_replaced_something() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let project = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(root().join("examples/faulty/stride.toml")).unwrap();
    let artifact = format!("artifact = {:?}", examples().join("faulty.wasm"));
    let manifest = manifest.lines().map(|line| if line.starts_with("artifact") { &artifact } else { line });
    std::fs::write(project.path().join("stride.toml"), manifest.collect::<Vec<_>>().join("\n")).unwrap();
    let deploy = ["deploy", "--no-build", project.path().to_str().unwrap()];
    assert!(!prints(&node, &deploy).contains("stride rollback"));
    deploy_version(&node, 2).await;
    assert!(prints(&node, &deploy).contains("to go back: stride rollback faulty"));
}
