//! From a node that is alone to a cluster and back, through the real binary: nothing is lost, nothing happens twice, and whatever
//! breaks it off, beginning again ends well.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stride_sim::Clock;

use crate::{
    cli::stderr,
    cluster::{Cluster, until_shared},
    maps,
    support::{Node, Reply, data},
};

const ACCOUNTS: u64 = 24;
/// What every account begins with, in cents.
const DEPOSIT: u64 = 100_000;
/// How many accounts have a payment that is still to come.
const TIMERS: u64 = 6;

fn command(what: &str, dir: &Path, cluster: &Cluster, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stride"));
    command.args(["cluster", what]).arg(dir).args(["--objects", &cluster.objects()]).args(more);
    command.env("STRIDE_CLUSTER", cluster.server.url("postgres"));
    command
}

fn run(what: &str, dir: &Path, cluster: &Cluster, more: &[&str]) -> Output {
    command(what, dir, cluster, more).output().unwrap()
}

/// What a transfer says that succeeds.
fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output, says: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(says) && said.contains("next:"), "{said}");
}

/// Runs a transfer and kills it as soon as it says that it has come to a stage; whether it did.
fn killed_at(stage: &str, what: &str, dir: &Path, cluster: &Cluster) -> bool {
    let mut process = command(what, dir, cluster, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let came = lines.map_while(Result::ok).any(|line| line.contains(stage));
    process.kill().unwrap();
    process.wait().unwrap();
    came
}

fn account(number: u64) -> String {
    format!("account/a{number}")
}

fn payment(id: &str, to: u64, cents: u64) -> Value {
    json!({ "id": id, "to": format!("a{to}"), "cents": cents })
}

/// Accounts that have paid each other, and some of which will.
async fn open_bank(node: &Node, later: Duration) {
    node.deploy("bank").await;
    for number in 0..ACCOUNTS {
        node.ask(&account(number), "deposit", &DEPOSIT.to_string()).await.json();
    }
    for number in 0..TIMERS {
        let body = json!([later.as_millis() as u64, payment(&format!("later-{number}"), ACCOUNTS - 1 - number, 7)]);
        assert_eq!(node.ask(&account(number), "pay_later", &body.to_string()).await.status, StatusCode::OK);
    }
}

/// Payments between all accounts, one after the other for each, until the node does not answer any more. How many were
/// answered, by account.
async fn pay(node: &Node, round: &str) -> Vec<u64> {
    let paying = (0..ACCOUNTS).map(|number| {
        let (http, url, round) = (node.http.clone(), node.url.clone(), round.to_owned());
        async move {
            let mut paid = 0;
            loop {
                let body = payment(&format!("{round}-{number}-{paid}"), (number + 1 + paid) % ACCOUNTS, 1).to_string();
                let sent = http.post(format!("{url}/v1/agents/{}/pay", account(number))).body(body).send().await;
                match sent {
                    Ok(answer) if answer.status() == StatusCode::OK => paid += 1,
                    _ => return paid,
                }
            }
        }
    });
    join_all(paying.map(tokio::spawn)).await.into_iter().map(Result::unwrap).collect()
}

/// Kills a node in the midst of payments.
async fn kill_while_paying(node: Node, round: &str) -> Vec<u64> {
    let pid = node.pid().to_string();
    let clock = Clock::real();
    let paying = async {
        let paid = pay(&node, round).await;
        assert!(paid.iter().sum::<u64>() > 0);
        paid
    };
    let kill = async {
        clock.sleep(Duration::from_millis(700)).await;
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    };
    let (paid, ()) = tokio::join!(paying, kill);
    node.kill();
    paid
}

/// Waits until all money is in accounts, which is when every message has been handled once: money on its way is in none.
async fn until_settled(nodes: &[&Node]) {
    let clock = Clock::real();
    loop {
        let mut total = 0;
        for number in 0..ACCOUNTS {
            let node = nodes[number as usize % nodes.len()];
            let balance = node.ask(&account(number), "balance", "").await;
            if balance.status == StatusCode::OK {
                total += balance.json().as_u64().unwrap();
            }
        }
        assert!(total <= ACCOUNTS * DEPOSIT, "money was made: {total}");
        if total == ACCOUNTS * DEPOSIT {
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

/// The statements of all accounts: for each payment that is in one, how often it left and how often it came.
async fn every_payment_once(node: &Node, answered: &[(&str, &[u64])], timers: bool) {
    let mut seen = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for number in 0..ACCOUNTS {
        let mut from = 0;
        loop {
            let page = node.ask(&account(number), "statement", &from.to_string()).await.json();
            let page = page.as_array().unwrap().clone();
            if page.is_empty() {
                break;
            }
            from += page.len();
            for entry in page {
                let counts = seen.entry(entry["payment"].as_str().unwrap().to_owned()).or_default();
                if entry["cents"].as_i64().unwrap() < 0 { counts.0 += 1 } else { counts.1 += 1 }
            }
        }
    }
    let wrong: Vec<_> = seen.iter().filter(|(_, counts)| **counts != (1, 1)).collect();
    assert!(wrong.is_empty(), "payments that left or came not exactly once: {wrong:?}");
    for (round, counts) in answered {
        for (number, count) in counts.iter().enumerate() {
            let missing = (0..*count).find(|n| !seen.contains_key(&format!("{round}-{number}-{n}")));
            assert_eq!(missing, None, "acknowledged payments of account {number} in round {round}");
        }
    }
    let later = (0..TIMERS).filter(|number| seen.contains_key(&format!("later-{number}"))).count() as u64;
    assert_eq!(later, if timers { TIMERS } else { 0 });
}

async fn put(node: &Node, name: &str, body: Vec<u8>) {
    let put = node.request(Method::PUT, &format!("/v1/objects/{name}")).body(body);
    Reply::of(put).await.json_of(StatusCode::CREATED);
}

async fn keyed(node: &Node, key: &str) -> Reply {
    Reply::of(node.post("/v1/agents/counter/c/add", "5").header("idempotency-key", key)).await
}

/// Bytes that differ from chunk to chunk.
fn large() -> Vec<u8> {
    (0..20_000_000u32).map(|n| (n / 4099) as u8).collect()
}

/// Puts a bit of everything on a node, and says which map it has run.
async fn fill(node: &Node, later: Duration) -> String {
    for example in ["counter", "echo"] {
        node.deploy(example).await;
    }
    open_bank(node, later).await;
    assert_eq!(keyed(node, "first").await.json(), json!(5));
    put(node, "pictures/large", large()).await;
    put(node, "pictures/small", b"few bytes".into()).await;
    maps::put_many(node, 40, |n| n.to_string()).await;
    let map = maps::begin(node, &json!({ "function": "echo/echo", "over": "data/in/" })).await;
    assert_eq!(maps::results(node, &map).await.len(), 40);
    // It can never pay, so it fails until it is parked.
    Reply::of(node.post("/v1/agents/account/poor/pay?mode=tell", payment("poor", 0, 1).to_string())).await;
    while node.get("/v1/parked").await.json()["parked"].as_array().unwrap().is_empty() {}
    map
}

/// What [`fill`] has put on it is there.
async fn check(node: &Node, map: &str) {
    let again = keyed(node, "first").await;
    assert_eq!((again.json(), &again.headers["stride-turn"]), (json!(5), &"1".parse().unwrap()));
    assert_eq!(node.ask("counter/c", "get", "").await.json(), json!(5));
    let got = node.request(Method::GET, "/v1/objects/pictures/large").send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), large());
    assert_eq!(node.get("/v1/objects/pictures/small").await.body, "few bytes");
    let listed = node.get("/v1/objects/data?prefix=in/&limit=100").await.json();
    assert_eq!(listed["objects"].as_array().unwrap().len(), 40, "{listed}");
    assert_eq!(maps::results(node, map).await.len(), 40);
    assert_eq!(node.call("echo/echo", "hello").await.body, "hello");
    let parked = node.get("/v1/parked").await.json();
    assert_eq!(parked["parked"].as_array().unwrap().len(), 1, "{parked}");
    // A listing has what the nodes have taken over by now.
    let listed = async || node.get("/v1/agents/account?limit=100").await.json()["agents"].as_array().unwrap().len();
    while (listed().await as u64) < ACCOUNTS {
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_becomes_a_cluster_and_a_node_again_and_nothing_is_lost_or_done_twice() {
    let (_dir, data) = data();
    let cluster = Cluster::new();
    // One that runs, and has nothing yet.
    let a = cluster.start("a");
    let node = Node::start(&data);
    let map = fill(&node, Duration::from_secs(45)).await;
    let ahead = done(&run("adopt", &data, &cluster, &["--ahead", "--json"]));
    assert!(ahead["copied"].as_u64().unwrap() >= 4, "{ahead}");
    let first = kill_while_paying(node, "alone").await;
    let adopted = done(&run("adopt", &data, &cluster, &["--json"]));
    assert_eq!((&adopted["rows"]["timers"], &adopted["rows"]["parked"]), (&json!(TIMERS), &json!(1)), "{adopted}");
    assert_eq!((&adopted["objects"]["copied"], &adopted["deployments"]), (&json!(0), &json!(3)), "{adopted}");
    let b = cluster.start("b");
    until_shared(&a, 2).await;
    check(&a, &map).await;
    check(&b, &map).await;
    until_settled(&[&a, &b]).await;
    every_payment_once(&a, &[("alone", &first)], false).await;
    // Each side knows where its agents are.
    let refused_start = Node::try_start(&data, &[]).err().unwrap();
    assert!(refused_start.contains("was taken into the cluster"), "{refused_start}");

    let second = kill_while_paying(b, "shared").await;
    let back = data.with_file_name("back");
    refused(&run("export", &back, &cluster, &[]), "nodes of the cluster run");
    a.kill();
    // It waits for the leases of both.
    let exported = done(&run("export", &back, &cluster, &["--json"]));
    assert_eq!(exported["deployments"], json!(3));
    let refused_start = cluster.try_start("a").err().unwrap();
    assert!(refused_start.contains("was closed") && refused_start.contains("back"), "{refused_start}");
    let sound = Command::new(env!("CARGO_BIN_EXE_stride")).arg("check").arg(&back).output().unwrap();
    assert!(sound.status.success(), "{}", stderr(&sound));
    let node = Node::start(&back);
    check(&node, &map).await;
    until_settled(&[&node]).await;
    while node
        .get("/metrics")
        .await
        .body
        .lines()
        .any(|line| line.strip_prefix("stride_timers ").is_some_and(|count| count.trim() != "0"))
    {
        Clock::real().sleep(Duration::from_millis(100)).await;
    }
    until_settled(&[&node]).await;
    every_payment_once(&node, &[("alone", &first), ("shared", &second)], true).await;
    node.kill();
    // And it is a node like any other: what it wrote since is there after a crash.
    let node = Node::start(&back);
    every_payment_once(&node, &[("alone", &first), ("shared", &second)], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_killed_at_any_stage_is_begun_again_and_ends_well() {
    let (_dir, data) = data();
    let cluster = Cluster::new();
    let node = Node::start(&data);
    let map = fill(&node, Duration::from_secs(3600)).await;
    node.kill();
    let stages = ["verify what", "copy chunks", "copy components", "translate rows", "write cells", "publish cells"];
    for stage in stages {
        assert!(killed_at(stage, "adopt", &data, &cluster), "it never came to: {stage}");
        if stage != "publish cells" {
            // Nothing is switched: either side may still have the agents.
            let unused = cluster.server.psql("postgres", "SELECT count(*) FROM stride.cells WHERE last > 0");
            assert!(unused.is_err() || unused.unwrap() == "0", "{stage}");
        }
    }
    let adopted = done(&run("adopt", &data, &cluster, &["--json"]));
    // Once more changes nothing.
    assert_eq!(done(&run("adopt", &data, &cluster, &["--json"]))["rows"], adopted["rows"]);
    let a = cluster.start("a");
    check(&a, &map).await;
    until_settled(&[&a]).await;
    assert!(tokio::task::spawn_blocking(move || a.terminate()).await.unwrap().success());

    let back = data.with_file_name("back");
    for stage in ["read cells", "translate rows", "copy chunks", "copy components", "verify what"] {
        assert!(killed_at(stage, "export", &back, &cluster), "it never came to: {stage}");
    }
    // The cluster is as it was.
    let a = cluster.start("a");
    check(&a, &map).await;
    assert!(tokio::task::spawn_blocking(move || a.terminate()).await.unwrap().success());
    done(&run("export", &back, &cluster, &["--json"]));
    let node = Node::start(&back);
    check(&node, &map).await;
    every_payment_once(&node, &[], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_refused_and_both_sides_stay_as_they_were() {
    let (_dir, data) = data();
    let cluster = Cluster::new();
    refused(&run("adopt", &data, &cluster, &[]), "not a data directory");
    let node = Node::start(&data);
    node.deploy("counter").await;
    put(&node, "pictures/one", b"some bytes".into()).await;
    assert_eq!(keyed(&node, "first").await.json(), json!(5));
    refused(&run("adopt", &data, &cluster, &[]), "a node runs on");
    node.kill();

    // Wrong bytes and formats.
    let changed = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let sound = fs::read(path).unwrap();
        let mut other = sound.clone();
        change(&mut other);
        fs::write(path, other).unwrap();
        let output = run("adopt", &data, &cluster, &[]);
        fs::write(path, sound).unwrap();
        output
    };
    let format = |bytes: &mut Vec<u8>| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("\"format\": 1", "\"format\": 9").into();
    };
    refused(&changed(&data.join("node.json"), &format), "format 9");
    let chunk = find(&data.join("objects/chunks"));
    refused(&changed(&chunk, &|bytes| bytes[0] ^= 1), "pictures/one");
    let segment = find(&data.join("journal").join("00000001.log"));
    refused(&changed(&segment, &|bytes| bytes[700] ^= 1), "is damaged");

    // The database.
    let mut away = command("adopt", &data, &cluster, &[]);
    away.env("STRIDE_CLUSTER", "postgres://postgres@127.0.0.1:9/postgres?connect_timeout=1");
    let nowhere = away.output().unwrap();
    assert_eq!(nowhere.status.code(), Some(3), "{}", stderr(&nowhere));
    let usage = Command::new(env!("CARGO_BIN_EXE_stride")).args(["cluster", "adopt"]).arg(&data).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "{}", stderr(&usage));

    // A cluster that is in use.
    let a = cluster.start("a");
    a.deploy("counter").await;
    a.ask("counter/other", "add", "1").await.json();
    refused(&run("adopt", &data, &cluster, &[]), "it is in use");
    let there = data.with_file_name("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("file"), "").unwrap();
    refused(&run("export", &there, &cluster, &[]), "is there already");
    assert_eq!(a.ask("counter/other", "get", "").await.json(), json!(1));
    drop(a);

    let node = Node::start(&data);
    assert_eq!(keyed(&node, "first").await.json(), json!(5));
    assert_eq!(node.get("/v1/objects/pictures/one").await.body, "some bytes");
}

/// A file, or the only one that is somewhere below a directory.
fn find(path: &Path) -> std::path::PathBuf {
    if path.is_file() {
        return path.into();
    }
    find(&fs::read_dir(path).unwrap().next().unwrap().unwrap().path())
}
