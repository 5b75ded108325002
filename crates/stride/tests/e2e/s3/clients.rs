//! The clients: installed once below the target directory, from the index that pip is told to use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::root;

/// What is installed. Other versions are installed anew.
const PACKAGES: [&str; 2] = ["boto3==1.44.8", "awscli==1.46.3"];

pub(crate) struct Clients(PathBuf);

impl Clients {
    pub(crate) fn installed() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let dir = target.join("s3-clients");
        let stamp = dir.join("installed");
        if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == PACKAGES.join(" ")) {
            let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
            let made = Command::new(&python).args(["-m", "venv", "--clear"]).arg(&dir).output();
            let made = made.unwrap_or_else(|e| {
                panic!("{}: {e}; this test needs Python 3 for the AWS command line and boto3", python.display())
            });
            succeeded(&made, "python3 -m venv; Python's venv module may be missing");
            let installed =
                Command::new(dir.join("bin/pip")).args(["install", "--quiet"]).args(PACKAGES).output().unwrap();
            succeeded(&installed, "pip install of the AWS command line and boto3");
            fs::write(&stamp, PACKAGES.join(" ")).unwrap();
        }
        Self(dir)
    }

    /// `aws s3 ...`, which has to succeed; what it prints.
    pub(crate) fn aws(&self, endpoint: &str, dir: &Path, arguments: &[&str]) -> String {
        let mut aws = self.command("aws", endpoint);
        aws.arg("s3").args(arguments).current_dir(dir);
        if matches!(arguments[0], "cp" | "sync") {
            aws.arg("--no-progress");
        }
        let output = aws.output().unwrap();
        succeeded(&output, &format!("aws s3 {}", arguments.join(" ")))
    }

    /// The script with boto3, which has to succeed; what it prints.
    pub(crate) fn boto3(&self, endpoint: &str, arguments: &[&str]) -> String {
        let script = root().join("crates/stride/tests/e2e/s3/boto3_client.py");
        let output = self.command("python", endpoint).arg(script).args(arguments).output().unwrap();
        succeeded(&output, &format!("boto3 {}", arguments[0]))
    }

    fn command(&self, program: &str, endpoint: &str) -> Command {
        let mut command = Command::new(self.0.join("bin").join(program));
        command
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ACCESS_KEY_ID", "me")
            .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-default-tenant")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_MAX_ATTEMPTS", "1")
            // Nothing of whoever runs the test.
            .env("AWS_CONFIG_FILE", self.0.join("no-config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.0.join("no-credentials"))
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        command
    }
}

#[track_caller]
fn succeeded(output: &std::process::Output, what: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
