//! What was acknowledged survives what happens to processes and disks.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::support::{Node, Reply, SmallDisk, data};
use reqwest::StatusCode;
use serde_json::json;
use stride_sim::Chance;

/// How often the node is killed.
const KILLS: u64 = 24;
/// How many agents are written to at the same time.
const AGENTS: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_turns_survive_sigkill_at_random_moments_and_none_is_applied_twice() {
    let seed = Chance::from_os().next_u64();
    eprintln!("seed {seed}");
    let chance = Chance::seeded(seed);
    let (_dir, data) = data();
    // Per agent: the next request's number. A request without an answer is sent again under its key after the crash.
    let next: Arc<HashMap<u64, AtomicU64>> = Arc::new((0..AGENTS).map(|agent| (agent, AtomicU64::new(0))).collect());
    for kill in 0..=KILLS {
        let node = Arc::new(Node::start(&data));
        if kill == 0 {
            node.deploy("counter").await;
        }
        let acknowledged = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..AGENTS)
            .map(|agent| {
                let (node, next, acknowledged) = (node.clone(), next.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    while let Some(count) = increment(&node, agent, next[&agent].load(Ordering::SeqCst)).await {
                        let number = next[&agent].fetch_add(1, Ordering::SeqCst) + 1;
                        assert_eq!(count, number, "agent {agent}: every increment is applied exactly once");
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let enough = chance.below(400);
        while acknowledged.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
        node.send_signal("-KILL");
        for client in clients {
            client.await.unwrap();
        }
    }
    let node = Node::start(&data);
    for agent in 0..AGENTS {
        let total = node.ask(&format!("counter/a{agent}"), "get", "").await.json().as_u64().unwrap();
        let acknowledged = next[&agent].load(Ordering::SeqCst);
        // The last request may have been applied without an answer having arrived.
        assert!((acknowledged..=acknowledged + 1).contains(&total), "agent {agent}: {total} of {acknowledged}");
    }
}

/// One increment under its key; the value that the agent answered, none if the node is gone.
async fn increment(node: &Node, agent: u64, number: u64) -> Option<u64> {
    let request = node.post(&format!("/v1/agents/counter/a{agent}/add"), "1");
    let response = request.header("idempotency-key", format!("{agent}-{number}")).send().await.ok()?;
    assert_eq!(response.status(), StatusCode::OK);
    response.text().await.ok()?.parse().ok()
}

#[tokio::test]
async fn a_flipped_bit_in_the_journal_is_refused_with_file_and_offset() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy("counter").await;
    for _ in 0..50 {
        node.ask("counter/a", "add", "1").await.json();
    }
    node.kill();
    let segment = data.join("journal/00000001.log");
    let sound = std::fs::read(&segment).unwrap();
    // In the payload of a turn in the midst of the 50, which are the last frames: those before them, one for each cell
    // that was taken over, have no payload, and what is between a payload and the next frame carries nothing.
    let frames: Vec<_> = (0..sound.len()).step_by(64).filter(|at| sound[*at..].starts_with(b"SLf1")).collect();
    let mut damaged = sound.clone();
    damaged[frames[frames.len() - 25] + 64] ^= 0x10;
    std::fs::write(&segment, &damaged).unwrap();
    let refused = Node::try_start(&data, &[]).err().unwrap();
    assert!(refused.contains("00000001.log") && refused.contains("at risk"), "{refused}");
    assert!(refused.contains("stride repair"), "{refused}");
    assert_eq!(std::fs::read(&segment).unwrap(), damaged, "a refusal changes nothing");
    std::fs::write(&segment, &sound).unwrap();
    assert_eq!(Node::start(&data).ask("counter/a", "get", "").await.json(), json!(50));
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount(160) else {
        // Without the right to mount there is no small disk; the log's own tests fill a simulated one.
        eprintln!("not run: this user may not mount a tmpfs");
        return;
    };
    let data = disk.path().join("data");
    let config = disk.path().join("config.toml");
    std::fs::write(&config, "journal_segment_mib = 8").unwrap();
    let node = Node::try_start(&data, &["--config", config.to_str().unwrap()]).unwrap();
    node.deploy("faulty").await;
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    let mut acknowledged = 0;
    let refusal = loop {
        let reply = node.ask("ledger/a", "bulk", "[10, 20000]").await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        node.ask("ledger/count", "add", "1").await.json();
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the disk never fills");
    };
    let (code, detail) = refusal.problem();
    assert!(["unavailable", "overloaded"].contains(&code.as_str()), "{code}: {detail}");
    assert!(detail.contains("space") || detail.contains("disk"), "{detail}");
    // Alive, and everything acknowledged can be read.
    assert_eq!(node.get("/readyz").await.status, 200);
    assert_eq!(node.ask("ledger/count", "total", "").await.json(), json!(acknowledged));
    let manifest = "name = \"faulty\"\n[agents.ledger]\nidle = \"1s\"";
    let deployed = node.deploy_with("faulty", manifest).await;
    assert!(deployed.status == StatusCode::CREATED || deployed.problem().0 == "unavailable", "{deployed:?}");

    std::fs::remove_file(&ballast).unwrap();
    let total = loop {
        let reply = node.ask("ledger/count", "add", "1").await;
        if reply.status == StatusCode::OK {
            break reply.json();
        }
    };
    assert_eq!(total, json!(acknowledged + 1));
    node.kill();
    let node = Node::start(&data);
    assert_eq!(node.ask("ledger/count", "total", "").await.json(), total);
    assert_eq!(
        Reply::of(node.post("/v1/agents/ledger/a/list", "\"bulk/\"")).await.json().as_array().unwrap().len(),
        10
    );
}

fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![1u8; 1 << 20];
    while file.write_all(&block).is_ok() {}
}
