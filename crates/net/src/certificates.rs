//! The certificates of a cluster: one authority, which is the cluster's alone, and one certificate per host.
//!
//! ```text
//!  DIR/ca.pem  ca.key            the authority; its key stays away from the nodes
//!  DIR/HOST/ca.pem node.pem node.key    what goes to that host
//! ```
//!
//! Nothing that is there is ever overwritten: who wants a host's certificate anew moves the host's directory away first.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use stride_sim::Clock;

use crate::tls::{CA_CERTIFICATE, CERTIFICATE, KEY, Tls, TlsError};

const CA_KEY: &str = "ca.key";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LASTS: Duration = DAY.saturating_mul(3652);
const NODE_LASTS: Duration = DAY.saturating_mul(365);
/// Certificates are valid from a day ago, because clocks differ.
const CLOCKS_DIFFER: Duration = DAY;

/// A cluster's authority, in a directory.
pub struct Authority {
    dir: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    clock: Clock,
}

/// What became of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It has a certificate now.
    New,
    /// It had one before, which was left as it is.
    Kept,
}

/// Certificates that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// One half of the authority is there and the other is not.
    #[error("{dir} has only one of ca.pem and ca.key: put the other one back, or begin with an empty directory", dir = .0.display())]
    Half(PathBuf),
    /// The key of the authority is no key.
    #[error("{path} is no private key: {source}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// A name that no certificate can be made for.
    #[error("`{0}` is no host: use a name such as node-1 or an IP address")]
    Host(String),
    /// The library refused.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made would be refused; `ca.key` belongs to another `ca.pem`.
    #[error("what was made cannot be used: {0}")]
    Unusable(#[from] TlsError),
}

impl Authority {
    /// The authority in `dir`, which is made if there is none.
    pub fn open(dir: &Path, clock: &Clock) -> Result<Self, Error> {
        let (certificate, key) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
        match (certificate.exists(), key.exists()) {
            (false, false) => Self::make(dir, clock),
            (true, true) => {
                let pem = read(&key)?;
                let pair = KeyPair::from_pem(&pem).map_err(|source| Error::Key { path: key, source })?;
                Ok(Self::of(dir, read(&certificate)?, pair, clock))
            }
            _ => Err(Error::Half(dir.to_owned())),
        }
    }

    fn make(dir: &Path, clock: &Clock) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.to_owned(), source })?;
        let key = KeyPair::generate()?;
        let mut params = authority();
        lasts(&mut params, clock, CA_LASTS);
        let certificate = params.self_signed(&key)?.pem();
        write_secret(&dir.join(CA_KEY), &key.serialize_pem())?;
        write(&dir.join(CA_CERTIFICATE), &certificate)?;
        Ok(Self::of(dir, certificate, key, clock))
    }

    fn of(dir: &Path, certificate: String, key: KeyPair, clock: &Clock) -> Self {
        Self { dir: dir.to_owned(), certificate, issuer: Issuer::new(authority(), key), clock: clock.clone() }
    }

    /// Makes a certificate for `host`, a name or an IP address by which other nodes reach it, unless it has one.
    pub fn add(&self, host: &str) -> Result<Made, Error> {
        // The name becomes a directory as well.
        if !host.bytes().all(|c| c.is_ascii_alphanumeric() || b".:-_".contains(&c)) || host.bytes().all(|c| c == b'.') {
            return Err(Error::Host(host.to_owned()));
        }
        let dir = self.dir.join(host);
        if dir.exists() {
            return Ok(Made::Kept);
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([host.to_owned()]).map_err(|_| Error::Host(host.to_owned()))?;
        params.distinguished_name = name(host);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        lasts(&mut params, &self.clock, NODE_LASTS);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();

        // Under another name until it is complete and was looked at, so that what has the host's name can be used.
        let unfinished = self.dir.join(format!("{host}.unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).map_err(|source| Error::File { path: unfinished.clone(), source })?;
        write_secret(&unfinished.join(KEY), &key.serialize_pem())?;
        write(&unfinished.join(CERTIFICATE), &certificate)?;
        write(&unfinished.join(CA_CERTIFICATE), &self.certificate)?;
        Tls::load(&unfinished, &self.clock)?;
        fs::rename(&unfinished, &dir).map_err(|source| Error::File { path: dir, source })?;
        Ok(Made::New)
    }
}

/// What is the same in the certificate of every authority. Its name is, too: nodes tell authorities apart by their keys.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Stride cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn lasts(params: &mut CertificateParams, clock: &Clock, lasts: Duration) {
    let now = UNIX_EPOCH + Duration::from_millis(clock.timestamp());
    params.not_before = now.checked_sub(CLOCKS_DIFFER).unwrap_or(UNIX_EPOCH).into();
    params.not_after = (now + lasts).into();
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    create(OpenOptions::new().write(true).create_new(true), path, text)
}

/// For the owner's eyes only, from the first moment.
fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    create(&options, path, text)
}

fn create(options: &OpenOptions, path: &Path, text: &str) -> Result<(), Error> {
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::File { path: path.to_owned(), source })
}
