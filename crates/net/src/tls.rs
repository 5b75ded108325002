//! Mutual TLS: both sides show a certificate of the cluster's CA, and nobody else gets as far as the hello.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
    server::WebPkiClientVerifier,
    version::TLS13,
};
use stride_sim::Clock;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The certificate of the cluster's CA, in a node's directory and in the CA's.
pub(crate) const CA_CERTIFICATE: &str = "ca.pem";
/// The node's own certificate.
pub(crate) const CERTIFICATE: &str = "node.pem";
/// The key of the node's own certificate.
pub(crate) const KEY: &str = "node.key";

/// What a node shows to its peers, and what it demands of them. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

/// A directory from which TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing or is not what it should be.
    #[error("{path} cannot be read: {why}; `stride cluster init` makes ca.pem, node.pem and node.key", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The node's own certificate would be refused by its peers.
    #[error("{path} would be refused by other nodes: {source}; if it has expired, make a new one with `stride cluster init`", path = path.display())]
    Certificate {
        /// The certificate.
        path: PathBuf,
        /// Why it would be refused.
        source: rustls::Error,
    },
}

impl Tls {
    /// From `ca.pem`, `node.pem` and `node.key` in `dir`. The certificate is checked as a peer would do it.
    pub fn load(dir: &Path, clock: &Clock) -> Result<Self, TlsError> {
        let authority: Vec<CertificateDer<'static>> = read_all(&dir.join(CA_CERTIFICATE))?;
        let path = dir.join(CERTIFICATE);
        let chain: Vec<CertificateDer<'static>> = read_all(&path)?;
        let key = dir.join(KEY);
        let key = PrivateKeyDer::from_pem_file(&key).map_err(|e| unreadable(&key, e))?;
        let refused = |source| TlsError::Certificate { path: path.clone(), source };

        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(refused)?;
        }
        let roots = Arc::new(roots);
        let provider: Arc<CryptoProvider> = ring::default_provider().into();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|e| refused(rustls::Error::General(e.to_string())))?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock.timestamp()));
        let [own, intermediates @ ..] = &chain[..] else { return Err(refused(rustls::Error::NoCertificatesPresented)) };
        verifier.verify_client_cert(own, intermediates, now).map_err(refused)?;

        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(refused)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(refused)?;
        Ok(Self { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() })
    }

    pub(crate) fn connector(&self) -> &TlsConnector {
        &self.connector
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.write_str("Tls")
    }
}

fn read_all<T: PemObject>(path: &Path) -> Result<Vec<T>, TlsError> {
    let items = T::pem_file_iter(path).map_err(|e| unreadable(path, e))?;
    let items = items.collect::<Result<Vec<_>, _>>().map_err(|e| unreadable(path, e))?;
    if items.is_empty() { Err(unreadable(path, pem::Error::NoItemsFound)) } else { Ok(items) }
}

fn unreadable(path: &Path, error: pem::Error) -> TlsError {
    let why = match error {
        pem::Error::Io(e) => e.to_string(),
        other => other.to_string(),
    };
    TlsError::File { path: path.to_owned(), why }
}
