//! Maps that guests begin: functions at once, agents with their turns.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Node, Reply, data};

const MANIFEST: &str = r#"
    name = "faulty"
    [capabilities]
    maps = ["words/*"]
    objects = ["texts/*:read", "out/small/*:write"]
"#;

async fn put(node: &Node, name: &str, body: &str) {
    let path = format!("/v1/objects/{name}");
    Reply::of(node.request(Method::PUT, &path).body(body.to_owned())).await.json_of(StatusCode::CREATED);
}

async fn call(node: &Node, function: &str, arguments: Value) -> Reply {
    node.call(&format!("faulty/{function}"), &arguments.to_string()).await
}

async fn ask(node: &Node, method: &str, arguments: Value) -> Reply {
    node.ask("mapper/a", method, &arguments.to_string()).await
}

/// A node with the functions and the texts that tests map over: three of them with six words in all.
async fn node_with_texts(data: &std::path::Path) -> Node {
    let node = Node::start(data);
    node.deploy("words").await;
    node.deploy_with("faulty", MANIFEST).await.json_of(StatusCode::CREATED);
    for (key, text) in [("a", "one"), ("b", "two words"), ("c", "now three words")] {
        put(&node, &format!("texts/{key}"), text).await;
    }
    put(&node, "others/a", "none of your business").await;
    node
}

async fn maps(node: &Node) -> Vec<Value> {
    node.get("/v1/maps").await.json()["maps"].as_array().unwrap().clone()
}

/// What the agent has begun, and of what it was told that it has ended, once it was told of so many.
async fn told(node: &Node, ended: usize) -> Value {
    loop {
        let shown = ask(node, "show", json!(null)).await.json();
        if shown["ended"].as_array().unwrap().len() >= ended {
            return shown;
        }
    }
}

#[tokio::test]
async fn a_function_begins_a_map_and_reads_what_it_comes_to() {
    let (_dir, data) = data();
    let node = node_with_texts(&data).await;
    let begun = call(&node, "begins_map", json!(["words/count", "texts/", "words/sum", null])).await.json();
    let id = begun.as_str().unwrap();
    while call(&node, "map_is_over", json!(id)).await.json() == json!(false) {}
    assert_eq!(call(&node, "map_results", json!(id)).await.json(), json!([["a", "1"], ["b", "2"], ["c", "3"]]));
    assert_eq!(call(&node, "map_reduced", json!(id)).await.json(), json!(6));
    // It is a map as all others are.
    assert_eq!(node.get(&format!("/v1/maps/{id}")).await.json()["state"], "done");
    // Cancelling what has ended changes nothing.
    assert_eq!(call(&node, "cancels_map", json!(id)).await.status, StatusCode::OK);
    assert_eq!(node.get(&format!("/v1/maps/{id}")).await.json()["state"], "done");
    let begun = call(&node, "begins_map", json!(["words/count", "texts/", null, "out/small/"])).await.json();
    while call(&node, "map_is_over", begun.clone()).await.json() == json!(false) {}
    assert_eq!(call(&node, "map_results", begun).await.json()[2], json!(["c", "out/small/c"]));
    assert_eq!(node.get("/v1/objects/out/small/c").await.body, "3");
}

#[tokio::test]
async fn a_guest_maps_only_what_its_capabilities_name() {
    let (_dir, data) = data();
    let node = node_with_texts(&data).await;
    let denied = "capability_denied";
    for (arguments, says) in [
        (json!(["faulty/echo", "texts/", null, null]), "add maps = [\"faulty/echo\"]"),
        (json!(["words/count", "texts/", "faulty/echo", null]), "may not map `faulty/echo`"),
        (json!(["words/count", "others/", null, null]), "add objects = [\"others/*:read\"]"),
        (json!(["words/count", "texts/", null, "out/"]), "add objects = [\"out/*:write\"]"),
        (json!(["words/count", "texts/", "words/sum", "out/large"]), "may not put results under `out/large`"),
    ] {
        call(&node, "begins_map", arguments).await.fails_with(denied, says);
    }
    let invalid = "invalid_request";
    call(&node, "begins_map", json!(["words", "texts/", null, null])).await.fails_with(invalid, "COMPONENT/FUNCTION");
    call(&node, "begins_map", json!(["words/cuont", "texts/", null, null])).await.fails_with("not_found", "`count`");
    let to_be_told = call(&node, "begins_map_to_be_told", json!(["words/count", "texts/"])).await;
    to_be_told.fails_with(invalid, "only an agent can be told");
    assert_eq!(maps(&node).await, Vec::<Value>::new());

    // Nor does it see what others map.
    let spec = json!({"function": "words/count", "over": "others/"});
    let others = Reply::of(node.request(Method::POST, "/v1/maps").json(&spec)).await.json_of(StatusCode::CREATED);
    for function in ["map_is_over", "map_results", "map_reduced", "cancels_map"] {
        call(&node, function, others["id"].clone()).await.fails_with(denied, "others/*:read");
    }
    call(&node, "map_is_over", json!("map-0000000000000000")).await.fails_with("not_found", "map-0000000000000000");
    call(&node, "map_is_over", json!("one")).await.fails_with(invalid, "16 hex digits");
}

#[tokio::test]
async fn an_agent_begins_a_map_with_its_turn_and_is_told_once_when_it_has_ended() {
    let (_dir, data) = data();
    let node = node_with_texts(&data).await;
    let id = ask(&node, "begin", json!(["words/count", "texts/", "words/sum"])).await.json();
    assert_eq!(told(&node, 1).await, json!({"begun": [id], "ended": [[id, "done", 3]], "total": 6}));
    assert_eq!(maps(&node).await.len(), 1);
    assert_eq!(ask(&node, "begin_and_look", json!(["words/count", "texts/"])).await.json(), json!(true));
    // A message of which every attempt begins a map, and none succeeds.
    let tell = node.post("/v1/agents/mapper/a/begin_in_vain?mode=tell", json!(["words/count", "texts/"]).to_string());
    assert_eq!(Reply::of(tell).await.status, StatusCode::ACCEPTED);
    while node.get("/v1/parked").await.json()["parked"].as_array().unwrap().is_empty() {}
    let failed = ask(&node, "begin_in_vain", json!(["words/count", "texts/"])).await;
    failed.fails_with("guest_error", "after beginning a map");
    let refused = ask(&node, "begin_in_read_only", json!(["words/count", "texts/"])).await;
    refused.fails_with("capability_denied", "takes &self");
    // One that is begun behind all those has ended: theirs would be there by now.
    ask(&node, "begin", json!(["words/count", "texts/", null])).await.json();
    let shown = told(&node, 2).await;
    assert_eq!((shown["begun"].as_array().unwrap().len(), shown["ended"].as_array().unwrap().len()), (2, 2));
    assert_eq!(maps(&node).await.len(), 3, "two that told, and one that did not");
}

#[tokio::test]
async fn a_map_that_an_agent_began_goes_on_after_its_node_was_killed() {
    let (_dir, data) = data();
    let node = node_with_texts(&data).await;
    let manifest = format!("{MANIFEST}\n[functions.sleeps]\nconcurrency = 2\n").replace("words/*", "faulty/*");
    node.deploy_with("faulty", &manifest).await.json_of(StatusCode::CREATED);
    for n in 0..40 {
        put(&node, &format!("texts/times/{n:02}"), "20").await;
    }
    let id = ask(&node, "begin", json!(["faulty/sleeps", "texts/times/", null])).await.json();
    // As soon as its turn is durable, whether somebody works on the map already or not.
    node.kill();
    let node = Node::start(&data);
    assert_eq!(told(&node, 1).await["ended"], json!([[id, "done", 40]]));
}
