//! The S3 front, asked by those who will ask it: the AWS command line, boto3, pandas and DuckDB, as PyPI has them.

mod clients;

use std::{fs, path::Path};

use crate::{
    s3::clients::Clients,
    support::{Node, data},
};

const KEYS: &str = r#"
[[s3.keys]]
access_key = "me"
secret_key = "secret-of-the-default-tenant"

[[s3.keys]]
tenant = "other"
access_key = "someone-else"
secret_key = "secret-of-the-other-tenant"
"#;

/// A node that answers S3 clients, and where.
fn start(data: &Path) -> (Node, String) {
    let config = data.with_extension("toml");
    fs::write(&config, format!("[s3]\nlisten = \"127.0.0.1:0\"\n{KEYS}")).unwrap();
    let node = Node::try_start(data, &["--config", config.to_str().unwrap()]);
    let node = node.unwrap_or_else(|stderr| panic!("the node did not start: {stderr}"));
    let log = fs::read_to_string(data.with_extension("stderr")).unwrap();
    let said = log.lines().find_map(|line| line.split_once("S3 clients are answered at "));
    (node, said.expect("the node says where it answers S3 clients").1.trim().to_owned())
}

#[test]
fn aws_and_boto3_work_against_a_node_and_wrong_signatures_do_not() {
    let clients = Clients::installed();
    let (dir, data) = data();
    let (node, endpoint) = start(&data);
    let files = dir.path().join("files");
    fs::create_dir_all(files.join("deep")).unwrap();
    fs::write(files.join("a.txt"), "hello").unwrap();
    fs::write(files.join("deep/b.txt"), "world").unwrap();
    // More than the 8 MiB at which the command line begins to send parts.
    let large: Vec<u8> = (0..20u32 << 20).map(|n| (n % 251) as u8).collect();
    fs::write(files.join("large"), &large).unwrap();

    let aws = |arguments: &[&str]| clients.aws(&endpoint, dir.path(), arguments);
    aws(&["mb", "s3://data"]);
    aws(&["cp", "files/a.txt", "s3://data/one.txt"]);
    aws(&["sync", "files", "s3://data/all"]);
    assert_eq!(aws(&["sync", "files", "s3://data/all"]), "", "everything is there already");
    let listed = aws(&["ls", "s3://data/all/"]);
    assert!(listed.contains("PRE deep/") && listed.contains("a.txt") && listed.contains("20971520 large"), "{listed}");
    aws(&["sync", "s3://data/all", "back"]);
    assert_eq!(fs::read(dir.path().join("back/deep/b.txt")).unwrap(), b"world");
    assert!(fs::read(dir.path().join("back/large")).unwrap() == large, "what came in parts is what was sent");
    aws(&["cp", "s3://data/all/large", "s3://data/copied"]);
    aws(&["rm", "--recursive", "s3://data/all"]);
    let left = aws(&["ls", "--recursive", "s3://data"]);
    assert!(left.contains("20971520 copied") && left.contains("5 one.txt") && left.lines().count() == 2, "{left}");
    aws(&["rb", "--force", "s3://data"]);
    assert_eq!(aws(&["ls"]), "");

    clients.script("boto3_client.py", &endpoint, &["everything"]);

    // A power cut in the midst of an upload in parts; the node sweeps when it starts again.
    let upload = clients.script("boto3_client.py", &endpoint, &["begin"]);
    node.kill();
    let (_node, endpoint) = start(&data);
    clients.script("boto3_client.py", &endpoint, &["finish", upload.trim()]);
}

#[test]
fn pandas_and_duckdb_read_and_write_tables_at_a_node() {
    let clients = Clients::of_tables();
    let (_dir, data) = data();
    let (_node, endpoint) = start(&data);
    clients.script("tables_client.py", &endpoint, &[]);
}

#[test]
fn without_keys_the_node_does_not_start_and_says_what_to_write() {
    let (dir, data) = data();
    let config = dir.path().join("stride.toml");
    fs::write(&config, "[s3]\n").unwrap();
    let stderr = Node::try_start(&data, &["--config", config.to_str().unwrap()]).err().unwrap();
    assert!(stderr.contains("[[s3.keys]]") && stderr.contains("access_key"), "{stderr}");
}
