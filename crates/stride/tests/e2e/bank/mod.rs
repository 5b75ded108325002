//! A bank whose node is killed again and again while its accounts pay each other, and a checker outside that knows
//! nothing but what was asked, what was answered, and the statements in the end.

mod clients;

use std::sync::Arc;

use serde_json::json;
use stride_sim::{Chance, Clock};
use stride_torture::bank::{self, ACCOUNTS, DEPOSIT, Ledger, Line};

use self::clients::{Bank, Client};
use crate::support::{Node, data};

/// How often the node is killed, unless `STRIDE_BANK_KILLS` says otherwise.
const KILLS: u64 = 24;
const CLIENTS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_whose_node_is_killed_at_random_loses_no_payment_and_makes_none() {
    let kills = std::env::var("STRIDE_BANK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = Chance::from_os().next_u64();
    eprintln!("{kills} kills, seed {seed}");
    let chance = Chance::seeded(seed);
    let (_dir, data) = data();
    let clock = Clock::real();
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|number| Client::new(number, chance.next_u64(), clock.clone())).collect();
    open_accounts(&data).await;
    for _ in 0..kills {
        let bank = Arc::new(Bank::open_until(Node::start(&data), chance.below(400)));
        let working: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let bank = bank.clone();
                tokio::spawn(async move {
                    client.work(&bank).await;
                    client
                })
            })
            .collect();
        clients = Vec::new();
        for client in working {
            clients.push(client.await.unwrap());
        }
    }
    let bank = Bank::open_until(Node::start(&data), u64::MAX);
    let mut operations = Vec::new();
    for client in clients {
        operations.extend(client.finish(&bank).await);
    }
    until_quiet(&bank.node).await;
    let mut ledger = Ledger::default();
    for account in ACCOUNTS {
        ledger.insert(account.to_owned(), statement(&bank.node, account).await);
    }
    let broken = bank::all(&operations, &ledger);
    assert_eq!(broken, Vec::<String>::new(), "seed {seed}");
    assert_eq!(bank.node.get("/v1/parked").await.json()["parked"], json!([]));
    eprintln!("{} operations, all as they should be", operations.len());
}

async fn open_accounts(data: &std::path::Path) {
    let node = Node::start(data);
    node.deploy("bank").await;
    for account in ACCOUNTS {
        node.ask(&format!("account/{account}"), "deposit", &DEPOSIT.to_string()).await.json();
    }
    node.kill();
}

/// Waits until no message is on its way and no timer is set.
async fn until_quiet(node: &Node) {
    const ZEROS: [&str; 3] =
        ["stride_messages{place=\"waiting\"} 0", "stride_messages{place=\"leaving\"} 0", "stride_timers 0"];
    for _ in 0..100_000 {
        let metrics = node.get("/metrics").await.body;
        if ZEROS.iter().all(|zero| metrics.lines().any(|line| line == *zero)) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the bank never comes to rest: {}", node.get("/metrics").await.body);
}

/// What an account has, and the whole of its statement.
async fn statement(node: &Node, account: &str) -> (i64, Vec<Line>) {
    let balance = node.ask(&format!("account/{account}"), "balance", "").await.json().as_i64().unwrap();
    let mut lines: Vec<Line> = Vec::new();
    loop {
        let page = node.ask(&format!("account/{account}"), "statement", &lines.len().to_string()).await.json();
        let page: Vec<Line> = serde_json::from_value(page).unwrap();
        if page.is_empty() {
            return (balance, lines);
        }
        lines.extend(page);
    }
}
