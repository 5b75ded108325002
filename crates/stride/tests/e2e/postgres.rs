//! A node whose journal is in PostgreSQL: nothing acknowledged is lost when either of them dies.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::json;
use stride_private_postgres::Server;
use stride_sim::Clock;

use crate::support::{Node, data};

/// How many agents are written to at the same time.
const AGENTS: u64 = 8;

/// A node with its journal in the database and its objects beside its data.
fn try_start(data: &Path, url: &str) -> Result<Node, String> {
    let objects = format!("file://{}", data.with_file_name("objects").display());
    Node::try_start(data, &["--cluster", url, "--objects", &objects, "--peers", "127.0.0.1:0"])
}

fn start(data: &Path, url: &str) -> Node {
    try_start(data, url).unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"))
}

/// Increments that go on over whatever happens to node and server; each is repeated under its key until it is answered.
struct Clients {
    next: Vec<AtomicU64>,
    unavailable: AtomicU64,
    stop: AtomicBool,
}

impl Clients {
    fn new() -> Arc<Self> {
        let next = (0..AGENTS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { next, unavailable: AtomicU64::new(0), stop: AtomicBool::new(false) })
    }

    fn start(self: &Arc<Self>, node: &Arc<Node>) -> Vec<tokio::task::JoinHandle<()>> {
        let client = |agent| tokio::spawn(self.clone().run(node.clone(), agent));
        (0..AGENTS).map(client).collect()
    }

    fn acknowledged(&self) -> u64 {
        self.next.iter().map(|next| next.load(Ordering::SeqCst)).sum()
    }

    async fn more(&self, count: u64) {
        let (clock, enough) = (Clock::real(), self.acknowledged() + count);
        while self.acknowledged() < enough {
            clock.sleep(Duration::from_millis(5)).await;
        }
    }

    async fn run(self: Arc<Self>, node: Arc<Node>, agent: u64) {
        let clock = Clock::real();
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next[agent as usize].load(Ordering::SeqCst);
            let request = node.post(&format!("/v1/agents/counter/a{agent}/add"), "1");
            let sent = request.header("idempotency-key", format!("{agent}-{number}")).send().await;
            // The node was killed.
            let Ok(response) = sent else { return };
            let status = response.status();
            let Ok(body) = response.text().await else { return };
            match status {
                StatusCode::OK => {
                    assert_eq!(body.parse(), Ok(number + 1), "agent {agent}: every increment is applied exactly once");
                    self.next[agent as usize].fetch_add(1, Ordering::SeqCst);
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(body.contains("\"unavailable\"") && body.contains("database"), "{body}");
                    self.unavailable.fetch_add(1, Ordering::SeqCst);
                    clock.sleep(Duration::from_millis(20)).await;
                }
                _ => panic!("{status}: {body}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_turns_survive_sigkill_of_the_node_and_of_postgresql_and_none_is_applied_twice() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    let (_dir, data) = data();
    let clients = Clients::new();
    for round in 0..4 {
        let node = Arc::new(start(&data, &url));
        if round == 0 {
            node.deploy("counter").await;
        }
        let tasks = clients.start(&node);
        clients.more(60).await;
        server.kill();
        if round == 1 {
            // Long enough that callers are told, and those that wait already go on waiting.
            let clock = Clock::real();
            let ask = || node.post("/v1/agents/counter/told/add", "1").header("stride-deadline-ms", "500").send();
            while ask().await.unwrap().status() != StatusCode::SERVICE_UNAVAILABLE {
                clock.sleep(Duration::from_millis(50)).await;
            }
        }
        server.resume().unwrap();
        clients.more(60).await;
        node.send_signal("-KILL");
        for task in tasks {
            task.await.unwrap();
        }
    }
    let node = start(&data, &url);
    for agent in 0..AGENTS {
        let total = node.ask(&format!("counter/a{agent}"), "get", "").await.json().as_u64().unwrap();
        let acknowledged = clients.next[agent as usize].load(Ordering::SeqCst);
        assert!((acknowledged..=acknowledged + 1).contains(&total), "agent {agent}: {total} of {acknowledged}");
    }
    assert!(!data.join("journal").exists(), "the journal is in the database only");
    assert!(node.terminate().success());
    let node = start(&data, &url);
    assert!(node.ask("counter/a0", "get", "").await.json().as_u64().unwrap() > 0, "an orderly end keeps it too");
}

#[tokio::test]
async fn a_data_directory_and_its_database_are_never_separated_silently() {
    let server = Server::start().unwrap();
    let (url, (_dir, data)) = (server.url("postgres"), data());
    let node = start(&data, &url);
    node.deploy("counter").await;
    node.ask("counter/a", "add", "1").await.json();
    node.kill();
    let says = |refused: Result<Node, String>, says: &str| {
        let stderr = refused.err().unwrap();
        assert!(stderr.contains(says), "`{stderr}` does not say `{says}`");
    };
    let refused = |data: &Path, url: &str, why: &str| says(try_start(data, url), why);
    says(Node::try_start(&data, &[]), "start with --cluster");
    let other = server.url(&server.fresh_database().unwrap());
    refused(&data, &other, "start with that database's address");
    let (_other_dir, other_data) = crate::support::data();
    refused(&other_data, &server.url("nowhere"), "nowhere");
    Node::start(&other_data.with_file_name("embedded")).kill();
    refused(&other_data.with_file_name("embedded"), &other, "without --cluster");
    assert_eq!(start(&data, &url).ask("counter/a", "get", "").await.json(), json!(1));
}
