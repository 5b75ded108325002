//! The files that `stride cluster init` makes.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use stride_net::{
    Tls,
    certificates::{Authority, Error, Made},
};
use stride_sim::Clock;

fn files(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_is_made_once_and_hosts_are_added_to_it_later_without_changing_anything() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::real());
    let cluster = dir.path().join("cluster");
    assert_eq!(Authority::open(&cluster, &clock).unwrap().add("node-1").unwrap(), Made::New);
    let read = || {
        let of = |file: &str| fs::read(cluster.join(file)).unwrap();
        ["ca.pem", "ca.key", "node-1/ca.pem", "node-1/node.pem", "node-1/node.key"].map(of)
    };
    let before = read();
    let authority = Authority::open(&cluster, &clock).unwrap();
    for (host, made) in [("node-1", Made::Kept), ("10.0.0.2", Made::New), ("fd00::3", Made::New)] {
        assert_eq!(authority.add(host).unwrap(), made);
        assert_eq!(files(&cluster.join(host)), ["ca.pem", "node.key", "node.pem"].map(String::from).into());
        Tls::load(&cluster.join(host), &clock).unwrap();
    }
    assert_eq!(read(), before);
    let all = ["ca.pem", "ca.key", "node-1", "10.0.0.2", "fd00::3"];
    assert_eq!(files(&cluster), all.map(String::from).into(), "nothing unfinished is left");
    #[cfg(unix)]
    for key in ["ca.key", "node-1/node.key"] {
        assert_eq!(mode(&cluster.join(key)), 0o600, "{key}");
    }
}

#[test]
fn half_an_authority_one_that_does_not_fit_and_names_that_are_none_are_refused() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::real());
    let authority = Authority::open(dir.path(), &clock).unwrap();
    for host in ["", ".", "..", "../up", "a/b", "a b", "ä"] {
        let error = authority.add(host).unwrap_err();
        assert!(matches!(error, Error::Host(_)), "{host}: {error}");
    }
    // The key of another authority makes certificates that nobody would accept.
    let other = tempfile::tempdir().unwrap();
    Authority::open(other.path(), &clock).unwrap();
    fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    let error = Authority::open(dir.path(), &clock).unwrap().add("node-1").unwrap_err();
    assert!(matches!(error, Error::Unusable(_)), "{error}");
    assert!(!dir.path().join("node-1").exists());

    fs::write(dir.path().join("ca.key"), "no key").unwrap();
    assert!(matches!(Authority::open(dir.path(), &clock), Err(Error::Key { .. })));
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(matches!(Authority::open(dir.path(), &clock), Err(Error::Half(_))));
}

#[test]
fn a_certificate_lasts_a_year_and_what_is_missing_or_expired_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    // Made in the year 1970 by a clock that stands still.
    let clock = Clock::manual();
    clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    Authority::open(dir.path(), &clock).unwrap().add("node-1").unwrap();
    let node = dir.path().join("node-1");
    clock.advance(Duration::from_secs(364 * 24 * 60 * 60));
    Tls::load(&node, &clock).unwrap();
    clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    let error = Tls::load(&node, &clock).unwrap_err().to_string();
    assert!(error.contains("node.pem") && error.contains("xpired"), "{error}");
    // The authority is still good for a new one.
    fs::rename(&node, dir.path().join("old")).unwrap();
    assert_eq!(Authority::open(dir.path(), &clock).unwrap().add("node-1").unwrap(), Made::New);
    Tls::load(&node, &clock).unwrap();

    fs::write(node.join("node.key"), "no key").unwrap();
    let error = Tls::load(&node, &clock).unwrap_err().to_string();
    assert!(error.contains("node.key") && error.contains("stride cluster init"), "{error}");
    fs::remove_file(node.join("ca.pem")).unwrap();
    let error = Tls::load(&node, &clock).unwrap_err().to_string();
    assert!(error.contains("ca.pem"), "{error}");
}
