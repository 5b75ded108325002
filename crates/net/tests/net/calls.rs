//! Calls that go well.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use stride_net::{PeerAddr, Service, Tls};
use stride_sim::Chance;

use crate::support::{Between, Certified, ECHO, HANG, LONG, Node, call, echoes, peers, peers_with, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_comes_back_with_the_answer_to_its_body() {
    let (node, peers) = (Node::start().await, peers());
    for body in ["", "a", "another"] {
        assert_eq!(peers.call(&node.address, ECHO, body.into(), LONG).await.unwrap(), body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_of_all_sizes_come_back_right_and_unmixed() {
    a_thousand_calls(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_of_all_sizes_come_back_right_and_unmixed_through_tls() {
    a_thousand_calls(Some(Certified::new().tls())).await;
}

async fn a_thousand_calls(tls: Option<Tls>) {
    let node = Node::start_with(settings(), tls.clone()).await;
    let peers = Arc::new(peers_with(settings(), tls));
    let chance = Chance::seeded(1);
    let calls = (0..1000u64).map(|n| {
        // Sizes of every order of magnitude, those around the edges of buffers, and the largest.
        let len = match n % 10 {
            0 => chance.below(2 << 20),
            1 => (64 << 10) - 25 + chance.below(50),
            2 => (16 << 10) - 25 + chance.below(50),
            3 => 0,
            _ => chance.below(1 << chance.below(17)),
        };
        let len = if n == 999 { 2 << 20 } else { len };
        // No two bodies have the same bytes at the same place.
        let body: Bytes = (0..len).map(|at| (n.wrapping_mul(31) ^ at ^ (at >> 8)) as u8).collect();
        (body.clone(), call(&peers, &node.address, ECHO, body))
    });
    for (body, answer) in calls.collect::<Vec<_>>() {
        let answer = answer.await.unwrap().unwrap();
        assert!(answer == body, "{} bytes came back as {}", body.len(), answer.len());
    }
    assert_eq!(node.seen.begun(), 1000, "no call is executed twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_calls_to_a_peer_share_one_connection() {
    let node = Node::start().await;
    let between = Between::start(node.socket()).await;
    let peers = Arc::new(peers());
    let calls: Vec<_> = (0..50).map(|_| call(&peers, &between.address, ECHO, "body")).collect();
    for answer in calls {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(between.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_holds_up_no_other() {
    let (node, peers) = (Node::start().await, Arc::new(peers()));
    let hanging = call(&peers, &node.address, HANG, "");
    until(|| node.seen.begun() == 1).await;
    echoes(&peers, &node.address).await;
    assert!(!hanging.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_host_is_resolved() {
    let (node, peers) = (Node::start().await, peers());
    let by_name: PeerAddr = format!("localhost:{}", node.address.port()).parse().unwrap();
    echoes(&peers, &by_name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_the_peer_does_not_offer_is_not_sent_and_harms_nobody() {
    let (node, peers) = (Node::start().await, peers());
    let error = peers.call(&node.address, Service(99), "".into(), LONG).await.unwrap_err();
    assert!(error.to_string().contains("does not offer"), "{error}");
    echoes(&peers, &node.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_nobody_uses_is_closed_and_made_again_when_somebody_does() {
    let node = Node::start().await;
    let between = Between::start(node.socket()).await;
    let mut settings = settings();
    settings.idle_max = Duration::from_millis(500);
    let peers = peers_with(settings, None);
    echoes(&peers, &between.address).await;
    until(|| between.hung_up() == 1).await;
    echoes(&peers, &between.address).await;
    assert_eq!(between.connections(), 2);
}
