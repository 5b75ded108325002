//! Connections that are encrypted, and servers that are not who they should be.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::executor::block_on;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use stride_ids::CellId;
use stride_journal::{Journal as _, postgres::Connector};
use stride_private_postgres::Server;

use crate::support::open;

const CELL: CellId = CellId(1);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca of ours.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }

    /// Certificate and key for a host.
    fn issue(&self, host: &str) -> (String, String) {
        let (key, params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec![host.into()]).unwrap());
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn url(server: &Server, database: &str, parameters: &str) -> String {
    format!("{}?{parameters}", server.url(database))
}

fn encoded(path: &Path) -> String {
    path.display().to_string().replace(' ', "%20")
}

/// Refusals that come with every attempt are only told when the time for it is over; so what is tried here is one connection.
fn refusal(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connector = Connector::new(url).unwrap();
    runtime.block_on(connector.connect()).map(drop).unwrap_err().to_string()
}

#[test]
fn a_journal_works_over_tls_and_a_server_without_the_right_certificate_is_not_believed() {
    let (server, dir) = (Server::start().unwrap(), tempfile::tempdir().unwrap());
    let database = server.fresh_database().unwrap();
    let refused = refusal(&url(&server, &database, "sslmode=require"));
    assert!(refused.contains("does not support TLS"), "a server without TLS: {refused}");

    let (ours, other) = (Authority::new(), Authority::new());
    let ca = encoded(&ours.write(dir.path()));
    let verified = url(&server, &database, &format!("sslmode=verify-full&sslrootcert={ca}"));
    let (certificate, key) = ours.issue("127.0.0.1");
    server.serve_tls(&certificate, &key).unwrap();
    let journal = open(verified.clone()).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    // More than a record of TLS.
    block_on(journal.append(CELL, epoch, Bytes::from(vec![7; 100_000])).unwrap()).unwrap();
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name = 'stride' AND NOT ssl";
    assert_eq!(server.psql("postgres", plain).unwrap(), "0");
    open(url(&server, &database, "sslmode=prefer")).unwrap();
    let unknown = refusal(&url(&server, &database, "sslmode=require"));
    assert!(unknown.contains("UnknownIssuer"), "the machine does not know our authority: {unknown}");

    for (certificate, key, says) in [
        {
            let (c, k) = other.issue("127.0.0.1");
            (c, k, "invalid peer certificate")
        },
        {
            let (c, k) = ours.issue("db.example");
            (c, k, "not valid for name")
        },
    ] {
        server.serve_tls(&certificate, &key).unwrap();
        let refused = refusal(&verified);
        assert!(refused.contains(says), "{refused}");
    }
}
