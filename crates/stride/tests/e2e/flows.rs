//! Flows on a node: deployed, run, looked at, answered, killed in the midst, and refused.

use std::{path::Path, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stride_sim::{Chance, Clock};

use crate::{
    cli::{prints, stderr, stride},
    support::{Node, Reply, data},
};

/// How often a node is killed in the midst of a flow.
const KILLS: usize = 50;

fn flow(name: &str, nodes: Value, output: &str) -> String {
    json!({"version": 1, "name": name, "graph": {"nodes": nodes, "output": output}}).to_string()
}

/// What a command says that ends with this status.
#[track_caller]
fn refused(node: &Node, arguments: &[&str], status: i32) -> String {
    let output = stride(&node.url, arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    said
}

async fn node_with_counter(data: &Path) -> Node {
    let node = Node::start(data);
    node.deploy("counter").await;
    node
}

fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Two calls that fuse, and a message to an agent.
fn greeting() -> String {
    let nodes = json!({
        "hello": {"do": {"pass": {"value": {"$format": ["hello {}", "$.name"]}}}, "in": "input"},
        "loud": {"do": {"call": {"function": "counter/shout"}}, "in": "hello"},
        "louder": {"do": {"call": {"function": "counter/shout", "input": {"$format": ["{}!", "$"]}}}, "in": "loud"},
        "count": {"do": {"tell": {"agent": "counter", "key": "greetings", "method": "add", "input": 1}}, "after": ["louder"]},
    });
    flow("greeting", nodes, "louder")
}

#[tokio::test]
async fn a_flow_is_deployed_explained_run_and_listed_with_the_command_line() {
    let (dir, data) = data();
    let node = node_with_counter(&data).await;
    let file = written(dir.path(), "greeting.json", &greeting());
    let plan = prints(&node, &["flow", "explain", &file]);
    assert!(plan.contains("LOGICAL") && plan.contains("PHYSICAL"), "{plan}");
    assert!(prints(&node, &["flow", "deploy", &file]).contains("flow greeting, version 1"));
    let result = prints(&node, &["flow", "run", "greeting", r#"{"name": "ann"}"#, "--run", "one"]);
    assert_eq!(result.trim(), r#""HELLO ANN!""#);
    // A file is deployed, which changes nothing here, and the same run is not run again.
    let result = prints(&node, &["flow", "run", &file, r#"{"name": "ann"}"#, "--run", "one"]);
    assert_eq!(result.trim(), r#""HELLO ANN!""#);
    while node.ask("counter/greetings", "get", "null").await.body != "1" {}
    assert!(prints(&node, &["flow", "ls"]).contains("greeting  1"));
    assert!(prints(&node, &["flow", "ls", "greeting"]).contains("greeting/one  done"));
    assert!(prints(&node, &["flow", "status", "greeting/one"]).contains("greeting/one: done"));
    assert!(prints(&node, &["flow", "explain", "greeting/one"]).contains("took 1 call"));
    assert!(prints(&node, &["flow", "explain", "greeting/one", "--svg"]).starts_with("<svg"));
    let logical: Value = serde_json::from_str(&prints(&node, &["flow", "explain", "greeting", "--json"])).unwrap();
    assert!(logical["logical"]["graphs"][0]["nodes"].as_array().unwrap().len() > 2);
    assert!(refused(&node, &["flow", "explain", "greeting", "--without", "fuze"], 1).contains("did you mean `fuse`"));
    // It is an agent as all others are.
    assert_eq!(node.ask("flow/greeting%2Fone", "status", "null").await.json()["state"], "done");
    prints(&node, &["flow", "rm", "greeting/one"]);
    prints(&node, &["flow", "rm", "greeting"]);
    assert!(refused(&node, &["flow", "run", "greeting"], 1).contains("stride flow deploy"));
}

#[tokio::test]
async fn fused_neighbours_share_an_instance_only_if_their_author_allows_it() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let call = |before: &str| json!({"do": {"call": {"function": "echo/answered"}}, "in": before});
    let chain = flow("chain", json!({"a": call("input"), "b": call("a"), "c": call("b")}), "c");
    let answered = async |manifest: &str, without: &str| {
        node.deploy_with("echo", manifest).await.json_of(StatusCode::CREATED);
        let deployed = Reply::of(node.post(&format!("/v1/flows?without={without}"), chain.clone())).await;
        assert!(deployed.status.is_success(), "{}", deployed.body);
        let run = Reply::of(node.post("/v1/flows/chain/runs?wait_ms=20000", "0")).await;
        run.json_of(StatusCode::OK)["result"].clone()
    };
    let again = "name = \"echo\"\n[functions.answered]\nreuse = true\n";
    assert_eq!(answered("name = \"echo\"", "").await, 1);
    assert_eq!(answered(again, "").await, 3);
    assert_eq!(answered(again, "fuse").await, 1);
    assert_eq!(node.call("echo/answered", "0").await.json(), json!(1));
}

#[tokio::test]
async fn what_is_wrong_with_a_flow_is_said_with_its_place_and_remedy() {
    let (dir, data) = data();
    let node = node_with_counter(&data).await;
    let nodes = json!({
        "a": {"do": {"call": {"function": "counter/shuot"}}, "in": "input"},
        "b": {"do": {"ask": {"agent": "counter", "key": "x", "method": "sub", "input": 1}}, "in": "aa"},
        "c": {"do": {"jump": {}}},
    });
    let file = written(dir.path(), "wrong.json", &flow("wrong", nodes, "a"));
    let said = refused(&node, &["flow", "deploy", &file], 1);
    assert!(said.contains("/graph/nodes/c/do") && said.contains("jump"), "{said}");
    let nodes = json!({
        "a": {"do": {"call": {"function": "counter/shuot"}}, "in": "input"},
        "b": {"do": {"ask": {"agent": "counter", "key": "x", "method": "sub", "input": 1}}, "in": "aa"},
    });
    let reply = Reply::of(node.post("/v1/flows", flow("wrong", nodes, "a"))).await;
    let problems = reply.json_of(StatusCode::BAD_REQUEST)["problems"].clone();
    let all = problems.to_string();
    for part in ["counter/shuot", "did you mean `counter/shout`?", "sub", "aa", "/graph/nodes/b"] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
    refused(&node, &["flow", "deploy", "/nowhere.json"], 1);
    assert!(refused(&node, &["flow", "status", "wrong"], 2).contains("FLOW/RUN"));
    assert!(refused(&node, &["flow", "status", "wrong/1"], 1).contains("wrong/1"));
}

#[tokio::test]
async fn the_methods_with_which_the_platform_drives_a_run_are_nobody_elses() {
    let (_dir, data) = data();
    let node = node_with_counter(&data).await;
    Reply::of(node.post("/v1/flows", greeting())).await.json_of(StatusCode::CREATED);
    node.ask("flow/greeting%2Fx", "start", r#"{"name": "x"}"#).await.json();
    node.ask("flow/greeting%2Fx", "stride-took", "{}").await.fails_with("invalid_request", "belongs to the platform");
    node.ask("flow/greeting", "start", "{}").await.fails_with("invalid_request", "flow/NAME/RUN");
    let state = Reply::of(node.request(Method::PUT, "/v1/agents/flow/greeting%2Fx/state/run").body("{}")).await;
    state.fails_with("invalid_request", "the platform's own");
    let taken = node.deploy_with("counter", "name = \"counter\"\n[agents.flow]\n").await;
    assert!(!taken.status.is_success());
}

#[tokio::test]
async fn a_run_waits_for_people_and_events_over_a_kill_of_the_node() {
    let (dir, data) = data();
    let node = node_with_counter(&data).await;
    let nodes = json!({
        "reserve": {"do": {"ask": {"agent": "counter", "key": "stock", "method": "add", "input": 1}}, "in": "input"},
        "review": {"do": {"wait": {"approval": {"question": {"$format": ["pay {} cents?", "$.cents"]}, "of": "ops"}}},
            "in": "input", "after": ["reserve"]},
        "paid": {"do": {"wait": {"event": {"name": "paid"}}}, "after": ["review"]},
        "ship": {"do": {"ask": {"agent": "counter", "key": "shipped", "method": "add", "input": "$.payload.n"}},
            "in": {"payload": "paid"}},
    });
    let file = written(dir.path(), "order.json", &flow("order", nodes, "ship"));
    prints(&node, &["flow", "deploy", &file]);
    let begun = prints(&node, &["flow", "run", "order", r#"{"cents": 250}"#, "--run", "7", "--detach"]);
    assert_eq!(begun.trim(), "order/7");
    let asks = |node: &Node| prints(node, &["flow", "status", "order/7"]).contains("asks of ops: pay 250 cents?");
    while !asks(&node) {}
    node.kill();
    let node = Node::start(&data);
    assert!(asks(&node));
    assert!(refused(&node, &["flow", "approve", "order/7", "ship"], 1).contains("those that ask: /review"));
    prints(&node, &["flow", "approve", "order/7", "review", "--by", "ann"]);
    while !prints(&node, &["flow", "status", "order/7"]).contains("waits for the event paid") {}
    node.kill();
    let node = Node::start(&data);
    prints(&node, &["flow", "event", "order/7", "paid", r#"{"n": 3}"#, "--id", "e1"]);
    let result = prints(&node, &["flow", "run", "order", r#"{"cents": 250}"#, "--run", "7"]);
    assert_eq!(result.trim(), "3");
    assert_eq!(node.ask("counter/stock", "get", "null").await.body, "1");
    assert!(refused(&node, &["flow", "run", "order", r#"{"cents": 1}"#, "--run", "7"], 1).contains("another input"));
    assert!(refused(&node, &["flow", "cancel", "order/7"], 1).contains("has ended"));
}

/// Fifteen hundred steps, two thirds of them effects that are counted by an agent. The others wait a little, or all would be done before the node can
/// be killed often.
fn thousand_steps() -> String {
    let body = json!({"graph": {"nodes": {
        "ask": {"do": {"ask": {"agent": "counter", "key": "effects", "method": "add", "input": 1}}, "in": "input"},
        "tell": {"do": {"tell": {"agent": "counter", "key": "told", "method": "add", "input": 1}}, "after": ["ask"]},
        "pause": {"do": {"wait": {"timer": {"ms": 20}}}, "after": ["tell"]},
        "next": {"do": {"pass": {"value": "$"}}, "in": "ask", "after": ["pause"]}}, "output": "next"}});
    let rounds = json!({"do": {"iterate": {"state": 0, "body": body, "until": {"$ge": ["$", 500]}, "rounds_max": 1000}}, "in": "input"});
    flow("steps", json!({"rounds": rounds}), "rounds")
}

#[tokio::test]
async fn a_flow_of_a_thousand_steps_has_every_effect_once_however_often_the_node_is_killed() {
    let (clock, chance) = (Clock::real(), Chance::seeded(7));
    let (_dir, data) = data();
    let mut node = node_with_counter(&data).await;
    Reply::of(node.post("/v1/flows", thousand_steps())).await.json_of(StatusCode::CREATED);
    Reply::of(node.post("/v1/flows/steps/runs?run=r", "null")).await.json_of(StatusCode::ACCEPTED);
    let mut killed_at = Vec::new();
    while killed_at.len() < KILLS {
        // Somewhere in the midst, whatever the machine's pace.
        clock.sleep(Duration::from_millis(chance.below(40))).await;
        let status = node.get("/v1/flows/steps/runs/r").await.json();
        assert_eq!(status["state"], "running", "it ended after {} kills", killed_at.len());
        killed_at.push(node.ask("counter/effects", "get", "null").await.body);
        node.kill();
        node = Node::start(&data);
    }
    println!("killed after so many effects: {}", killed_at.join(", "));
    let ended = loop {
        let status = node.get("/v1/flows/steps/runs/r?wait_ms=60000").await.json();
        if status["state"] != "running" {
            break status;
        }
    };
    assert_eq!((&ended["state"], &ended["result"]), (&json!("done"), &json!(500)), "{ended}");
    assert_eq!(node.ask("counter/effects", "get", "null").await.body, "500");
    while node.ask("counter/told", "get", "null").await.body != "500" {}
}

#[tokio::test]
async fn a_state_machine_runs_with_only_its_resources_named() {
    let (dir, data) = data();
    let node = node_with_counter(&data).await;
    let machine = json!({"StartAt": "Shout", "States": {
        "Shout": {"Type": "Task", "Resource": "arn:aws:lambda:eu-west-1:1:function:shout", "InputPath": "$.text",
            "ResultPath": "$.loud", "Next": "Known"},
        "Known": {"Type": "Choice", "Choices": [{"Variable": "$.loud", "StringEquals": "HI", "Next": "Fine"}], "Default": "Odd"},
        "Fine": {"Type": "Pass", "Result": "fine", "End": true},
        "Odd": {"Type": "Fail", "Error": "Odd", "Cause": "nobody says that"}}});
    let file = written(dir.path(), "machine.json", &machine.to_string());
    let resources = json!({"arn:aws:lambda:eu-west-1:1:function:shout": "counter/shout"});
    let resources = written(dir.path(), "resources.json", &resources.to_string());
    prints(&node, &["flow", "deploy", &file, "--states", "machine", "--resources", &resources]);
    assert_eq!(prints(&node, &["flow", "run", "machine", r#"{"text": "hi"}"#]).trim(), r#""fine""#);
    let failed = refused(&node, &["flow", "run", "machine", r#"{"text": "ho"}"#], 1);
    assert!(failed.contains("Odd") && failed.contains("nobody says that"), "{failed}");
    assert!(refused(&node, &["flow", "deploy", &file, "--states", "machine"], 1).contains("Resource"));
}

#[tokio::test]
async fn a_step_waits_for_a_node_with_the_hardware_that_it_names() {
    let (_dir, data) = data();
    let node = node_with_counter(&data).await;
    let shout = json!({"do": {"call": {"function": "counter/shout"}}, "in": "input", "hardware": "tape-robot"});
    let shouted = flow("shouted", json!({"shout": shout}), "shout");
    Reply::of(node.post("/v1/flows", shouted)).await.json_of(StatusCode::CREATED);
    let begun = Reply::of(node.post("/v1/flows/shouted/runs?run=a&wait_ms=300", r#""hi""#)).await;
    assert_eq!(begun.json_of(StatusCode::ACCEPTED)["steps"][0]["does"], "call");
    node.terminate();
    let node = Node::start_configured(&data, "hardware = [\"tape-robot\"]");
    let ended = node.get("/v1/flows/shouted/runs/a?wait_ms=60000").await.json();
    assert_eq!(ended["result"], "HI", "{ended}");
}

#[tokio::test]
async fn a_window_of_a_topic_goes_to_one_run_and_no_message_to_two() {
    let (_dir, data) = data();
    let node = node_with_counter(&data).await;
    let window =
        |count: u64, time_ms: u64| json!({"topic": {"topic": "clicks", "count_max": count, "time_max_ms": time_ms}});
    let nodes = json!({
        "clicks": {"do": {"source": window(3, 60_000)}},
        "sum": {"do": {"reduce": {"body": {"expr": {"$sum": ["$"]}}}}, "in": "numbers"},
        "numbers": {"do": {"map": {"body": {"expr": "$.data"}}}, "in": "clicks"},
        "add": {"do": {"ask": {"agent": "counter", "key": "clicks", "method": "add", "input": "$"}}, "in": "sum"},
    });
    Reply::of(node.post("/v1/flows", flow("clicks", nodes, "sum"))).await.json_of(StatusCode::CREATED);
    let publish = async |node: &Node, number: u64| {
        let published = Reply::of(node.post("/v1/topics/clicks", number.to_string())).await;
        assert_eq!(published.status, StatusCode::ACCEPTED, "{}", published.body);
    };
    publish(&node, 1).await;
    for run in ["a", "b"] {
        Reply::of(node.post(&format!("/v1/flows/clicks/runs?run={run}"), "null")).await.json_of(StatusCode::ACCEPTED);
    }
    publish(&node, 10).await;
    // A window that has begun to fill is still there after a kill.
    node.kill();
    let node = Node::start(&data);
    for number in [100, 1_000, 10_000, 100_000] {
        publish(&node, number).await;
    }
    let mut sums = Vec::new();
    for run in ["a", "b"] {
        let ended = node.get(&format!("/v1/flows/clicks/runs/{run}?wait_ms=60000")).await.json();
        sums.push(ended["result"].as_u64().unwrap_or_else(|| panic!("{ended}")));
    }
    sums.sort_unstable();
    assert_eq!(sums, [111, 111_000]);
    assert_eq!(node.ask("counter/clicks", "get", "null").await.body, "111111");
}
