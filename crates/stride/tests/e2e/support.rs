//! What the end-to-end tests share: real components, a real node as a process of its own, and HTTP.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use reqwest::{Client, Method, RequestBuilder, StatusCode, multipart};
use serde_json::Value;
pub(crate) use stride_torture::SmallDisk;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The packages of the components that tests deploy.
const EXAMPLES: [&str; 13] = [
    "audit",
    "bank",
    "counter",
    "echo",
    "election",
    "faulty",
    "image-pipeline",
    "jobs",
    "log-analysis",
    "shop",
    "thumbnails",
    "training",
    "words",
];

/// Builds the example components once per test binary; Cargo makes that cheap when they are fresh.
pub(crate) fn examples() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
                .args(EXAMPLES.iter().flat_map(|example| ["-p", example]))
                .current_dir(root())
                .status()
                .unwrap();
            assert!(status.success(), "the examples do not build; `rustup target add wasm32-wasip2` may help");
            target.join("wasm32-wasip2/release")
        })
        .clone()
}

/// A component that says `new` wherever `component` says `old`, which has the same length and has to be there.
pub(crate) fn replaced(component: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<_> = (0..component.len()).filter(|at| component[*at..].starts_with(old)).collect();
    assert!(old.len() == new.len() && !places.is_empty());
    let mut component = component.to_vec();
    places.into_iter().for_each(|at| component[at..at + new.len()].copy_from_slice(new));
    component
}

/// A node as a process. Dropping it kills the process.
pub(crate) struct Node {
    process: Child,
    pub(crate) url: String,
    pub(crate) http: Client,
}

impl Node {
    /// Starts a node on `data` and waits until it says that it is ready.
    pub(crate) fn start(data: &Path) -> Self {
        Self::try_start(data, &[]).unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"))
    }

    /// Starts a node with these lines as its configuration, which lies beside the data.
    pub(crate) fn start_configured(data: &Path, config: &str) -> Self {
        let path = data.with_extension("toml");
        std::fs::write(&path, config).unwrap();
        let started = Self::try_start(data, &["--config", path.to_str().unwrap()]);
        started.unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"))
    }

    /// Starts a node with more arguments, and with more in its environment.
    pub(crate) fn try_start_in(
        environment: &[(String, String)],
        data: &Path,
        arguments: &[&str],
    ) -> Result<Self, String> {
        Self::try_start_with(environment, data, "127.0.0.1:0", arguments)
    }

    /// Starts a node with more arguments; what it wrote to stderr if it ends before it is ready.
    pub(crate) fn try_start(data: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::try_start_with(&[], data, "127.0.0.1:0", arguments)
    }

    /// Starts a node on `data` that listens on `address`.
    pub(crate) fn try_start_at(data: &Path, address: &str) -> Result<Self, String> {
        Self::try_start_with(&[], data, address, &[])
    }

    fn try_start_with(
        environment: &[(String, String)],
        data: &Path,
        address: &str,
        arguments: &[&str],
    ) -> Result<Self, String> {
        stride_data::use_tls();
        let stderr_path = data.with_extension("stderr");
        let stderr = std::fs::File::create(&stderr_path).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_stride"))
            .arg("up")
            .arg("--data")
            .arg(data)
            .args(["--listen", address])
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().strip_prefix("stride ready ") {
            Some(url) => Ok(Self { process, url: url.to_owned(), http: Client::new() }),
            None => {
                process.wait().unwrap();
                Err(std::fs::read_to_string(&stderr_path).unwrap())
            }
        }
    }

    /// Ends the process at once, as a power switch would.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks the process to end, and waits until it has.
    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        self.send_signal("-TERM");
        self.process.wait().unwrap()
    }

    /// Sends the process a signal, as `kill` names it.
    pub(crate) fn send_signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, path).body(body)
    }

    /// Deploys one of the examples with the manifest that it has.
    pub(crate) async fn deploy(&self, example: &str) -> Value {
        let manifest = std::fs::read_to_string(root().join("examples").join(example).join("stride.toml")).unwrap();
        self.deploy_with(example, &manifest).await.json_of(StatusCode::CREATED)
    }

    /// Deploys one of the examples with another manifest.
    pub(crate) async fn deploy_with(&self, example: &str, manifest: &str) -> Reply {
        let component = std::fs::read(examples().join(format!("{example}.wasm"))).unwrap();
        self.deploy_bytes(component, manifest).await
    }

    pub(crate) async fn deploy_bytes(&self, component: Vec<u8>, manifest: &str) -> Reply {
        let form = multipart::Form::new()
            .text("manifest", manifest.to_owned())
            .part("component", multipart::Part::bytes(component));
        Reply::of(self.request(Method::POST, "/v1/deployments").multipart(form)).await
    }

    pub(crate) async fn call(&self, function: &str, body: &str) -> Reply {
        Reply::of(self.post(&format!("/v1/functions/{function}"), body.to_owned())).await
    }

    pub(crate) async fn ask(&self, agent: &str, method: &str, body: &str) -> Reply {
        Reply::of(self.post(&format!("/v1/agents/{agent}/{method}"), body.to_owned())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path)).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    /// The body as JSON, if the status is the expected one.
    #[track_caller]
    pub(crate) fn json_of(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.json_of(StatusCode::OK)
    }

    /// The problem's code and detail, if this is a well-formed problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> (String, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["type"], format!("urn:stride:problem:{}", problem["code"].as_str().unwrap()));
        (problem["code"].as_str().unwrap().to_owned(), problem["detail"].as_str().unwrap().to_owned())
    }

    /// Checks the code of a problem and that its message says something.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: &str, says: &str) {
        let (found, detail) = self.problem();
        assert_eq!(found, code, "{detail}");
        assert!(detail.contains(says), "`{detail}` does not say `{says}`");
    }
}

/// A data directory that is gone after the test.
pub(crate) fn data() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    (dir, data)
}
