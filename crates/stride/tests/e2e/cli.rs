//! The command line, through the real binary: what it prints, and how it ends.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::support::{Node, data, root};
use serde_json::{Value, json};

pub(crate) fn stride(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stride"));
    command.args(arguments).env("STRIDE_URL", url).env_remove("STRIDE_TOKEN").env_remove("STRIDE_TENANT");
    command.output().unwrap()
}

/// What a command that succeeds prints.
pub(crate) fn prints(node: &Node, arguments: &[&str]) -> String {
    let output = stride(&node.url, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each line is one JSON document; in the order of their inputs.
fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["input"].as_str().unwrap().to_owned());
    lines
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn a_node_that_is_not_there_is_status_3_and_the_message_says_how_to_start_one() {
    let commands: [&[&str]; 6] = [
        &["call", "counter/shout", "1"],
        &["ask", "counter/alice", "get"],
        &["agents", "ls"],
        &["logs"],
        &["deployments"],
        &["map", "counter/shout", "--files", "Cargo.toml"],
    ];
    for command in commands {
        let output = stride("http://127.0.0.1:9", command);
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        assert!(stderr(&output).contains("stride up"), "{command:?}: {}", stderr(&output));
    }
}

#[test]
fn wrong_usage_is_status_2() {
    let commands: [&[&str]; 8] = [
        &["cal"],
        &["call", "counter"],
        &["call", "counter/shout", "1", "--deadline", "soon"],
        &["ask", "counter/..", "get"],
        &["map", "counter/shout"],
        &["map", "counter/shout", "--files", "a/***"],
        &["new", "1st"],
        &["new", "x", "--lang", "python"],
    ];
    for command in commands {
        let output = stride("http://127.0.0.1:9", command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", stderr(&output));
    }
}

#[test]
fn check_and_repair_want_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["check", "repair"] {
        let output = stride("", &[command, dir.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("not a data directory"), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it wrote into a stranger's directory");
    }
}

#[tokio::test]
async fn a_used_directory_is_sound_and_cannot_be_checked_while_its_node_runs() {
    let (_dir, path) = data();
    let node = Node::start(&path);
    node.deploy("counter").await;
    prints(&node, &["ask", "counter/alice", "add", "5"]);
    let dir = path.to_str().unwrap();
    let output = stride("", &["check", dir]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(node.terminate().success());
    for command in [["check", dir], ["repair", dir]] {
        let output = stride("", &command);
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn functions_agents_and_state_answer_on_stdout() {
    let (_dir, path) = data();
    let node = Node::start(&path);
    node.deploy("counter").await;
    assert_eq!(prints(&node, &["call", "counter/shout", "\"hi\""]), "\"HI\"\n");
    assert_eq!(prints(&node, &["ask", "counter/a/b", "add", "5"]), "5\n");
    assert_eq!(prints(&node, &["ask", "counter/a/b", "add", "1", "--idempotency-key", "k"]), "6\n");
    assert_eq!(prints(&node, &["ask", "counter/a/b", "add", "1", "--idempotency-key", "k"]), "6\n");
    assert_eq!(prints(&node, &["state", "cat", "counter/a/b"]), "{\"value\":6}\n");
    prints(&node, &["state", "put", "counter/a/b", "{\"value\":40}"]);
    assert_eq!(prints(&node, &["ask", "counter/a/b", "get"]), "40\n");
    prints(&node, &["state", "put", "counter/a/b", "x/y", "[1]"]);
    assert_eq!(prints(&node, &["state", "cat", "counter/a/b", "x/y"]), "[1]\n");
    let state: Value = serde_json::from_str(&prints(&node, &["state", "ls", "counter/a/b", "--json"])).unwrap();
    assert_eq!(state, json!({"state": {"value": 40}, "entries": [{"key": "x/y", "bytes": 3}]}));
    prints(&node, &["state", "rm", "counter/a/b", "x/y"]);
    let agents: Value = serde_json::from_str(&prints(&node, &["agents", "ls", "--json"])).unwrap();
    assert_eq!(agents, json!([{"type": "counter", "key": "a/b"}]));
    let shown: Value = serde_json::from_str(&prints(&node, &["agents", "show", "counter/a/b", "--json"])).unwrap();
    assert_eq!(shown["key"], "a/b");
    prints(&node, &["agents", "rm", "counter/a/b"]);
    assert_eq!(prints(&node, &["agents", "ls", "counter"]), "");
}

#[tokio::test]
async fn a_refusal_is_status_1_with_its_code_why_and_what_next() {
    let (_dir, path) = data();
    let node = Node::start(&path);
    node.deploy("faulty").await;
    let refused: [(&[&str], &str); 4] = [
        (&["call", "faulty/nothing"], "not_found"),
        (&["call", "faulty/echo_", "{"], "not_found"),
        (&["call", "faulty/panics"], "guest_trap"),
        (&["call", "faulty/sleeps", "5000", "--deadline", "50ms"], "deadline_exceeded"),
    ];
    for (command, code) in refused {
        let output = stride(&node.url, command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains(&format!("({code})")) && said.contains("why:") && said.contains("next:"), "{said}");
    }
    prints(&node, &["call", "faulty/prints", "\"a line\""]);
    let logs = prints(&node, &["logs", "--component", "faulty", "--json"]);
    let printed = logs.lines().any(|line| serde_json::from_str::<Value>(line).unwrap()["text"] == "stdout: a line");
    assert!(printed, "{logs}");
}

#[tokio::test]
async fn map_runs_over_files_hidden_and_strange_ones_and_a_failure_stops_no_other() {
    let (dir, path) = data();
    let node = Node::start(&path);
    node.deploy("echo").await;
    let files = dir.path().join("files");
    write(
        &files,
        &[("a/1.json", "1"), ("a/.hidden/2.json", "{\n \"x\": 2 }"), ("a/ü \"3\".json", "nope"), ("b.txt", "b")],
    );
    std::fs::write(files.join("a/large.json"), vec![b'1'; (4 << 20) + 1]).unwrap();
    let glob = files.join("**/*.json");
    let output = stride(&node.url, &["map", "echo/echo", "--files", glob.to_str().unwrap(), "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.lines().last().unwrap().starts_with("map: 4 inputs, 1 failed (payload_too_large 1)"), "{said}");
    let lines = lines(&output);
    let inputs: Vec<_> = lines.iter().map(|line| line["input"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["a/.hidden/2.json", "a/1.json", "a/large.json", "a/ü \"3\".json"]);
    // The function answers with what it was sent, which was no JSON.
    assert_eq!(lines[3], json!({"input": "a/ü \"3\".json", "ok": true, "result": "nope"}));
    assert_eq!((&lines[2]["ok"], &lines[2]["code"]), (&json!(false), &json!("payload_too_large")));
}

#[tokio::test]
async fn map_runs_over_lines_and_names_them_by_number() {
    let (dir, path) = data();
    let node = Node::start(&path);
    node.deploy("counter").await;
    write(dir.path(), &[("lines", "\"a\"\n\n{broken\n\"b\"")]);
    let file = dir.path().join("lines");
    let output = stride(&node.url, &["map", "counter/shout", "--lines", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert_eq!(lines[0], json!({"input": "1", "ok": true, "result": "A"}));
    assert_eq!((&lines[1]["input"], &lines[1]["code"]), (&json!("3"), &json!("invalid_request")));
    assert_eq!(lines[2], json!({"input": "4", "ok": true, "result": "B"}));
}

#[tokio::test]
async fn map_waits_for_a_node_that_is_overloaded_and_loses_nothing() {
    let (dir, path) = data();
    let node = Node::start(&path);
    let manifest = "name = \"echo\"\n[functions.echo]\nconcurrency = 1\nqueue = 1\n";
    node.deploy_with("echo", manifest).await.json_of(reqwest::StatusCode::CREATED);
    let text: String = (0..200).map(|n| format!("{n}\n")).collect();
    write(dir.path(), &[("lines", &text)]);
    let file = dir.path().join("lines");
    let output = stride(&node.url, &["map", "echo/echo", "--jobs", "16", "--lines", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(lines(&output).len(), 200);
}

#[tokio::test]
async fn a_map_over_nothing_or_of_nothing_says_so() {
    let (_dir, path) = data();
    let node = Node::start(&path);
    node.deploy("counter").await;
    let commands: [(&[&str], &str); 3] = [
        (&["map", "counter/shout", "--files", "/nowhere/*.rs"], "no input matches"),
        (&["map", "counter/shot", "--files", "Cargo.toml"], "shout"),
        (&["map", "count/shout", "--files", "Cargo.toml"], "not_found"),
    ];
    for (command, says) in commands {
        let output = stride(&node.url, command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(stderr(&output).contains(says), "{command:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn deploy_builds_uploads_and_says_what_can_be_called() {
    let (_dir, path) = data();
    let node = Node::start(&path);
    let project = root().join("examples/counter");
    let said = prints(&node, &["deploy", project.to_str().unwrap()]);
    for line in ["stride call counter/shout", "stride ask counter/alice add", "stride ask counter/alice get"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(prints(&node, &["deployments"]).contains("counter/shout"));
}
