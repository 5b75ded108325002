//! A cluster whose cells are in two databases, on two servers.

use std::{process::Output, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use stride_private_postgres::Server;
use stride_sim::Clock;

use crate::{
    cli::{stderr, stride},
    cluster::{Clients, Cluster, until_shared},
    support::Node,
};

const AGENTS: usize = 12;

/// `stride cluster ...` about this cluster, or `stride cells ...` at a node.
fn run(cluster: &Cluster, node: &Node, arguments: &[&str]) -> Output {
    let url = cluster.server.url("postgres");
    let first: &[&str] = if arguments[0] == "cluster" { &["--cluster", &url] } else { &[] };
    stride(&node.url, &[arguments, first].concat())
}

fn runs(cluster: &Cluster, node: &Node, arguments: &[&str]) -> Value {
    let output = run(cluster, node, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until the databases have so many cells each, and none is on its way.
async fn until_in_databases(cluster: &Cluster, node: &Node, cells: [u64; 2]) {
    loop {
        let listed = runs(cluster, node, &["cluster", "databases"]);
        let rows = listed.as_array().unwrap();
        let number = |row: &Value, what: &str| row[what].as_u64().unwrap();
        if rows.iter().all(|row| number(row, "leaving") + number(row, "coming") == 0)
            && rows.iter().map(|row| number(row, "cells")).eq(cells)
        {
            return;
        }
        Clock::real().sleep(Duration::from_millis(100)).await;
    }
}

/// In which database each agent of the clients is.
async fn databases(cluster: &Cluster, node: &Node) -> Vec<String> {
    let mut databases = Vec::new();
    for agent in 0..AGENTS {
        let cell = node.get(&format!("/v1/agents/counter/c{agent}")).await.json()["cell"].clone();
        let database = format!("SELECT database FROM stride.cells WHERE cell = {cell}");
        databases.push(cluster.server.psql("postgres", &database).unwrap());
    }
    databases
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_spread_under_load_and_a_database_that_is_stopped_takes_only_its_own_with_it() {
    let (cluster, mut second) = (Cluster::new(), Server::start().unwrap());
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.deploy("counter").await;
    until_shared(&a, 2).await;
    let clients = Clients::new(&[&a, &b]);
    let tasks = clients.start();
    clients.more(5).await;
    let url = second.url("postgres").replace("postgres@", "postgres:secret@");
    let added = runs(&cluster, &a, &["cluster", "add-database", &url]);
    assert_eq!((&added["database"], &added["moving"]), (&1.into(), &512.into()));
    until_in_databases(&cluster, &a, [512, 512]).await;
    clients.more(5).await;
    assert_eq!(clients.failed(), 0, "requests wait while tails move");
    let again = run(&cluster, &a, &["cluster", "add-database", &url]);
    let said = stderr(&again);
    assert!(!again.status.success() && said.contains("database 1 of this cluster already"), "{said}");
    let listed = String::from_utf8(run(&cluster, &a, &["cluster", "databases"]).stdout).unwrap();
    assert!(listed.contains("answers") && !(listed + &said).contains("secret"), "passwords are not printed");

    let at = databases(&cluster, &a).await;
    assert!(at.contains(&"0".to_owned()) && at.contains(&"1".to_owned()), "{at:?}");
    let here: Vec<usize> = (0..AGENTS).filter(|agent| at[*agent] == "0").collect();
    let there = (0..AGENTS).find(|agent| at[*agent] == "1").unwrap();
    second.stop();
    // A node that is started now has its share of the others.
    let c = cluster.start("c");
    let before = clients.answered();
    a.ask(&format!("counter/c{there}"), "get", "").await.fails_with("unavailable", "");
    loop {
        let answered = clients.answered();
        if here.iter().all(|agent| answered[*agent] > before[*agent] + 20) {
            assert_eq!(answered[there], before[there]);
            break;
        }
        Clock::real().sleep(Duration::from_millis(20)).await;
    }
    for agent in &here {
        assert_eq!(c.ask(&format!("counter/c{agent}"), "get", "").await.status, StatusCode::OK);
    }
    let listed = runs(&cluster, &a, &["cluster", "databases"]);
    assert!(listed[1]["trouble"].is_string() && listed[0]["trouble"].is_null(), "{listed}");
    second.resume().unwrap();
    clients.more(5).await;
    until_shared(&a, 3).await;

    // Empty it again: then it can go.
    let all: Vec<String> = (0..1024).map(|cell| cell.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let unknown = run(&cluster, &b, &[&["cells", "move"][..], &all[..1], &["--database", "7"]].concat());
    assert!(stderr(&unknown).contains("stride cluster databases"), "{}", stderr(&unknown));
    let moved = run(&cluster, &b, &[&["cells", "move"][..], &all[..], &["--database", "0"]].concat());
    assert!(moved.status.success(), "{}", stderr(&moved));
    until_in_databases(&cluster, &a, [1024, 0]).await;
    second.stop();
    clients.more(5).await;
    clients.end(tasks).await;
    clients.check(&c).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_two_databases_is_exported_as_a_whole_and_takes_no_other_agents_in() {
    let (cluster, second) = (Cluster::new(), Server::start().unwrap());
    let a = cluster.start("a");
    runs(&cluster, &a, &["cluster", "add-database", &second.url("postgres")]);
    a.deploy("counter").await;
    until_in_databases(&cluster, &a, [512, 512]).await;
    for agent in 0..40 {
        a.ask(&format!("counter/{agent}"), "add", "2").await.json();
    }
    let (nowhere, objects) = (a.url.clone(), cluster.objects());
    assert!(tokio::task::spawn_blocking(move || a.terminate()).await.unwrap().success());
    let database = cluster.server.url("postgres");
    let at = ["--cluster", &database, "--objects", &objects];
    let rewound = stride(&nowhere, &[&["cluster", "rewind"][..], &at[..]].concat());
    assert!(rewound.status.success(), "{}", stderr(&rewound));
    let alone = cluster.data("alone");
    let node = Node::start(&alone);
    assert!(tokio::task::spawn_blocking(move || node.terminate()).await.unwrap().success());
    let adopted = stride(&nowhere, &[&["cluster", "adopt", alone.to_str().unwrap()][..], &at[..]].concat());
    assert!(stderr(&adopted).contains("add-database"), "{}", stderr(&adopted));
    let back = cluster.data("back");
    let exported = stride(&nowhere, &[&["cluster", "export", back.to_str().unwrap()][..], &at[..]].concat());
    assert!(exported.status.success(), "{}", stderr(&exported));
    let node = Node::start(&back);
    for agent in 0..40 {
        assert_eq!(node.ask(&format!("counter/{agent}"), "get", "").await.json(), 2);
    }
}
