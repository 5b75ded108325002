//! Whoever does not belong to the cluster is refused, told why, and harms nobody.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use stride_ids::Name;
use stride_net::{CallError, PeerAddr, Peers, Settings, Tls, Why};
use stride_sim::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::support::{Certified, ECHO, LONG, Node, echoes, load, peers, peers_with, settings};

/// What this version says first, as `hello` documents it.
const HELLO: &[u8] = b"stride/n\x00\x01\x08clu-test";

/// Calls, which must not be sent, and says why it was not.
async fn refused(peers: &Peers, to: &PeerAddr) -> String {
    match peers.call(to, ECHO, "body".into(), LONG).await {
        Err(CallError::NotSent(why @ Why::Unreachable(_))) => why.to_string(),
        other => panic!("a stranger was not refused: {other:?}"),
    }
}

/// What comes back to these bytes until the other side hangs up.
async fn answer_to(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.socket()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset is as good as an end.
    let _ = Clock::real().timeout(LONG, read).await.expect("the node does not hang up");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_by_its_name() {
    let node = Node::start().await;
    let other = Settings::of(Name::new("clu-other").unwrap());
    let why = refused(&peers_with(other, None), &node.address).await;
    assert!(why.contains("the cluster `clu-test` and this node to `clu-other`"), "{why}");
    assert_eq!(node.seen.begun(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_of_the_protocol_is_refused_on_both_sides_with_what_to_upgrade() {
    let node = Node::start().await;
    // The side that answers says who it is and hangs up.
    assert_eq!(answer_to(&node, b"stride/n\x00\x02\x08clu-test").await, HELLO);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let newer: PeerAddr = listener.local_addr().unwrap().into();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"stride/n\x00\x02\x08clu-test").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let why = refused(&peers(), &newer).await;
    assert!(why.contains("version 2 of the protocol and this node version 1"), "{why}");
    assert!(why.contains("upgrade"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_hello_and_frames_that_are_none_end_only_their_connection() {
    let (node, peers) = (Node::start().await, peers());
    echoes(&peers, &node.address).await;
    assert_eq!(answer_to(&node, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, b"");
    assert_eq!(answer_to(&node, &[0xff; 4096]).await, b"");

    let too_long = [&[0x7f, 0xff, 0xff, 0xff, 1, 1, 0, 0][..], &[0; 12]].concat();
    let unknown_kind = [&[0, 0, 0, 0, 99, 0, 0, 0][..], &[0; 12]].concat();
    let wrong_direction = [&[0, 0, 0, 0, 2, 0, 0, 0][..], &[0; 12]].concat();
    for frame in [too_long, unknown_kind, wrong_direction] {
        assert_eq!(answer_to(&node, &[HELLO, &frame].concat()).await, HELLO);
    }
    echoes(&peers, &node.address).await;
    assert_eq!(node.seen.begun(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_on_the_wire_looks_as_documented_and_its_deadline_is_kept_by_the_node() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.socket()).await.unwrap();
    // A call of the service that never answers, with 30 ms, and one of the echo.
    let hang = [0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 1];
    let echo = [0, 0, 0, 2, 1, 1, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'];
    stream.write_all(&[HELLO, &hang, &echo].concat()).await.unwrap();
    let mut answer = vec![0; HELLO.len() + 22 + 20];
    stream.read_exact(&mut answer).await.unwrap();
    let echoed = [0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'];
    let late = [0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(answer, [HELLO, &echoed, &late].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_never_says_hello_is_ended() {
    let node = Node::start().await;
    assert_eq!(answer_to(&node, b"stri").await, b"");
    let tls = Node::start_with(settings(), Some(Certified::new().tls())).await;
    assert_eq!(answer_to(&tls, b"").await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_accepts_connections_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().into();
    let why = refused(&peers(), &silent).await;
    assert!(why.contains("no connection within"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_certificate_is_refused() {
    let tls = Certified::new().tls();
    let node = Node::start_with(settings(), Some(tls.clone())).await;
    refused(&peers(), &node.address).await;
    // A node without TLS is none for one that has it.
    let open = Node::start().await;
    refused(&peers_with(settings(), Some(tls.clone())), &open.address).await;
    echoes(&peers_with(settings(), Some(tls)), &node.address).await;
    assert_eq!((node.seen.begun(), open.seen.begun()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_trusts_the_authority_and_shows_no_certificate_does_not_hear_a_hello() {
    let certified = Certified::new();
    let node = Node::start_with(settings(), Some(certified.tls())).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certified.dir.path().join("ca.pem")).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(client.with_no_client_auth()));
    let stream = TcpStream::connect(node.socket()).await.unwrap();
    // With this version of TLS the one who connects is through before the other side has looked at what it shows.
    let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
    let _ = stream.write_all(HELLO).await;
    let mut heard = Vec::new();
    let error = stream.read_to_end(&mut heard).await.unwrap_err();
    assert!(heard.is_empty() && error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (ours, theirs) = (Certified::new(), Certified::new());
    let node = Node::start_with(settings(), Some(ours.tls())).await;
    let why = refused(&peers_with(settings(), Some(theirs.tls())), &node.address).await;
    assert!(why.contains("TLS failed") && why.contains("same CA"), "{why}");

    // One that trusts ours and shows a certificate of another: only the side that answers can refuse it.
    let mixed = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ours.host("127.0.0.1"), theirs.host("127.0.0.1"));
    for (from, file) in [(&ours, "ca.pem"), (&theirs, "node.pem"), (&theirs, "node.key")] {
        std::fs::copy(from.join(file), mixed.path().join(file)).unwrap();
    }
    let error = Tls::load(mixed.path(), &Clock::real()).unwrap_err().to_string();
    assert!(error.contains("would be refused by other nodes"), "{error}");
    for (from, file) in [(&theirs, "ca.pem"), (&ours, "ca.pem")] {
        let text = std::fs::read(from.join(file)).unwrap();
        let mut both = std::fs::read(mixed.path().join("ca.pem")).unwrap();
        both.extend(text);
        std::fs::write(mixed.path().join("ca.pem"), both).unwrap();
    }
    refused(&peers_with(settings(), Some(load(mixed.path()))), &node.address).await;
    assert_eq!(node.seen.begun(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_host_is_refused() {
    let certified = Certified::new();
    let node = Node::start_with(settings(), Some(load(&certified.host("node-1")))).await;
    let why = refused(&peers_with(settings(), Some(certified.tls())), &node.address).await;
    assert!(why.contains("TLS failed"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listens_the_call_was_not_sent_and_while_it_is_not_tried_again_fails_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody: PeerAddr = listener.local_addr().unwrap().into();
    drop(listener);
    let (peers, clock) = (peers(), Clock::real());
    // The waits between attempts grow to a second.
    for _ in 0..6 {
        let why = refused(&peers, &nobody).await;
        assert!(why.contains(&nobody.to_string()) && why.contains("cannot connect"), "{why}");
    }
    let began = clock.now();
    let error = peers.call(&nobody, ECHO, "".into(), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(Why::Unreachable(_))), "{error}");
    assert!(clock.now() - began < Duration::from_millis(90), "it waited for a deadline that could not be kept");
}
