//! Maps over objects, over HTTP and through the command line.

use std::{collections::BTreeSet, process::Output};

use futures::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{stderr, stride},
    object_crashes::chunks,
    support::{Node, Reply, SmallDisk, data},
};

async fn put(node: &Node, name: impl AsRef<str>, body: String) {
    let path = format!("/v1/objects/{}", name.as_ref());
    Reply::of(node.request(Method::PUT, &path).body(body)).await.json_of(StatusCode::CREATED);
}

/// Many objects, `data/in/0000` and so on.
pub(crate) async fn put_many(node: &Node, count: u64, body: impl Fn(u64) -> String) {
    let puts = stream::iter((0..count).map(|n| put(node, format!("data/in/{n:04}"), body(n))));
    puts.buffer_unordered(16).collect::<()>().await;
}

pub(crate) async fn begin(node: &Node, spec: &Value) -> String {
    let begun = Reply::of(node.request(Method::POST, "/v1/maps").json(spec)).await.json_of(StatusCode::CREATED);
    begun["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn status(node: &Node, id: &str) -> Value {
    node.get(&format!("/v1/maps/{id}")).await.json()
}

/// All lines of a map, once it has ended.
pub(crate) async fn results(node: &Node, id: &str) -> Vec<Value> {
    let reply = node.get(&format!("/v1/maps/{id}/results")).await;
    assert_eq!(
        (reply.status, &reply.headers["content-type"]),
        (StatusCode::OK, &"application/x-ndjson".parse().unwrap())
    );
    reply.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn printed(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn last_line(output: &Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_map_over_objects_prints_a_line_for_each_in_their_order() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("echo").await;
    put_many(&node, 300, |n| n.to_string()).await;
    let output = stride(&node.url, &["map", "echo/echo", "--over", "data/in/"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let expected: Vec<_> =
        (0..300).map(|n| json!({"input": format!("in/{n:04}"), "ok": true, "result": n.to_string()})).collect();
    assert_eq!(printed(&output), expected);
    assert!(last_line(&output).starts_with("map: 300 inputs, 0 failed"), "{}", stderr(&output));
    let maps = node.get("/v1/maps").await.json();
    let [map] = &maps["maps"].as_array().unwrap()[..] else { panic!("{maps}") };
    assert_eq!((&map["state"], &map["items"], &map["done"]), (&json!("done"), &json!(300), &json!(300)));
    assert_eq!(
        (&map["function"], &map["over"], &map["split"]),
        (&json!("echo/echo"), &json!("data/in/"), &json!(null))
    );
}

#[tokio::test]
async fn a_map_whose_node_is_killed_goes_on_and_every_result_is_there_once() {
    let (_dir, data) = data();
    let mut node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 8\n";
    node.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    put_many(&node, 600, |_| "20".into()).await;
    let id = begin(&node, &json!({"function": "faulty/sleeps", "over": "data/in/"})).await;
    for kills in 1..=3 {
        // Somewhere in the middle, and each time further on.
        loop {
            let status = status(&node, &id).await;
            assert_eq!(status["state"], "running", "it ended too early: {status}");
            if status["done"].as_u64().unwrap() >= kills * 100 {
                break;
            }
        }
        node.kill();
        node = Node::start(&data);
    }
    let lines = results(&node, &id).await;
    let names: BTreeSet<_> = lines.iter().map(|line| line["input"].as_str().unwrap().to_owned()).collect();
    assert_eq!((lines.len(), names.len()), (600, 600));
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let status = status(&node, &id).await;
    assert_eq!((&status["state"], &status["items"], &status["done"]), (&json!("done"), &json!(600), &json!(600)));
}

#[tokio::test]
async fn an_item_that_fails_has_its_cause_and_stops_no_other() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    put(&node, "data/in/a", "\"a\"".into()).await;
    put(&node, "data/in/b", "no json".into()).await;
    put(&node, "data/in/c", "x".repeat((4 << 20) + 1)).await;
    put(&node, "data/in/d", "\"d\"".into()).await;
    let output = stride(&node.url, &["map", "counter/shout", "--over", "data/in"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = printed(&output);
    assert_eq!((&lines[0]["result"], &lines[3]["result"]), (&json!("A"), &json!("D")));
    assert_eq!((&lines[1]["input"], &lines[1]["code"]), (&json!("in/b"), &json!("invalid_request")));
    assert_eq!(lines[2]["code"], "payload_too_large");
    assert!(lines[2]["message"].as_str().unwrap().contains("--split"), "{}", lines[2]);
    let said = last_line(&output);
    assert!(said.starts_with("map: 4 inputs, 2 failed (invalid_request 1, payload_too_large 1)"), "{said}");
}

#[tokio::test]
async fn what_is_gone_or_damaged_when_a_map_comes_to_it_fails_its_item_and_no_other() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 1\n";
    node.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    // The first one takes so long that the others are not as they were when it has ended.
    put_many(&node, 5, |n| if n == 0 { "4000".into() } else { n.to_string() }).await;
    let id = begin(&node, &json!({"function": "faulty/sleeps", "over": "data/in/"})).await;
    while status(&node, &id).await["items"] != 5 {}
    Reply::of(node.request(Method::DELETE, "/v1/objects/data/in/0001")).await;
    let chunk = |body: &[u8]| {
        let name = stride_data::ChunkHash::of(body).to_string();
        chunks(&data).into_iter().find(|path| path.ends_with(&name)).unwrap()
    };
    std::fs::write(chunk(b"2"), "9").unwrap();
    std::fs::remove_file(chunk(b"3")).unwrap();
    assert_eq!(status(&node, &id).await["done"], 0, "the machine is too slow for this test");
    let lines = results(&node, &id).await;
    for (at, code, says) in [(1, "not_found", "in/0001"), (2, "internal", "in/0002"), (3, "internal", "is gone")] {
        let line = &lines[at];
        assert!(line["code"] == code && line["message"].as_str().unwrap().contains(says), "{line}");
    }
    assert!(lines[0]["ok"] == true && lines[4]["ok"] == true && lines.len() == 5, "{lines:?}");
}

#[tokio::test]
async fn a_map_waits_while_the_disk_is_full_and_every_result_is_there_once() {
    let Some(disk) = SmallDisk::mount(160) else {
        eprintln!("not run: this user may not mount a tmpfs");
        return;
    };
    let node = Node::start_configured(&disk.path().join("data"), "journal_segment_mib = 8");
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 2\n";
    node.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    put_many(&node, 40, |_| "20".into()).await;
    let id = begin(&node, &json!({"function": "faulty/sleeps", "over": "data/in/", "out": "data/out/"})).await;
    while status(&node, &id).await["done"].as_u64().unwrap() < 4 {}
    disk.fill().unwrap();
    let refused = Reply::of(node.request(Method::PUT, "/v1/objects/data/more").body("more")).await;
    refused.fails_with("unavailable", "no space left");
    disk.empty().unwrap();
    let lines = results(&node, &id).await;
    assert!(lines.len() == 40 && lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let kept = node.get("/v1/objects/data?prefix=out/").await.json();
    assert_eq!(kept["objects"].as_array().unwrap().len(), 40);
}

#[tokio::test]
async fn a_map_over_nothing_or_of_nothing_is_refused_and_says_so() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("echo").await;
    put(&node, "data/in/a", "1".into()).await;
    let id = begin(&node, &json!({"function": "echo/echo", "over": "data/none/"})).await;
    assert_eq!(results(&node, &id).await, Vec::<Value>::new());
    assert_eq!(status(&node, &id).await["state"], "done");
    let commands: [(&[&str], &str); 4] = [
        (&["map", "echo/echo", "--over", "data/none/"], "no object is under data/none/"),
        (&["map", "echo/echo", "--over", "nowhere/"], "not_found"),
        (&["map", "echo/ecko", "--over", "data/in/"], "did you mean `echo`"),
        (&["map", "echo/echo", "--over", "data/in/", "--out", "data/in/x"], "would become inputs"),
    ];
    for (command, says) in commands {
        let output = stride(&node.url, command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(stderr(&output).contains(says), "{command:?}: {}", stderr(&output));
    }
    let wrong: [&[&str]; 3] = [
        &["map", "echo/echo", "--over", "data/in/", "--files", "x"],
        &["map", "echo/echo", "--files", "x", "--reduce", "echo/echo"],
        &["map", "echo/echo", "--over", "D/in/"],
    ];
    for command in wrong {
        assert_eq!(stride(&node.url, command).status.code(), Some(2), "{command:?}");
    }
    node.get("/v1/maps/map-0000000000000000").await.fails_with("not_found", "map-0000000000000000");
    node.get("/v1/maps/one").await.fails_with("invalid_request", "16 hex digits");
    let refused = Reply::of(node.post("/v1/maps", "{\"function\": \"echo/echo\"}")).await;
    refused.fails_with("invalid_request", "over");
}

#[tokio::test]
async fn a_map_that_is_cancelled_stops_and_one_that_has_ended_can_be_removed() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 2\n";
    node.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    put_many(&node, 200, |_| "20".into()).await;
    let id = begin(&node, &json!({"function": "faulty/sleeps", "over": "data/in/"})).await;
    while status(&node, &id).await["done"].as_u64().unwrap() < 4 {}
    let path = format!("/v1/maps/{id}");
    assert_eq!(Reply::of(node.request(Method::DELETE, &path)).await.status, StatusCode::NO_CONTENT);
    let lines = results(&node, &id).await;
    let stopped = status(&node, &id).await;
    assert_eq!((&stopped["state"], stopped["done"].as_u64().unwrap()), (&json!("cancelled"), lines.len() as u64));
    assert!((4..200).contains(&lines.len()), "{}", lines.len());
    assert_eq!(Reply::of(node.request(Method::DELETE, &path)).await.status, StatusCode::NO_CONTENT);
    node.get(&path).await.fails_with("not_found", &id);
}

#[tokio::test]
async fn lines_stay_whole_and_a_reduction_folds_what_the_parts_came_to() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("words").await;
    // Three objects of 3 MB: each is larger than a part, and together they have so many lines.
    let lines = 120_000;
    let text: String = (0..lines).map(|n| format!("line {n:06} with words\n")).collect();
    for n in 0..3 {
        put(&node, format!("data/texts/{n}"), text.clone()).await;
    }
    let spec = ["map", "words/count", "--over", "data/texts/", "--split", "lines"];
    let output = stride(&node.url, &spec);
    assert!(output.status.success(), "{}", stderr(&output));
    let parts = printed(&output);
    assert_eq!(parts.len(), 9, "{parts:?}");
    assert!(parts[0]["input"].as_str().unwrap().starts_with("texts/0[0.."), "{}", parts[0]);
    assert_eq!(parts.iter().map(|part| part["result"].as_u64().unwrap()).sum::<u64>(), 3 * lines * 4);
    let output = stride(&node.url, &[&spec[..], &["--reduce", "words/sum"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(printed(&output), [json!({"reduce": "words/sum", "ok": true, "result": 3 * lines * 4})]);
    let output = stride(&node.url, &[&spec[..], &["--reduce", "words/sum", "--out", "data/total"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(node.get("/v1/objects/data/total").await.json(), json!(3 * lines * 4));
}

#[tokio::test]
async fn results_become_objects_where_they_are_wanted() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    put(&node, "data/in/a", "\"a\"".into()).await;
    put(&node, "data/in/b/c", "\"c\"".into()).await;
    let output = stride(&node.url, &["map", "counter/shout", "--over", "data/in/", "--out", "loud/x/"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(printed(&output)[1], json!({"input": "in/b/c", "ok": true, "object": "loud/x/b/c", "bytes": 3}));
    assert_eq!(node.get("/v1/objects/loud/x/a").await.body, "\"A\"");
    assert_eq!(node.get("/v1/objects/loud/x/b/c").await.body, "\"C\"");
}

#[tokio::test]
async fn a_node_that_is_told_to_end_leaves_a_map_that_goes_on() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 2\n";
    node.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    put_many(&node, 100, |_| "10".into()).await;
    let id = begin(&node, &json!({"function": "faulty/sleeps", "over": "data/in/"})).await;
    while status(&node, &id).await["done"].as_u64().unwrap() < 4 {}
    assert!(node.terminate().success());
    let node = Node::start(&data);
    assert_eq!(results(&node, &id).await.len(), 100);
}

#[tokio::test]
async fn a_map_keeps_the_version_that_it_began_with_also_when_only_the_disk_has_it() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 2\n";
    let first = node.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    put_many(&node, 60, |_| "20".into()).await;
    let id = begin(&node, &json!({"function": "faulty/sleeps", "over": "data/in/"})).await;
    while status(&node, &id).await["done"].as_u64().unwrap() < 4 {}
    // What is in force from now on has no such function.
    for memory in ["16MiB", "32MiB"] {
        let manifest = format!("name = \"faulty\"\n[functions.echo]\nmemory = \"{memory}\"\n");
        node.deploy_with("echo", &manifest).await.json_of(StatusCode::CREATED);
    }
    node.call("faulty/sleeps", "1").await.fails_with("not_found", "sleeps");
    node.kill();
    let node = Node::start(&data);
    let lines = results(&node, &id).await;
    assert!(lines.len() == 60 && lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let status = status(&node, &id).await;
    assert_eq!((&status["state"], &status["version"]), (&json!("done"), &first["version"]));
    assert_eq!((&status["hedged"], &status["memoised"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_client_that_repeats_its_key_has_begun_one_map() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("echo").await;
    put(&node, "data/in/a", "1".into()).await;
    let begin = async |node: &Node, over: &str| {
        let spec = json!({"function": "echo/echo", "over": over});
        Reply::of(node.request(Method::POST, "/v1/maps").header("idempotency-key", "monday").json(&spec)).await
    };
    let first = begin(&node, "data/in/").await;
    assert!(!first.headers.contains_key("stride-replayed"));
    let id = first.json_of(StatusCode::CREATED)["id"].clone();
    results(&node, id.as_str().unwrap()).await;
    begin(&node, "data/").await.fails_with("conflict", "used for another map");
    node.kill();
    let node = Node::start(&data);
    let again = begin(&node, "data/in/").await;
    assert_eq!(
        (&again.json_of(StatusCode::CREATED)["id"], &again.headers["stride-replayed"]),
        (&id, &"true".parse().unwrap())
    );
    assert_eq!(node.get("/v1/maps").await.json()["maps"].as_array().unwrap().len(), 1);
}
