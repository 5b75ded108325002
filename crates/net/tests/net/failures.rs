//! Peers that die, stop, restart and are cut off.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use stride_net::{Broken, CallError, Why};
use stride_sim::Clock;

use crate::support::{Between, ECHO, HANG, LONG, Node, Process, call, echoes, peers, settings, until};

/// What is promised is about two seconds; a busy machine gets more.
const NOTICED_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_to_a_peer_that_is_killed_have_no_answer_and_it_is_found_again() {
    let process = Process::start("127.0.0.1:0");
    let (peers, address) = (Arc::new(peers()), process.address.clone());
    echoes(&peers, &address).await;
    let hanging: Vec<_> = (0..10).map(|_| call(&peers, &address, HANG, "")).collect();
    // Behind them on the same connection, so they are there.
    echoes(&peers, &address).await;
    process.signal("-KILL");
    for hanging in hanging {
        let error = hanging.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::NoAnswer(Why::Lost(Broken::Closed))), "{error}");
    }
    drop(process);
    let error = peers.call(&address, ECHO, "".into(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(Why::Unreachable(_))), "{error}");

    let _again = Process::start(&address.to_string());
    // One attempt may have been refused just now, before it was there.
    while peers.call(&address, ECHO, "".into(), LONG).await.is_err() {}
    echoes(&peers, &address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_stopped_is_noticed_within_about_two_seconds() {
    let process = Process::start("127.0.0.1:0");
    let (peers, clock) = (Arc::new(peers()), Clock::real());
    echoes(&peers, &process.address).await;
    let hanging = call(&peers, &process.address, HANG, "");
    echoes(&peers, &process.address).await;
    process.signal("-STOP");
    let stopped = clock.now();
    let unread = call(&peers, &process.address, ECHO, "");
    for call in [hanging, unread] {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::NoAnswer(Why::Lost(Broken::Silent))), "{error}");
    }
    let noticed = clock.now() - stopped;
    assert!(noticed > Duration::from_secs(1) && noticed < NOTICED_MAX, "{noticed:?}");
    process.signal("-CONT");
    while peers.call(&process.address, ECHO, "".into(), LONG).await.is_err() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_is_noticed_and_what_never_left_was_not_sent() {
    let node = Node::start().await;
    let between = Between::start(node.socket()).await;
    let (peers, clock) = (Arc::new(peers()), Clock::real());
    echoes(&peers, &between.address).await;
    between.cut();
    let cut = clock.now();
    // More than the kernel takes while nobody reads.
    let body = |n: u8| Bytes::from(vec![n; 1 << 20]);
    let calls: Vec<_> = (1..60).map(|n| (n, call(&peers, &between.address, ECHO, body(n)))).collect();
    let (mut not_sent, mut no_answer) = (HashSet::new(), HashSet::new());
    for (n, call) in calls {
        match call.await.unwrap().unwrap_err() {
            CallError::NotSent(Why::Lost(Broken::Silent)) => not_sent.insert(n),
            CallError::NoAnswer(Why::Lost(Broken::Silent)) => no_answer.insert(n),
            other => panic!("{other}"),
        };
    }
    assert!(clock.now() - cut < NOTICED_MAX);
    assert!(!not_sent.is_empty() && !no_answer.is_empty(), "{} and {}", not_sent.len(), no_answer.len());
    assert!(node.seen.begun.lock().iter().all(|body| !not_sent.contains(&body[0])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_slow_to_read_is_not_taken_for_dead() {
    // The bodies take longer to pass than a peer may be silent; nothing else can be said meanwhile.
    let node = Node::start().await;
    let slow = Between::start_slow(node.socket(), 8 << 20).await;
    let peers = peers();
    let body = Bytes::from(vec![1; 32 << 20]);
    let (clock, began) = (Clock::real(), Clock::real().now());
    assert_eq!(peers.call(&slow.address, ECHO, body.clone(), LONG).await.unwrap(), body);
    assert!(clock.now() - began > Duration::from_secs(4), "it was not slow");
    assert_eq!(slow.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_at_its_address_is_called_again() {
    let (node, peers) = (Node::start().await, peers());
    echoes(&peers, &node.address).await;
    let socket = node.socket();
    node.stop();
    node.ended().await;
    let again = Node::start_at(socket, settings(), None).await;
    until(|| again.address.port() == socket.port()).await;
    while peers.call(&again.address, ECHO, "".into(), LONG).await.is_err() {}
    assert_eq!(again.seen.begun(), 1);
}
