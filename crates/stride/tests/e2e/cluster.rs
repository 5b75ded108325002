//! Several nodes that share a database and a store for objects: any of them takes any request, and nothing acknowledged is lost
//! when one of them dies, moves its cells or is restarted.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use stride_private_postgres::Server;
use stride_sim::Clock;

use crate::{
    cli::{stderr, stride},
    maps,
    support::{Node, Reply, root},
};

/// A database, a directory for objects, and the nodes that run on them.
pub(crate) struct Cluster {
    pub(crate) server: Server,
    dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { server: Server::start().unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory in which its objects are.
    pub(crate) fn objects_dir(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    /// The same as a node is told.
    pub(crate) fn objects(&self) -> String {
        format!("file://{}", self.objects_dir().display())
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        ["--cluster", &self.server.url("postgres"), "--objects", &self.objects(), "--peers", "127.0.0.1:0"]
            .map(str::to_owned)
            .into()
    }

    pub(crate) fn try_start(&self, name: &str) -> Result<Node, String> {
        let arguments = self.arguments();
        Node::try_start(&self.data(name), &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn start(&self, name: &str) -> Node {
        self.try_start(name).unwrap_or_else(|stderr| panic!("node {name} did not start: {stderr}"))
    }

    /// With these lines as its configuration.
    pub(crate) fn start_configured(&self, name: &str, config: &str) -> Node {
        let path = self.data(name).with_extension("toml");
        std::fs::write(&path, config).unwrap();
        let arguments = [self.arguments(), vec!["--config".to_owned(), path.to_str().unwrap().to_owned()]].concat();
        let started = Node::try_start(&self.data(name), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        started.unwrap_or_else(|stderr| panic!("node {name} did not start: {stderr}"))
    }
}

/// How many cells each node owns, by the node's name.
async fn owned(node: &Node) -> Vec<(String, u64)> {
    let list = node.get("/v1/nodes").await.json();
    let nodes = list["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "ready");
    nodes.map(|node| (node["node"].as_str().unwrap().to_owned(), node["cells"].as_u64().unwrap())).collect()
}

/// Waits until that many nodes share the cells about evenly.
pub(crate) async fn until_shared(node: &Node, nodes: usize) {
    let clock = Clock::real();
    loop {
        let owned = owned(node).await;
        let even = owned.iter().all(|(_, cells)| cells.abs_diff(1024 / nodes as u64) <= 1024 / 10);
        if owned.len() == nodes && even && owned.iter().map(|(_, cells)| cells).sum::<u64>() == 1024 {
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

/// Increments that go on over whatever happens to nodes, each under a key until it is answered, by any node.
pub(crate) struct Clients {
    urls: RwLock<Vec<String>>,
    next: Vec<AtomicU64>,
    failed: AtomicU64,
    stop: AtomicBool,
}

const AGENTS: usize = 12;

impl Clients {
    pub(crate) fn new(nodes: &[&Node]) -> Arc<Self> {
        Arc::new(Self {
            urls: RwLock::new(nodes.iter().map(|node| node.url.clone()).collect()),
            next: (0..AGENTS).map(|_| AtomicU64::new(0)).collect(),
            failed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    pub(crate) fn start(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        (0..AGENTS).map(|agent| tokio::spawn(self.clone().run(agent))).collect()
    }

    async fn run(self: Arc<Self>, agent: usize) {
        let (http, clock) = (Client::new(), Clock::real());
        let mut turn = agent;
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next[agent].load(Ordering::SeqCst);
            turn += 1;
            let url = {
                let urls = self.urls.read().unwrap();
                urls[turn % urls.len()].clone()
            };
            let request = http.post(format!("{url}/v1/agents/counter/c{agent}/add")).body("1");
            let sent = request.header("idempotency-key", format!("{agent}-{number}")).send().await;
            let answer = match sent {
                Ok(response) if response.status() == StatusCode::OK => response.text().await.ok(),
                Ok(response) => {
                    let status = response.status();
                    let body = response.text().await.unwrap_or_default();
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                    None
                }
                Err(_) => None,
            };
            match answer {
                Some(body) => {
                    assert_eq!(body.parse(), Ok(number + 1), "agent {agent}: every increment is applied exactly once");
                    self.next[agent].fetch_add(1, Ordering::SeqCst);
                }
                None => {
                    self.failed.fetch_add(1, Ordering::SeqCst);
                    clock.sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// How many increments each client has been answered.
    pub(crate) fn answered(&self) -> Vec<u64> {
        self.next.iter().map(|next| next.load(Ordering::SeqCst)).collect()
    }

    /// Waits until every client has been answered that many times more.
    pub(crate) async fn more(&self, count: u64) {
        let clock = Clock::real();
        let before: Vec<u64> = self.next.iter().map(|next| next.load(Ordering::SeqCst)).collect();
        for (next, before) in self.next.iter().zip(before) {
            while next.load(Ordering::SeqCst) < before + count {
                clock.sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub(crate) async fn end(&self, tasks: Vec<tokio::task::JoinHandle<()>>) {
        self.stop.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// How many requests were not answered.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    pub(crate) async fn check(&self, node: &Node) {
        for (agent, next) in self.next.iter().enumerate() {
            let total = node.ask(&format!("counter/c{agent}"), "get", "").await.json().as_u64().unwrap();
            assert_eq!(total, next.load(Ordering::SeqCst), "agent {agent}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_any_request_and_one_that_is_killed_loses_nothing() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    until_shared(&a, 2).await;
    // Deployed at one, known to all.
    a.deploy("counter").await;
    assert_eq!(b.get("/v1/deployments").await.json()["deployments"].as_array().unwrap().len(), 1);
    let c = cluster.start("c");
    until_shared(&c, 3).await;
    let nodes = [&a, &b, &c];
    let mut seen = BTreeSet::new();
    for agent in 0..30 {
        for (turn, node) in nodes.iter().enumerate() {
            let reply = node.ask(&format!("counter/s{agent}"), "add", "1").await;
            assert_eq!(reply.json(), json!(turn + 1));
            seen.insert(reply.headers["stride-node"].to_str().unwrap().to_owned());
        }
        // What is not an ask finds its way as well.
        let looked: Vec<Value> = [
            nodes[0].get(&format!("/v1/agents/counter/s{agent}")).await,
            nodes[1].get(&format!("/v1/agents/counter/s{agent}")).await,
        ]
        .iter()
        .map(Reply::json)
        .collect();
        assert_eq!(looked[0]["turns"], json!(3));
        assert_eq!(looked[0]["cell"], looked[1]["cell"]);
    }
    assert_eq!(seen.len(), 3, "agents are on all nodes, and the answer says on which: {seen:?}");
    let listed = b.get("/v1/agents/counter?limit=100").await.json();
    assert_eq!(listed["agents"].as_array().unwrap().len(), 30, "{listed}");

    let clients = Clients::new(&nodes);
    let tasks = clients.start();
    clients.more(5).await;
    clients.urls.write().unwrap().retain(|url| *url != c.url);
    c.kill();
    clients.more(20).await;
    until_shared(&a, 2).await;
    clients.end(tasks).await;
    clients.check(&b).await;
    for agent in 0..30 {
        assert_eq!(b.ask(&format!("counter/s{agent}"), "get", "").await.json(), json!(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_all_nodes_under_load_fails_no_request() {
    let cluster = Cluster::new();
    let mut nodes: Vec<Node> = ["a", "b", "c"].map(|name| cluster.start(name)).into();
    nodes[0].deploy("counter").await;
    until_shared(&nodes[0], 3).await;
    let clients = Clients::new(&nodes.iter().collect::<Vec<_>>());
    let tasks = clients.start();
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        clients.more(3).await;
        // As a load balancer does: no new requests for who is about to end.
        clients.urls.write().unwrap().retain(|url| *url != nodes[at].url);
        let ended = nodes.remove(at);
        assert!(tokio::task::spawn_blocking(move || ended.terminate()).await.unwrap().success());
        nodes.insert(at, cluster.start(name));
        clients.urls.write().unwrap().push(nodes[at].url.clone());
        until_shared(&nodes[at], 3).await;
    }
    clients.more(3).await;
    clients.end(tasks).await;
    assert_eq!(clients.failed.load(Ordering::SeqCst), 0, "no request failed");
    clients.check(&nodes[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_go_where_they_are_told_to_under_load_and_come_back_when_they_may() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.deploy("counter").await;
    until_shared(&a, 2).await;
    let clients = Clients::new(&[&a, &b]);
    let tasks = clients.start();
    clients.more(3).await;
    let name = owned(&a).await[0].0.clone();
    let all: Vec<u16> = (0..1024).collect();
    let ask = |body: Value| a.request(Method::POST, "/v1/cells/move").json(&body).send();
    assert_eq!(ask(json!({ "cells": all, "to": name })).await.unwrap().status(), StatusCode::ACCEPTED);
    while owned(&a).await.iter().any(|(node, cells)| *node != name && *cells > 0) {
        // What is no ask follows the agents as well.
        for agent in 0..AGENTS {
            for node in [&a, &b] {
                node.get(&format!("/v1/agents/counter/c{agent}")).await.json();
            }
        }
    }
    clients.more(3).await;
    assert_eq!(ask(json!({ "cells": all, "to": null })).await.unwrap().status(), StatusCode::ACCEPTED);
    until_shared(&b, 2).await;
    clients.more(3).await;
    clients.end(tasks).await;
    assert_eq!(clients.failed.load(Ordering::SeqCst), 0, "requests wait for a cell that moves");
    clients.check(&a).await;
    let unknown = a.request(Method::POST, "/v1/cells/move").json(&json!({ "cells": [1], "to": "nobody" }));
    Reply::of(unknown).await.fails_with("not_found", "nobody");
    let unknown = a.request(Method::POST, "/v1/cells/move").json(&json!({ "cells": [5000], "to": name }));
    Reply::of(unknown).await.fails_with("invalid_request", "0 to 1023");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_join_is_told_why() {
    let cluster = Cluster::new();
    let url = cluster.server.url("postgres");
    let refused = Node::try_start(&cluster.data("x"), &["--cluster", &url]).err().unwrap();
    assert!(refused.contains("--objects"), "{refused}");
    let a = cluster.start("a");
    let copy = cluster.data("copy");
    assert!(Command::new("cp").arg("-r").arg(cluster.data("a")).arg(&copy).status().unwrap().success());
    let refused = cluster.try_start("copy").err().unwrap();
    assert!(refused.contains("is alive") && refused.contains("another name"), "{refused}");
    a.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_goes_on_when_the_node_that_works_on_it_dies() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    until_shared(&a, 2).await;
    let manifest = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 8\n";
    b.deploy_with("faulty", manifest).await.json_of(StatusCode::CREATED);
    maps::put_many(&b, 400, |_| "20".into()).await;
    // Worked on by the node that was asked, because its agent gets a place there.
    let id = maps::begin(&b, &json!({ "function": "faulty/sleeps", "over": "data/in/" })).await;
    while maps::status(&a, &id).await["done"].as_u64().unwrap() < 100 {}
    b.kill();
    let clock = Clock::real();
    // Its agent has no owner for a moment.
    while a.get(&format!("/v1/maps/{id}")).await.status != StatusCode::OK {
        clock.sleep(Duration::from_millis(50)).await;
    }
    let lines = maps::results(&a, &id).await;
    let names: BTreeSet<_> = lines.iter().map(|line| line["input"].as_str().unwrap().to_owned()).collect();
    assert_eq!((lines.len(), names.len()), (400, 400));
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
}

/// The URLs and the process ids that `stride cluster local` prints.
fn printed(lines: &[String]) -> Vec<(String, String)> {
    let rows = lines.iter().filter(|line| line.starts_with("node-") && line.ends_with(".log"));
    rows.map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        (words[1].to_owned(), words[2].to_owned())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_on_one_machine_does_what_its_page_says_and_leaves_nothing_behind() {
    // Three ports that are free now, one behind the other.
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let port = (20_000..60_000).step_by(7).find(|port| (0..3).all(|n| free(port + n))).unwrap();
    let mut local = Command::new(env!("CARGO_BIN_EXE_stride"))
        .args(["cluster", "local", "--port", &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(local.stdout.take().unwrap());
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.starts_with("Ctrl-C ends")) {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended: {lines:?}");
        lines.push(line.trim_end().to_owned());
    }
    let nodes = printed(&lines);
    assert_eq!(nodes.len(), 3, "{lines:?}");
    let stride = |url: &str, arguments: &[&str]| {
        let output = stride(url, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let [(first, _), (second, _), (third, pid)] = &nodes[..] else { unreachable!("there are three") };
    crate::support::examples();
    stride(first, &["deploy", root().join("examples/counter").to_str().unwrap()]);
    assert_eq!(stride(first, &["ask", "counter/alice", "add", "1"]).trim(), "1");
    assert_eq!(stride(third, &["ask", "counter/alice", "add", "1"]).trim(), "2");
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    assert_eq!(stride(second, &["ask", "counter/alice", "get"]).trim(), "2");
    while !stride(first, &["nodes"]).contains("dead") {
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
    assert!(Command::new("kill").args(["-INT", &local.id().to_string()]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || local.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended}");
    assert!((0..3).all(|n| free(port + n)), "a node is left behind");
}

/// The hook is a real command, told by the node that reconciles; whoever adds nodes here is this test.
#[tokio::test]
async fn a_cluster_that_has_too_much_to_do_tells_the_scale_hook_and_is_content_with_what_it_wanted() {
    let cluster = Cluster::new();
    let told = cluster.dir.path().join("told.json");
    // The command fails once, as one that cannot reach its autoscaler.
    let (once, part) = (cluster.dir.path().join("once"), cluster.dir.path().join("part"));
    let hook = format!(
        "if mkdir {} 2>/dev/null; then exit 1; fi; cat > {part} && mv {part} {}",
        once.display(),
        told.display(),
        part = part.display(),
    );
    let config = cluster.data("a.toml");
    std::fs::write(&config, "live_agents_max = 20\n").unwrap();
    let mut arguments = cluster.arguments();
    arguments.extend(["--config".into(), config.display().to_string(), "--scale-hook".into(), hook]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let a = Node::try_start(&cluster.data("a"), &arguments).unwrap();
    a.deploy("counter").await;
    let scale = a.get("/v1/nodes").await.json()["scale"].clone();
    assert_eq!((&scale["nodes"], &scale["wanted"]), (&json!(1), &json!(1)), "{scale}");
    for agent in 0..20 {
        a.ask(&format!("counter/{agent}"), "add", "1").await;
    }
    let clock = Clock::real();
    let text = loop {
        // So that they stay in memory.
        for agent in 0..20 {
            a.ask(&format!("counter/{agent}"), "get", "null").await;
        }
        match std::fs::read_to_string(&told) {
            Ok(text) => break text,
            Err(_) => clock.sleep(Duration::from_millis(100)).await,
        }
    };
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&said["nodes"], &said["wanted"]), (&json!(1), &json!(2)), "{said}");
    assert!(said["reason"].as_str().unwrap().contains("20 agents"), "{said}");
    assert_eq!(said["members"][0]["state"], "ready");
    assert!(once.is_dir(), "it failed first, and was run again");
    let _b = cluster.start("b");
    until_shared(&a, 2).await;
    // Agents that move leave memory, and are what is counted again when they have been asked.
    let is_content = async || {
        for agent in 0..20 {
            a.ask(&format!("counter/{agent}"), "get", "null").await;
        }
        let shown = String::from_utf8(stride(&a.url, &["nodes"]).stdout).unwrap();
        shown.contains("2 nodes take work, 2 are wanted")
    };
    while !is_content().await {
        clock.sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn strict_reads_answer_what_was_written_before_and_nothing_without_the_database() {
    let cluster = Cluster::new();
    let start = |name: &str, mode: &str| {
        let mut arguments = cluster.arguments();
        arguments.extend(["--reads".into(), mode.into()]);
        Node::try_start(&cluster.data(name), &arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let (a, b) = (start("a", "strict"), start("b", "strict"));
    a.deploy("counter").await;
    until_shared(&a, 2).await;
    for agent in 0..20 {
        let agent = format!("counter/{agent}");
        for n in 1..=3 {
            assert_eq!(a.ask(&agent, "add", "1").await.json(), json!(n));
            assert_eq!(b.ask(&agent, "get", "null").await.json(), json!(n));
        }
    }
    // As a database that is cut off: a lease would last for another second, and a strict read does not rest on it.
    cluster.server.freeze(true).unwrap();
    let read = Client::new().post(format!("{}/v1/agents/counter/0/get", a.url)).body("null");
    let read = read.timeout(Duration::from_millis(700)).send().await;
    cluster.server.freeze(false).unwrap();
    assert!(read.is_err_and(|error| error.is_timeout()), "a strict read was answered without the database");
    let clock = Clock::real();
    while b.ask("counter/0", "get", "null").await.status != StatusCode::OK {
        clock.sleep(Duration::from_millis(50)).await;
    }
}
