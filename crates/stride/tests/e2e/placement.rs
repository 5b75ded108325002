//! Where work may run: what a node says of itself, labels that are kept to, and plans that explain themselves.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{prints, stderr, stride},
    support::{Node, Reply, data},
};

const EU: &str = "price_per_hour = 0.5\nhardware = [\"gpu\"]\n[labels]\nregion = \"eu\"\n";
/// May read what is in `patients`.
const MANIFEST: &str = "name = \"faulty\"\n[capabilities]\nobjects = [\"patients/*:read\", \"out/*:write\"]";

async fn label(node: &Node, bucket: &str, labels: Value) {
    let asked = json!({"labels": labels}).to_string();
    Reply::of(node.request(Method::PUT, &format!("/v1/objects/{bucket}")).body(asked)).await.json();
}

async fn put(node: &Node, name: &str, bytes: &str) {
    let put = node.request(Method::PUT, &format!("/v1/objects/{name}")).body(bytes.to_owned());
    Reply::of(put).await.json_of(StatusCode::CREATED);
}

async fn with_patients(node: &Node) {
    put(node, "patients/7", "0123456789").await;
    label(node, "patients", json!({"region": "eu"})).await;
    node.deploy_with("faulty", MANIFEST).await.json_of(StatusCode::CREATED);
}

async fn reads(node: &Node) -> Reply {
    node.call("faulty/reads", r#"["patients", "7", 2, 3]"#).await
}

/// The refusal names bucket, label and node, and says what to do.
#[track_caller]
fn is_refused(reply: &Reply, says: &str) {
    reply.fails_with("capability_denied", says);
    for part in ["`patients`", "region=eu", reply.headers["stride-node"].to_str().unwrap(), "under [labels]"] {
        reply.fails_with("capability_denied", part);
    }
}

#[tokio::test]
async fn a_node_says_what_it_is_and_how_busy() {
    let (_dir, data) = data();
    let node = Node::start_configured(&data, EU);
    put(&node, "data/a", "0123456789").await;
    Reply::of(node.request(Method::GET, "/v1/objects/data/a")).await;
    let nodes = node.get("/v1/nodes").await.json();
    let this = &nodes["nodes"][0];
    assert!(this["node"].as_str().unwrap().starts_with("nod-"), "{this}");
    assert_eq!(this["address"], json!(node.url));
    assert_eq!((&this["labels"], &this["price_per_hour"]), (&json!({"region": "eu"}), &json!(0.5)));
    assert!(this["hardware"].as_array().unwrap().contains(&json!("gpu")), "{this}");
    assert!(this["cores"].as_u64() >= Some(1) && this["memory_bytes"].as_u64() > Some(1 << 20), "{this}");
    assert_eq!((&this["state"], &this["calls"]), (&json!("ready"), &json!({"running": 0, "waiting": 0})));
    assert_eq!(this["cached_bytes"], json!(10));
    let table = prints(&node, &["nodes"]);
    assert!(table.contains("region=eu") && table.contains(&node.url) && table.contains("10 B"), "{table}");
    let listed: Value = serde_json::from_str(&prints(&node, &["nodes", "--json"])).unwrap();
    assert_eq!((&listed[0]["node"], &listed[0]["calls"]), (&this["node"], &this["calls"]));
}

#[tokio::test]
async fn a_function_runs_where_its_data_may_be_and_is_refused_elsewhere_before_it_begins() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    with_patients(&node).await;
    is_refused(&reads(&node).await, "`faulty/reads` may not run here");
    // What the component may read counts, and not what this call would have read.
    is_refused(&node.call("faulty/echo", "1").await, "`faulty/echo` may not run here");
    // Other data demands nothing, and what is not code reaches its data as before.
    assert_eq!(node.get("/v1/objects/patients/7").await.body, "0123456789");
    label(&node, "patients", json!({})).await;
    assert_eq!(reads(&node).await.json(), json!("234"));
    label(&node, "patients", json!({"region": "us"})).await;
    reads(&node).await.fails_with("capability_denied", "region=us");
    label(&node, "patients", json!({"region": "eu"})).await;
    assert!(node.terminate().success());

    let node = Node::start_configured(&data, EU);
    assert_eq!(reads(&node).await.json(), json!("234"));
    label(&node, "patients", json!({"region": "eu", "clearance": "top"})).await;
    reads(&node).await.fails_with("capability_denied", "clearance=top");
}

#[tokio::test]
async fn an_agent_goes_on_but_reads_nothing_that_may_not_be_here() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    with_patients(&node).await;
    label(&node, "patients", json!({})).await;
    let begin = r#"["patients", "7", 4]"#;
    assert_eq!(node.ask("librarian/a", "begin", begin).await.json(), json!("0123"));
    label(&node, "patients", json!({"region": "eu"})).await;
    is_refused(&node.ask("librarian/a", "go_on", "2").await, "bucket `patients`");
    is_refused(&node.ask("librarian/b", "begin", begin).await, "bucket `patients`");
    node.ask("librarian/b", "puts_then_fails", r#"["out", "x"]"#).await.fails_with("guest_error", "after putting");
    label(&node, "out", json!({"region": "eu"})).await;
    let refused = node.ask("librarian/b", "puts_then_fails", r#"["out", "y"]"#).await;
    refused.fails_with("capability_denied", "bucket `out`");
    node.get("/v1/objects/out/y").await.fails_with("not_found", "out/y");
    assert_eq!(node.ask("ledger/a", "add", "1").await.json(), json!(1));
}

#[tokio::test]
async fn a_map_over_data_that_may_not_be_here_does_not_begin_and_one_that_may_ends() {
    for (config, allowed) in [("", false), (EU, true)] {
        let (_dir, data) = data();
        let node = Node::start_configured(&data, config);
        with_patients(&node).await;
        node.deploy("echo").await;
        let began = async |spec: Value| Reply::of(node.post("/v1/maps", spec.to_string())).await;
        let over = began(json!({"function": "echo/echo", "over": "patients/"})).await;
        put(&node, "data/a", "1").await;
        let out = began(json!({"function": "echo/echo", "over": "data/", "out": "patients/out/"})).await;
        if allowed {
            over.json_of(StatusCode::CREATED);
            out.json_of(StatusCode::CREATED);
        } else {
            is_refused(&over, "`echo/echo` may not run here");
            is_refused(&out, "`echo/echo` may not run here");
            assert_eq!(node.get("/v1/maps").await.json()["maps"], json!([]));
        }
    }
}

#[tokio::test]
async fn a_plan_explains_itself_without_running_anything() {
    let (_dir, data) = data();
    let node = Node::start_configured(&data, EU);
    with_patients(&node).await;
    put(&node, "patients/8/a", "01234").await;
    let explained = node.get("/v1/explain?of=faulty/reads&data=patients/7&data=patients/8/").await.json();
    assert_eq!((&explained["of"], &explained["kind"]), (&json!("faulty/reads"), &json!("function")));
    let (plan, data) = (&explained["plan"], &explained["data"]);
    assert_eq!((&plan["choice"], &plan["referenced_bytes"]), (&json!("lowest"), &json!(15)));
    assert_eq!(plan["candidates"][0]["here_bytes"], json!(15));
    assert_eq!((&data[0]["datum"], &data[0]["cached_bytes"]), (&json!("patients/7"), &json!(0)));
    assert_eq!((&data[1]["datum"], &data[1]["bytes"]), (&json!("patients/8/a"), &json!(5)));
    assert_eq!((&data[2]["datum"], &data[2]["labels"]), (&json!("patients/*"), &json!(["region=eu"])));
    assert_eq!(reads(&node).await.json(), json!("234"));
    let text = prints(&node, &["explain", "faulty/reads", "patients/7"]);
    for part in [
        "faulty/reads is a function",
        ": the lowest score",
        "10 B of 10 B",
        "data: patients/7: 10 B, 10 B of it in memory",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    label(&node, "patients", json!({"region": "us"})).await;
    let text = prints(&node, &["explain", "faulty/reads", "patients/7"]);
    assert!(text.contains("refused (capability_denied)") && text.contains("lacks region=us"), "{text}");
    let json: Value = serde_json::from_str(&prints(&node, &["explain", "faulty/reads", "--json"])).unwrap();
    assert_eq!((&json["plan"]["node"], &json["plan"]["candidates"][0]["refused"]), (&json!(null), &json!("label")));
}

#[tokio::test]
async fn an_agent_is_explained_by_its_cell_and_what_is_not_there_is_named() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("faulty").await;
    assert_eq!(node.ask("ledger/a", "add", "1").await.json(), json!(1));
    let cell = node.get("/v1/agents/ledger/a").await.json()["cell"].clone();
    let explained = node.get("/v1/explain?of=ledger/a").await.json();
    assert_eq!((&explained["kind"], &explained["cell"], &explained["live"]), (&json!("agent"), &cell, &json!(true)));
    assert_eq!(explained["plan"]["choice"], json!("lowest"));
    let text = prints(&node, &["explain", "ledger/new"]);
    assert!(text.contains("not in memory") && text.contains("it runs where its cell is"), "{text}");
    for (query, code, says) in [
        ("of=faulty/ecko", "not_found", "did you mean `echo`?"),
        ("of=nothing/at-all", "not_found", "nothing"),
        ("of=faulty", "invalid_request", "of=COMPONENT/FUNCTION"),
        ("", "invalid_request", "of=COMPONENT/FUNCTION"),
        ("of=faulty/echo&dta=x", "invalid_request", "no parameter `dta`"),
        ("cell=1", "invalid_request", "in no cluster"),
        ("of=faulty/echo&data=A", "invalid_request", "not a valid bucket name"),
        ("of=faulty/echo&data=nowhere/a", "not_found", "nowhere"),
        ("of=ledger/a&data=nowhere/a", "invalid_request", "leave the data out"),
    ] {
        node.get(&format!("/v1/explain?{query}")).await.fails_with(code, says);
    }
    assert_eq!(stride(&node.url, &["explain", "faulty"]).status.code(), Some(2));
    let missing = stride(&node.url, &["explain", "faulty/ecko"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("did you mean `echo`?"), "{}", stderr(&missing));
}
