//! Deadlines, sizes and how much is in flight.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use stride_net::{BODY_LEN_MAX, CallError, Part, Why};
use stride_sim::Clock;

use crate::support::{
    BUSY, ECHO, HANG, HOLD, HUGE, LONG, Node, PANIC, call, echoes, peers, peers_with, settings, until,
};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_answered_by_its_deadline_is_late_and_the_peer_gives_up_as_well() {
    let (node, peers, clock) = (Node::start().await, peers(), Clock::real());
    echoes(&peers, &node.address).await;
    let began = clock.now();
    let error = peers.call(&node.address, HANG, "".into(), SHORT).await.unwrap_err();
    assert!(matches!(error, CallError::Late), "{error}");
    assert!(clock.now() - began >= SHORT);
    until(|| node.seen.dropped.load(Ordering::Relaxed) == 1).await;
    echoes(&peers, &node.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_too_late_is_given_to_nobody() {
    let (node, peers) = (Node::start().await, peers());
    echoes(&peers, &node.address).await;
    // Dropped by its caller, so the peer answers in time and nobody waits for it.
    let dropped = Clock::real().timeout(SHORT, peers.call(&node.address, HOLD, "late".into(), LONG)).await;
    assert!(dropped.is_err());
    node.seen.release();
    for n in 0..20 {
        let body = format!("in time {n}");
        assert_eq!(peers.call(&node.address, ECHO, body.clone().into(), LONG).await.unwrap(), body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_as_large_as_allowed_goes_and_what_is_larger_does_not() {
    let (node, peers) = (Node::start().await, peers());
    let answer = peers.call(&node.address, ECHO, vec![7; BODY_LEN_MAX].into(), LONG).await.unwrap();
    assert!(answer.len() == BODY_LEN_MAX && answer.iter().all(|byte| *byte == 7));
    let error = peers.call(&node.address, ECHO, vec![7; BODY_LEN_MAX + 1].into(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge(Part::Body)), "{error}");
    let error = peers.call(&node.address, HUGE, "".into(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge(Part::Answer)), "{error}");
    assert_eq!(node.seen.begun(), 2);
    echoes(&peers, &node.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_a_connection_may_have_are_overload_on_the_side_that_calls() {
    let mut few = settings();
    few.calls_per_connection_max = 3;
    let (node, peers) = (Node::start().await, Arc::new(peers_with(few, None)));
    let held: Vec<_> = (0..3).map(|_| call(&peers, &node.address, HOLD, "")).collect();
    until(|| node.seen.begun() == 3).await;
    let error = peers.call(&node.address, ECHO, "".into(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Overloaded), "{error}");
    node.seen.release();
    for held in held {
        held.await.unwrap().unwrap();
    }
    echoes(&peers, &node.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_a_node_answers_are_overload_on_the_side_that_answers() {
    for in_all in [false, true] {
        let mut few = settings();
        *if in_all { &mut few.calls_max } else { &mut few.calls_per_connection_max } = 3;
        let (node, one, other) = (Node::start_with(few, None).await, Arc::new(peers()), peers());
        let held: Vec<_> = (0..3).map(|_| call(&one, &node.address, HOLD, "")).collect();
        until(|| node.seen.begun() == 3).await;
        let error = one.call(&node.address, ECHO, "".into(), LONG).await.unwrap_err();
        assert!(matches!(error, CallError::Overloaded), "{error}");
        // The bound on all calls is one for all peers, that on a connection is not.
        let other = other.call(&node.address, ECHO, "".into(), LONG).await;
        assert_eq!(other.is_err(), in_all);
        assert_eq!(node.seen.begun(), if in_all { 3 } else { 4 }, "what is refused is not executed");
        node.seen.release();
        for held in held {
            held.await.unwrap().unwrap();
        }
        echoes(&one, &node.address).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_refuses_is_overload_and_what_panics_harms_only_its_call() {
    let (node, peers) = (Node::start().await, peers());
    let error = peers.call(&node.address, BUSY, "".into(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Overloaded), "{error}");
    let error = peers.call(&node.address, PANIC, "".into(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(Why::Failed)), "{error}");
    echoes(&peers, &node.address).await;
}
