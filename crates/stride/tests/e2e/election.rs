//! Leader election through the real binary: the bully algorithm among agents, and the lease.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{Node, Reply, data};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stride_sim::{Chance, Clock};

const MEMBERS: u32 = 5;

/// A node with the example, and candidates that have joined: those of one kind.
async fn candidates(node: &Node, kind: &str) {
    for id in 1..=MEMBERS {
        let mut place = json!({"group": "g", "id": id, "members": MEMBERS});
        if kind == "candidate" {
            // Longer than a machine that is busy with other tests takes for an answer.
            place["timeout_ms"] = json!(200);
        }
        node.ask(&format!("{kind}/g.{id}"), "join", &place.to_string()).await.json();
    }
}

async fn tell_it(node: &Node, kind: &str, id: u32, what: &str) {
    node.ask(&format!("{kind}/g.{id}"), what, "").await.json();
}

/// Waits until these follow the highest of them, and then looks at all of them once more.
async fn all_follow(node: &Node, kind: &str, ids: Range<u32>) {
    let leader = ids.end - 1;
    for _ in 0..2 {
        for id in ids.clone() {
            while node.ask(&format!("{kind}/g.{id}"), "status", "").await.json()["leader"] != json!(leader) {
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn elections(kind: &str) {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("election").await;
    candidates(&node, kind).await;
    tell_it(&node, kind, 1, "notice").await;
    all_follow(&node, kind, 1..MEMBERS + 1).await;
    tell_it(&node, kind, MEMBERS, "go_down").await;
    tell_it(&node, kind, 1, "notice").await;
    all_follow(&node, kind, 1..MEMBERS).await;
    // The new leader dies, too, and the node with it.
    tell_it(&node, kind, MEMBERS - 1, "go_down").await;
    tell_it(&node, kind, 2, "notice").await;
    node.kill();
    let node = Node::start(&data);
    all_follow(&node, kind, 1..MEMBERS - 1).await;
    let dead = node.ask(&format!("{kind}/g.{MEMBERS}"), "status", "").await.json();
    assert_eq!((&dead["is_down"], &dead["leader"]), (&json!(true), &Value::Null));
    tell_it(&node, kind, MEMBERS, "come_up").await;
    tell_it(&node, kind, MEMBERS - 1, "come_up").await;
    all_follow(&node, kind, 1..MEMBERS + 1).await;
}

#[tokio::test]
async fn agents_that_tell_each_other_elect_the_highest_that_lives_also_over_sigkill() {
    elections("candidate").await;
}

#[tokio::test]
async fn agents_that_poll_a_table_elect_the_same() {
    elections("polled-candidate").await;
}

async fn acquire(node: &Node, holder: &str, ttl_ms: u64) -> Value {
    node.ask("lease/l", "acquire", &json!({"holder": holder, "ttl_ms": ttl_ms}).to_string()).await.json()
}

async fn with_token(node: &Node, method: &str, holder: &str, token: u64) -> Reply {
    node.ask("lease/l", method, &json!({"holder": holder, "token": token}).to_string()).await
}

#[tokio::test]
async fn a_lease_has_one_holder_and_says_so_to_the_others() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("election").await;
    let first = acquire(&node, "a", 60_000).await;
    assert_eq!((&first["yours"], &first["token"]), (&json!(true), &json!(1)));
    let other = acquire(&node, "b", 60_000).await;
    assert_eq!((&other["yours"], &other["holder"]), (&json!(false), &json!("a")));
    assert!(other["expires_at"].as_u64().unwrap() > 0);
    for (holder, token) in [("b", 1), ("a", 2)] {
        for method in ["renew", "release"] {
            with_token(&node, method, holder, token).await.fails_with("conflict", "`a` holds it with token 1");
        }
    }
    node.ask("lease/l", "expire", r#"{"token": 1, "renewals": 0}"#).await.fails_with("capability_denied", "its timer");
    assert_eq!(with_token(&node, "renew", "a", 1).await.json()["yours"], true);
    assert_eq!(with_token(&node, "release", "a", 1).await.json()["holder"], Value::Null);
    with_token(&node, "release", "a", 1).await.fails_with("conflict", "not yours any more");
    let next = acquire(&node, "b", 60_000).await;
    assert_eq!((&next["yours"], &next["token"]), (&json!(true), &json!(2)));
    for wrong in [r#"{"holder": "", "ttl_ms": 1}"#, r#"{"holder": "c", "ttl_ms": 0}"#] {
        node.ask("lease/l", "acquire", wrong).await.fails_with("invalid_request", "1 to");
    }
}

#[tokio::test]
async fn whoever_waits_is_told_in_turn_and_one_that_cannot_be_told_is_passed_over() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("election").await;
    let start = json!(["l", 60_000]).to_string();
    assert_eq!(node.ask("worker/a", "start", &start).await.json(), json!(1));
    let lost = json!({"holder": "lost", "ttl_ms": 60_000, "tell": ["stranger", "s"]}).to_string();
    assert_eq!(node.ask("lease/l", "acquire", &lost).await.json()["yours"], false);
    assert_eq!(node.ask("worker/b", "start", &start).await.json(), Value::Null);
    assert_eq!(node.ask("lease/l", "who", "").await.json()["waiting"], 2);
    node.ask("worker/a", "stop", "").await.json();
    while node.ask("worker/b", "token", "").await.json() == Value::Null {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.ask("worker/b", "tokens", "").await.json(), json!([3]));
    assert_eq!(node.ask("worker/a", "token", "").await.json(), Value::Null);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_by_itself_also_if_the_node_was_killed_meanwhile() {
    const TTL: Duration = Duration::from_millis(1_500);
    let clock = Clock::real();
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("election").await;
    let began = clock.now();
    assert_eq!(acquire(&node, "silent", TTL.as_millis() as u64).await["yours"], true);
    node.kill();
    let node = Node::start(&data);
    while acquire(&node, "next", 60_000).await["yours"] != true {
        tokio::task::yield_now().await;
    }
    assert!(clock.now() - began >= TTL, "the lease was given away before its end");
    with_token(&node, "renew", "silent", 1).await.fails_with("conflict", "`next` holds it with token 2");
}

#[tokio::test]
async fn whoever_renews_keeps_a_lease_for_longer_than_it_lasts() {
    const TTL_MS: u64 = 1_000;
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("election").await;
    assert_eq!(node.ask("worker/a", "start", &json!(["l", TTL_MS]).to_string()).await.json(), json!(1));
    let until = async || node.ask("lease/l", "who", "").await.json()["expires_at"].as_u64().unwrap();
    let first = until().await;
    while until().await < first + 2 * TTL_MS {
        tokio::task::yield_now().await;
    }
    let standing = node.ask("lease/l", "who", "").await.json();
    assert_eq!((&standing["holder"], &standing["token"]), (&json!("worker/a"), &json!(1)));
}

/// While somebody knew that the lease was theirs.
#[derive(Debug)]
struct Use {
    token: u64,
    during: Range<Duration>,
}

/// Takes the lease again and again, until the node is gone; returns when it was this one's.
async fn contend(node: Arc<Node>, clock: Clock, chance: Chance, holder: String, granted: Arc<AtomicUsize>) -> Vec<Use> {
    let mut uses: Vec<Use> = Vec::new();
    loop {
        // A name that was used before would take the lease from itself.
        let holder = format!("{holder}-{}", uses.len());
        let ttl = Duration::from_millis(20 + chance.below(200));
        let began = clock.now();
        let wanted = json!({"holder": holder, "ttl_ms": ttl.as_millis() as u64});
        let Some(standing) = answer(&node, "acquire", &wanted).await else { return uses };
        if standing["yours"] != true {
            tokio::task::yield_now().await;
            continue;
        }
        granted.fetch_add(1, Ordering::SeqCst);
        let token = standing["token"].as_u64().unwrap();
        let mut during = clock.now()..began + ttl;
        let held = json!({"holder": holder, "token": token});
        for _ in 0..chance.below(3) {
            let began = clock.now();
            match answer(&node, "renew", &held).await {
                Some(standing) if standing["yours"] == true => during.end = began + ttl,
                _ => break,
            }
        }
        // Half of them say nothing and let it run out.
        if chance.hits(500) {
            during.end = during.end.min(clock.now());
            answer(&node, "release", &held).await;
        }
        uses.push(Use { token, during });
    }
}

/// What the lease answers; none if the node is gone.
async fn answer(node: &Node, method: &str, body: &Value) -> Option<Value> {
    let response = node.post(&format!("/v1/agents/lease/l/{method}"), body.to_string()).send().await.ok()?;
    assert!([StatusCode::OK, StatusCode::CONFLICT].contains(&response.status()), "{}", response.status());
    response.json().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_never_hold_a_lease_at_the_same_time_and_tokens_only_grow_also_over_sigkill() {
    const HOLDERS: u64 = 4;
    const KILLS: usize = 4;
    let seed = Chance::from_os().next_u64();
    eprintln!("seed {seed}");
    let (chance, clock) = (Chance::seeded(seed), Clock::real());
    let (_dir, data) = data();
    let mut uses = Vec::new();
    for kill in 0..=KILLS {
        let node = Arc::new(Node::start(&data));
        if kill == 0 {
            node.deploy("election").await;
        }
        let granted = Arc::new(AtomicUsize::new(0));
        let holders: Vec<_> = (0..HOLDERS)
            .map(|n| {
                let (node, clock, granted) = (node.clone(), clock.clone(), granted.clone());
                let chance = Chance::seeded(chance.next_u64());
                tokio::spawn(contend(node, clock, chance, format!("{kill}-{n}"), granted))
            })
            .collect();
        while granted.load(Ordering::SeqCst) < 30 {
            tokio::task::yield_now().await;
        }
        node.send_signal("-KILL");
        for holder in holders {
            uses.extend(holder.await.unwrap());
        }
    }
    uses.sort_by_key(|it| it.token);
    assert!(uses.len() > KILLS * 20, "{}", uses.len());
    for pair in uses.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        assert!(before.token < after.token, "seed {seed}: {pair:?}");
        let is_over = before.during.is_empty() || after.during.is_empty() || before.during.end <= after.during.start;
        assert!(is_over, "seed {seed}: {pair:?}");
    }
}
