//! A node that ends loses no call and has none done twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use stride_net::{CallError, Why};

use crate::support::{Certified, ECHO, HOLD, LONG, Node, call, echoes, peers, peers_with, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_answered_and_what_was_not_was_not_sent() {
    let (node, peers) = (Node::start().await, Arc::new(peers()));
    let held: Vec<_> = (0..5).map(|n| call(&peers, &node.address, HOLD, format!("held {n}"))).collect();
    until(|| node.seen.begun() == 5).await;
    node.stop();
    // A call that comes before the goodbye is refused by it, one after it finds nobody who listens.
    let seen = node.seen.clone();
    loop {
        match peers.call(&node.address, ECHO, "too late".into(), LONG).await {
            Err(CallError::NotSent(Why::Unreachable(_))) => break,
            Err(CallError::NotSent(Why::Leaving)) | Ok(_) => {}
            Err(other) => panic!("{other}"),
        }
    }
    seen.release();
    for (n, held) in held.into_iter().enumerate() {
        assert_eq!(held.await.unwrap().unwrap(), format!("held {n}"));
    }
    node.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_nothing_to_do_ends_at_once() {
    let (node, peers) = (Node::start().await, peers());
    echoes(&peers, &node.address).await;
    node.stop();
    let ended = stride_sim::Clock::real().timeout(std::time::Duration::from_secs(1), node.ended()).await;
    assert!(ended.is_ok(), "it waits for peers that have nothing to say");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_restart_in_turn_under_load_lose_no_call_and_do_none_twice() {
    let tls = Certified::new().tls();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Node::start_with(settings(), Some(tls.clone())).await);
    }
    let addresses: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    let peers = Arc::new(peers_with(settings(), Some(tls.clone())));
    let over = Arc::new(AtomicBool::new(false));
    let callers = (0..16).map(|caller| {
        let (peers, addresses, over) = (peers.clone(), addresses.clone(), over.clone());
        tokio::spawn(async move {
            let mut answered = 0;
            while !over.load(Ordering::Relaxed) {
                let body = Bytes::from(format!("{caller} {answered} {}", "x".repeat(answered % 5000)));
                let mut to = caller;
                loop {
                    match peers.call(&addresses[to % 2], ECHO, body.clone(), LONG).await {
                        Ok(answer) => break assert_eq!(answer, body),
                        // Only what was surely not executed is sent again, to the other node.
                        Err(CallError::NotSent(_)) => to += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
                answered += 1;
            }
            answered
        })
    });
    let callers: Vec<_> = callers.collect();

    let mut seen: Vec<_> = nodes.iter().map(|node| node.seen.clone()).collect();
    for _ in 0..10 {
        let before: Vec<_> = nodes.iter().map(|node| node.seen.begun()).collect();
        let one = nodes.remove(0);
        let socket = one.socket();
        one.stop();
        one.ended().await;
        // The other one has taken over.
        until(|| nodes[0].seen.begun() > before[1] + 50).await;
        let again = Node::start_at(socket, settings(), Some(tls.clone())).await;
        seen.push(again.seen.clone());
        nodes.push(again);
        until(|| nodes[1].seen.begun() > 50).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    let mut times: HashMap<Bytes, usize> = HashMap::new();
    for seen in seen {
        for body in seen.begun.lock().iter() {
            *times.entry(body.clone()).or_default() += 1;
        }
    }
    assert!(times.values().all(|times| *times == 1), "a call was executed twice");
    assert_eq!(times.len(), answered);
}
