//! `stride cluster init`: certificates for hosts, made once.

use stride_net::Tls;
use stride_sim::Clock;

use crate::cli::{stderr, stride};

#[test]
fn certificates_are_made_for_each_host_and_those_that_are_there_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let init = |hosts: &[&str]| {
        let hosts = hosts.iter().flat_map(|host| ["--host", host]);
        let arguments: Vec<_> = ["cluster", "init", certs.to_str().unwrap()].into_iter().chain(hosts).collect();
        let output = stride("http://127.0.0.1:9", &arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
    };
    let (code, printed, _) = init(&["node-1"]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("keep ca.key away") && printed.contains("node-1: goes to node-1"), "{printed}");
    let before = std::fs::read(certs.join("node-1/node.pem")).unwrap();

    let (code, printed, _) = init(&["node-1", "10.0.0.2"]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("node-1: was there and is kept; to renew it"), "{printed}");
    assert_eq!(std::fs::read(certs.join("node-1/node.pem")).unwrap(), before);
    for host in ["node-1", "10.0.0.2"] {
        Tls::load(&certs.join(host), &Clock::real()).unwrap();
    }

    let (code, _, error) = init(&["../elsewhere"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("is no host") && error.contains("use a name such as"), "{error}");
    std::fs::remove_file(certs.join("ca.key")).unwrap();
    let (code, _, error) = init(&["node-3"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("only one of ca.pem and ca.key"), "{error}");
}
