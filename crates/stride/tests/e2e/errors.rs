//! Every error code that exists so far, provoked by wrong input. After each the node is alive and nothing is lost.

use crate::support::{Node, Reply, data, examples, replaced};
use reqwest::{Method, StatusCode};
use serde_json::json;

async fn node_with_a_ledger(data: &std::path::Path) -> Node {
    let node = Node::start(data);
    node.deploy("faulty").await;
    assert_eq!(node.ask("ledger/kept", "add", "41").await.json(), json!(41));
    node
}

/// The node answers, and what was acknowledged before is there.
async fn is_well(node: &Node) {
    assert_eq!(node.get("/readyz").await.status, 200);
    assert_eq!(node.ask("ledger/kept", "total", "").await.json(), json!(41));
    assert_eq!(node.call("faulty/echo", "1").await.json(), json!(1));
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is_near() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    node.call("fautly/echo", "1").await.fails_with("not_found", "did you mean `faulty`?");
    node.call("faulty/ecko", "1").await.fails_with("not_found", "did you mean `echo`?");
    node.ask("leger/a", "total", "").await.fails_with("not_found", "did you mean `ledger`?");
    node.ask("ledger/a", "totals", "").await.fails_with("not_found", "it has: add, ");
    node.get("/v1/agents/ledger/nobody").await.fails_with("not_found", "ledger/nobody");
    node.get("/v1/agents/ledger/kept/state/none").await.fails_with("not_found", "state key `none`");
    node.get("/v2/agents").await.fails_with("not_found", "/openapi.json");
    is_well(&node).await;
}

#[tokio::test]
async fn wrong_requests_say_what_is_wrong() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let invalid = "invalid_request";
    node.ask("ledger/a", "add", "{not json").await.fails_with(invalid, "argument `n`");
    node.ask("ledger/a", "add", "\"five\"").await.fails_with(invalid, "argument `n`");
    node.ask("ledger/a", "put", "[\"only a key\"]").await.fails_with(invalid, "[key, value]");
    node.ask("9ledger/a", "add", "1").await.fails_with(invalid, "start with a letter");
    node.ask("ledger/a", "add?mode=shout", "1").await.fails_with(invalid, "mode `shout`");
    node.get("/v1/agents/ledger?limit=0").await.fails_with(invalid, "use 1 to 1000");
    node.get("/v1/agents/ledger?limt=1").await.fails_with(invalid, "limt");
    let put = node.request(Method::PUT, "/v1/functions/faulty/echo").body("1");
    Reply::of(put).await.fails_with(invalid, "does not take PUT");
    let late = node.post("/v1/functions/faulty/echo", "1").header("stride-deadline-ms", "soon");
    Reply::of(late).await.fails_with(invalid, "Stride-Deadline-Ms");
    let tenant = node.post("/v1/functions/faulty/echo", "1").header("stride-tenant", "a/b");
    Reply::of(tenant).await.fails_with(invalid, "not a valid name");
    is_well(&node).await;
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_this_one() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let other = |method, path: &str| Reply::of(node.request(method, path).header("stride-tenant", "other"));
    other(Method::POST, "/v1/functions/faulty/echo").await.fails_with("not_found", "component `faulty`");
    other(Method::POST, "/v1/agents/ledger/kept/total").await.fails_with("not_found", "agent type `ledger`");
    other(Method::GET, "/v1/agents/ledger/kept").await.fails_with("not_found", "ledger/kept");
    assert_eq!(other(Method::GET, "/v1/agents/ledger").await.json()["agents"], json!([]));
    assert_eq!(other(Method::GET, "/v1/logs").await.json()["lines"], json!([]));
    assert_eq!(other(Method::GET, "/v1/deployments").await.json()["deployments"], json!([]));
}

#[tokio::test]
async fn too_much_is_refused_at_the_edge() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let code = "payload_too_large";
    let limit = 4 << 20;
    assert_eq!(node.call("faulty/echo", &"x".repeat(limit)).await.status, 200);
    let reply = node.call("faulty/echo", &"x".repeat(limit + 1)).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    reply.fails_with(code, "limit");
    node.ask("ledger/a", "put", &"x".repeat(limit + 1)).await.fails_with(code, "limit");
    node.call("faulty/answers_too_much", &(limit + 1).to_string()).await.fails_with(code, "reply");
    // More state than fits into one record is refused before anything is written.
    node.ask("ledger/a", "bulk", "[40, 100000]").await.fails_with(code, "several turns");
    assert_eq!(node.ask("ledger/a", "list", "\"bulk/\"").await.json(), json!([]));
    is_well(&node).await;
}

#[tokio::test]
async fn guests_that_misbehave_end_with_the_code_that_says_how() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    node.call("faulty/panics", "").await.fails_with("guest_trap", "on purpose");
    node.call("faulty/recurses", "0").await.fails_with("guest_trap", "stack");
    node.call("faulty/fails", "").await.fails_with("guest_error", "no luck");
    node.call("faulty/spin", "").await.fails_with("limit_time", "`timeout` in stride.toml");
    node.call("faulty/hog", "").await.fails_with("limit_memory", "`memory` in stride.toml");
    is_well(&node).await;
}

#[tokio::test]
async fn a_guest_reaches_nothing_that_it_was_not_given() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    node.call("faulty/opens", "\"/etc/hostname\"").await.fails_with("guest_error", "");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("\"{}\"", listener.local_addr().unwrap());
    node.call("faulty/connects", &address).await.fails_with("guest_error", "");
    assert!(futures::poll!(Box::pin(listener.accept())).is_pending(), "somebody connected");
    node.call("faulty/writes_state", "").await.fails_with("capability_denied", "only an agent has state");
    node.call("faulty/asks", r#"["ledger", "kept", "add", 1]"#).await.fails_with("capability_denied", "may not reach");
    node.ask("ledger/a", "asks_another", "\"kept\"").await.fails_with("capability_denied", "may not reach");
    is_well(&node).await;
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_the_agent_goes_on() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let hurry = |path: &str, body: &'static str| node.post(path, body).header("stride-deadline-ms", "50");
    Reply::of(hurry("/v1/functions/faulty/sleeps", "900")).await.fails_with("deadline_exceeded", "50 ms");
    Reply::of(hurry("/v1/agents/ledger/a/add_then_spin", "1")).await.fails_with("deadline_exceeded", "50 ms");
    assert_eq!(node.ask("ledger/a", "add", "1").await.json(), json!(1));
    is_well(&node).await;
}

#[tokio::test]
async fn a_deployment_that_is_wrong_changes_nothing() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let name = "name = \"faulty\"";
    let component = std::fs::read(examples().join("faulty.wasm")).unwrap();
    for (bytes, manifest, code, says) in [
        (&b"not wasm at all"[..], name, "invalid_request", "not a WebAssembly component"),
        (b"\0asm\x01\0\0\0", name, "invalid_request", "core WebAssembly module"),
        (&component[..component.len() / 2], name, "invalid_request", "not valid"),
        (&component, "nmae = \"faulty\"", "invalid_request", "did you mean `name`?"),
        (
            &component,
            "name = \"faulty\"\n[functions.echo]\nmemroy = \"1MiB\"",
            "invalid_request",
            "did you mean `memory`?",
        ),
        (&component, "name = \"faulty\"\n[functions.ecko]", "invalid_request", "did you mean `echo`?"),
        (&component, "name = \"faulty\"\n[agents.legder]", "invalid_request", "did you mean `ledger`?"),
        (&component, "name = \"another\"", "conflict", "served by component `faulty` already"),
    ] {
        node.deploy_bytes(bytes.to_vec(), manifest).await.fails_with(code, says);
    }
    let only_manifest = reqwest::multipart::Form::new().text("manifest", name);
    let missing = node.request(Method::POST, "/v1/deployments").multipart(only_manifest);
    Reply::of(missing).await.fails_with("invalid_request", "the field component is missing");
    let no_form = node.post("/v1/deployments", "{}");
    Reply::of(no_form).await.fails_with("invalid_request", "multipart/form-data");
    assert_eq!(node.get("/v1/deployments").await.json()["deployments"].as_array().unwrap().len(), 1);
    is_well(&node).await;
}

#[tokio::test]
async fn a_component_that_declares_an_agent_type_of_the_platform_is_refused_by_its_name() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let component = std::fs::read(examples().join("faulty.wasm")).unwrap();
    // A name of the same length, so that it can be replaced in the component's bytes.
    let reserved = replaced(&component, b"fragile", b"stride-");
    let refused = node.deploy_bytes(reserved, "name = \"faulty\"").await;
    refused.fails_with("invalid_request", "agent type `stride-` belongs to the platform");
    refused.fails_with("invalid_request", "call it something else");
    assert_eq!(node.get("/v1/deployments").await.json()["deployments"], json!([]));
    node.deploy("faulty").await;
}

#[tokio::test]
async fn a_component_that_imports_what_the_platform_does_not_give_is_refused_by_name() {
    let (_dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let wasm = br#"(component (import "secret:vault/keys@1.0.0" (instance (export "open" (func)))))"#;
    // The text form is for people; the node takes the binary form only.
    node.deploy_bytes(wasm.to_vec(), "name = \"vault\"")
        .await
        .fails_with("invalid_request", "not a WebAssembly component");
    let binary = import_only_component("secret:vault/keys@1.0.0");
    node.deploy_bytes(binary, "name = \"vault\"").await.fails_with("capability_denied", "secret:vault/keys@1.0.0");
    is_well(&node).await;
}

/// The smallest component with one import: an instance that exports a function `open`.
fn import_only_component(import: &str) -> Vec<u8> {
    let section = |id: u8, body: Vec<u8>| [vec![id, u8::try_from(body.len()).unwrap()], body].concat();
    // One type: an instance type that declares a function type and exports `open` with it.
    let instance =
        [&[0x01, 0x42, 0x02][..], &[0x01, 0x40, 0x00, 0x01, 0x00], &[0x04, 0x00, 0x04], b"open", &[0x01, 0x00]]
            .concat();
    let name = [&[0x00, u8::try_from(import.len()).unwrap()], import.as_bytes()].concat();
    let import = [&[0x01][..], &name, &[0x05, 0x00]].concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(7, instance), section(10, import)].concat()
}

#[tokio::test]
async fn a_second_node_on_the_same_data_or_address_is_refused() {
    let (dir, data) = data();
    let node = node_with_a_ledger(&data).await;
    let refused = Node::try_start(&data, &[]).err().unwrap();
    assert!(refused.contains("in use") || refused.contains("another process"), "{refused}");
    let address = node.url.trim_start_matches("http://").to_owned();
    let other = dir.path().join("other");
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "unknown = 1").unwrap();
    let refused = Node::try_start(&other, &["--config", config.to_str().unwrap()]).err().unwrap();
    assert!(refused.contains("unknown"), "{refused}");
    let refused = Node::try_start_at(&other, &address).err().unwrap();
    assert!(refused.contains("--listen"), "{refused}");
    is_well(&node).await;
}

#[tokio::test]
async fn a_node_that_is_told_to_end_finishes_what_it_has_begun() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[functions.sleeps]\ntimeout = \"20s\"";
    assert_eq!(node.deploy_with("faulty", manifest).await.status, 201);
    assert_eq!(node.ask("ledger/kept", "add", "41").await.json(), json!(41));
    let call = tokio::spawn(Reply::of(node.post("/v1/functions/faulty/sleeps", "1000")));
    while !node.get("/metrics").await.body.contains("stride_calls_active{state=\"running\"} 1") {
        tokio::task::yield_now().await;
    }
    let ended = tokio::task::spawn_blocking(move || node.terminate()).await.unwrap();
    assert_eq!(call.await.unwrap().status, 200);
    assert!(ended.success());
    is_well(&Node::start(&data)).await;
}
