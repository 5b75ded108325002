//! The clients: installed once below the target directory, from the index that pip is told to use.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use stride_emulators::{python_tools, succeeded};

use crate::support::root;

/// What is installed. Other versions are installed anew.
const CLIENTS: [&str; 2] = ["boto3==1.44.8", "awscli==1.46.3"];
/// These need another botocore. DuckDB takes its extension for S3 from a server of its own, unless a package has it; it is
/// signed, and made for one version.
const TABLES: [&str; 5] =
    ["pandas==3.1.1", "pyarrow==26.0.1", "s3fs==2026.9.0", "duckdb==1.5.5", "duckdb-extension-httpfs==1.5.5"];

pub(crate) struct Clients(PathBuf);

impl Clients {
    /// The AWS command line and boto3.
    pub(crate) fn installed() -> Self {
        Self(python_tools("s3-clients", &CLIENTS))
    }

    /// pandas, with what it reads and writes by, and DuckDB.
    pub(crate) fn of_tables() -> Self {
        Self(python_tools("s3-tables", &TABLES))
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

    /// One of the scripts beside this file, which has to succeed; what it prints.
    pub(crate) fn script(&self, name: &str, endpoint: &str, arguments: &[&str]) -> String {
        let script = root().join("crates/stride/tests/e2e/s3").join(name);
        let output = self.command("python", endpoint).arg(script).args(arguments).output().unwrap();
        succeeded(&output, &format!("{name} {}", arguments.join(" ")))
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
