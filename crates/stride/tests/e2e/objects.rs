//! Objects over HTTP and through the command line.

use std::process::{Command, Stdio};

use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{prints, stderr, stride},
    support::{Node, Reply, data},
};

fn put(node: &Node, name: &str, body: impl Into<Body>) -> RequestBuilder {
    node.request(Method::PUT, &format!("/v1/objects/{name}")).body(body)
}

fn get(node: &Node, name: &str) -> RequestBuilder {
    node.request(Method::GET, &format!("/v1/objects/{name}"))
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn an_object_is_put_looked_at_read_listed_and_deleted() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let stored = Reply::of(put(&node, "data/a/b%20c", "hello world").header("content-type", "text/plain")).await;
    let status = stored.json_of(StatusCode::CREATED);
    assert_eq!((&status["key"], &status["bytes"], &status["version"]), (&json!("a/b c"), &json!(11), &json!(1)));
    let etag = header(&stored, "etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", status["etag"].as_str().unwrap()));

    let head = Reply::of(node.request(Method::HEAD, "/v1/objects/data/a/b%20c")).await;
    let read = Reply::of(get(&node, "data/a/b%20c")).await;
    assert_eq!((head.body.as_str(), read.body.as_str()), ("", "hello world"));
    for reply in [&head, &read] {
        assert_eq!(reply.status, 200);
        assert_eq!((header(reply, "content-length"), header(reply, "content-type")), ("11", "text/plain"));
        assert_eq!((header(reply, "etag"), header(reply, "stride-version")), (etag.as_str(), "1"));
    }
    let listed = node.get("/v1/objects/data?prefix=a/").await.json();
    assert_eq!(listed, json!({"objects": [status], "next": null}));
    let deleted = Reply::of(node.request(Method::DELETE, "/v1/objects/data/a/b%20c")).await;
    assert_eq!((deleted.status, header(&deleted, "stride-version")), (StatusCode::NO_CONTENT, "2"));
    node.get("/v1/objects/data/a/b%20c").await.fails_with("not_found", "data/a/b c");
    assert_eq!(Reply::of(node.request(Method::HEAD, "/v1/objects/data/a/b%20c")).await.status, 404);
    assert_eq!(node.get("/v1/objects/data").await.json()["objects"], json!([]));
    let empty = Reply::of(put(&node, "data/empty", "")).await.json_of(StatusCode::CREATED);
    assert_eq!(empty["bytes"], json!(0));
    assert_eq!(Reply::of(get(&node, "data/empty")).await.body, "");
}

#[tokio::test]
async fn ranges_are_given_out_and_wrong_ones_say_how_long_the_object_is() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    Reply::of(put(&node, "data/a", "0123456789")).await.json_of(StatusCode::CREATED);
    let ranged = |range: &'static str| Reply::of(get(&node, "data/a").header("range", range));
    for (range, bytes, told) in [
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-4", "6789", "bytes 6-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let reply = ranged(range).await;
        assert_eq!((reply.status, reply.body.as_str()), (StatusCode::PARTIAL_CONTENT, bytes), "{range}");
        assert_eq!(header(&reply, "content-range"), told);
    }
    for range in ["bytes=10-", "bytes=5-2", "bytes=-0"] {
        let reply = ranged(range).await;
        assert_eq!((reply.status, header(&reply, "content-range")), (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10"));
        reply.fails_with("invalid_request", "10 bytes");
    }
    ranged("bytes=two-five").await.fails_with("invalid_request", "FIRST-LAST");
    assert_eq!(ranged("lines=1-2").await.body, "0123456789");
}

#[tokio::test]
async fn conditions_are_kept_and_what_breaks_them_changes_nothing() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let absent = |body: &'static str| Reply::of(put(&node, "data/a", body).header("if-none-match", "*"));
    let first = absent("one").await;
    let etag = header(&first, "etag").to_owned();
    let refused = absent("two").await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    refused.fails_with("conflict", "nothing was done");
    assert_eq!(Reply::of(get(&node, "data/a").header("if-match", &etag)).await.body, "one");
    let same = Reply::of(get(&node, "data/a").header("if-none-match", &etag)).await;
    assert_eq!((same.status, same.body.as_str(), header(&same, "etag")), (StatusCode::NOT_MODIFIED, "", etag.as_str()));
    Reply::of(put(&node, "data/a", "two").header("if-match", &etag)).await.json_of(StatusCode::CREATED);
    let stale = Reply::of(node.request(Method::DELETE, "/v1/objects/data/a").header("if-match", &etag)).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let stale = Reply::of(get(&node, "data/a").header("if-match", &etag)).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    Reply::of(get(&node, "data/a").header("if-match", "no-quotes"))
        .await
        .fails_with("invalid_request", "If-Match".to_lowercase().as_str());
    assert_eq!(Reply::of(get(&node, "data/a")).await.body, "two");
}

#[tokio::test]
async fn buckets_keep_labels_and_versions() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let configure = |name: &str, body: &str| {
        Reply::of(node.request(Method::PUT, &format!("/v1/objects/{name}")).body(body.to_owned()))
    };
    let made = configure("data", r#"{"labels": {"region": "eu"}, "versions_kept": 2}"#).await.json();
    assert_eq!((&made["labels"], &made["versions_kept"]), (&json!({"region": "eu"}), &json!(2)));
    for body in ["one", "two", "three"] {
        Reply::of(put(&node, "data/a", body)).await.json_of(StatusCode::CREATED);
    }
    assert_eq!(node.get("/v1/objects/data/a?version=2").await.body, "two");
    node.get("/v1/objects/data/a?version=1").await.fails_with("not_found", "no such version");
    configure("data", r#"{"versions_kept": 0}"#).await.fails_with("invalid_request", "1 to 100");
    configure("data", r#"{"lables": {}}"#).await.fails_with("invalid_request", "lables");
    configure("Data", "{}").await.fails_with("invalid_request", "a-z");
    node.kill();
    let node = Node::start(&data);
    let buckets = node.get("/v1/objects").await.json();
    assert_eq!(buckets["buckets"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&buckets["buckets"][0]["labels"]["region"], &buckets["buckets"][0]["objects"]),
        (&json!("eu"), &json!(1))
    );
    assert_eq!(node.get("/v1/objects/data/a?version=2").await.body, "two");
}

#[tokio::test]
async fn bad_names_are_refused_with_the_rule_that_they_break() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let long = "k".repeat(10 << 10);
    for (name, says) in [
        ("data/a%2F..%2Fb", "`..`"),
        ("data/%2Fa", "slashes"),
        ("data/a%2F%2Fb", "slashes"),
        ("data/a%00b", "control characters"),
        (&format!("data/{long}")[..], "1 to 1024 bytes"),
        ("Data/a", "a-z 0-9"),
        ("da/a", "3 to 63"),
        ("a..b/a", "two dots"),
        (&format!("{long}/a")[..], "3 to 63"),
        ("/a", "3 to 63"),
    ] {
        Reply::of(put(&node, name, "x")).await.fails_with("invalid_request", says);
        Reply::of(get(&node, name)).await.fails_with("invalid_request", says);
    }
    Reply::of(put(&node, "data/", "x")).await.fails_with("not_found", "no route /v1/objects/data/");
    node.get("/v1/objects/nowhere").await.fails_with("not_found", "no bucket `nowhere`");
    node.get("/v1/objects/nowhere/a").await.fails_with("not_found", "no bucket `nowhere`");
    node.get("/v1/objects/data?limit=0").await.fails_with("invalid_request", "use 1 to 1000");
    assert_eq!(node.get("/v1/objects").await.json()["buckets"], json!([]));
}

#[tokio::test]
async fn the_agents_of_the_platform_are_out_of_reach() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    node.deploy_with("faulty", "name = \"faulty\"\n[capabilities]\nagents = [\"stride-bucket/*\"]").await;
    Reply::of(put(&node, "data/a", "kept")).await.json_of(StatusCode::CREATED);
    let agent = "stride-bucket/data";
    let belongs = "belongs to the platform";
    node.ask(agent, "status", "").await.fails_with("invalid_request", belongs);
    node.ask(agent, "delete?mode=tell", "").await.fails_with("invalid_request", belongs);
    node.get("/v1/agents/stride-bucket").await.fails_with("invalid_request", belongs);
    node.get(&format!("/v1/agents/{agent}")).await.fails_with("invalid_request", belongs);
    node.get(&format!("/v1/agents/{agent}/state")).await.fails_with("invalid_request", belongs);
    let remove = node.request(Method::DELETE, &format!("/v1/agents/{agent}"));
    Reply::of(remove).await.fails_with("invalid_request", belongs);
    let asks = r#"["stride-bucket", "data", "status", 1]"#;
    node.call("faulty/asks", asks).await.fails_with("capability_denied", belongs);
    assert_eq!(Reply::of(get(&node, "data/a")).await.body, "kept");
}

#[tokio::test]
async fn another_tenant_has_other_objects() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    Reply::of(put(&node, "data/a", "mine")).await.json_of(StatusCode::CREATED);
    let other = |request: RequestBuilder| Reply::of(request.header("stride-tenant", "other"));
    other(get(&node, "data/a")).await.fails_with("not_found", "data");
    assert_eq!(other(node.request(Method::GET, "/v1/objects")).await.json()["buckets"], json!([]));
    other(put(&node, "data/a", "theirs")).await.json_of(StatusCode::CREATED);
    assert_eq!(Reply::of(get(&node, "data/a")).await.body, "mine");
}

#[tokio::test]
async fn files_go_to_objects_and_back_through_the_command_line() {
    let (dir, data) = data();
    let node = Node::start(&data);
    let (file, back) = (dir.path().join("in"), dir.path().join("out"));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 31 % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let said = prints(&node, &["put", file.to_str().unwrap(), "data/dir/file"]);
    assert!(said.starts_with("data/dir/file version 1, "), "{said}");
    prints(&node, &["get", "data/dir/file", back.to_str().unwrap()]);
    assert!(std::fs::read(&back).unwrap() == bytes);
    // A directory, and the name that the key ends with.
    prints(&node, &["get", "data/dir/file", dir.path().to_str().unwrap()]);
    assert!(std::fs::read(dir.path().join("file")).unwrap() == bytes);

    let mut piped = Command::new(env!("CARGO_BIN_EXE_stride"))
        .args(["put", "-", "data/piped", "--type", "text/plain", "--url", &node.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut piped.stdin.take().unwrap(), b"from a pipe").unwrap();
    assert!(piped.wait().unwrap().success());
    assert_eq!(prints(&node, &["get", "data/piped", "-"]), "from a pipe");

    let listed: Value = serde_json::from_str(&prints(&node, &["ls", "data", "--json"])).unwrap();
    assert_eq!((&listed[0]["key"], &listed[0]["bytes"]), (&json!("dir/file"), &json!(3_000_000)));
    assert_eq!(listed[1]["content_type"], json!("text/plain"));
    assert!(prints(&node, &["ls", "data/dir/"]).ends_with("dir/file\n"));
    let buckets: Value = serde_json::from_str(&prints(&node, &["ls", "--json"])).unwrap();
    assert_eq!((&buckets[0]["bucket"], &buckets[0]["objects"]), (&json!("data"), &json!(2)));
    assert!(prints(&node, &["ls"]).contains("data"));
    prints(&node, &["rm", "data/piped"]);
    assert_eq!(prints(&node, &["ls", "data/pip"]), "");
}

#[tokio::test]
async fn a_get_that_fails_leaves_the_file_as_it_was() {
    let (dir, data) = data();
    let node = Node::start(&data);
    let file = dir.path().join("file");
    std::fs::write(&file, "as it was").unwrap();
    let missing = stride(&node.url, &["get", "data/missing", file.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("not_found"), "{}", stderr(&missing));
    for name in ["data/../x", "data/", "/x", "", &"k".repeat(10 << 10), &format!("data/{}", "k".repeat(10 << 10))] {
        assert_eq!(stride(&node.url, &["get", name]).status.code(), Some(2), "{name}");
    }
    assert_eq!(stride(&node.url, &["put", "/nowhere/at/all", "data/x"]).status.code(), Some(1));

    // Two chunks, of which the second is damaged: the first has been sent when that is found.
    let bytes: Vec<u8> = (0..10_000_000u32).map(|n| (n * 31 % 251) as u8).collect();
    std::fs::write(dir.path().join("large"), &bytes).unwrap();
    prints(&node, &["put", dir.path().join("large").to_str().unwrap(), "data/large"]);
    let second = crate::object_crashes::chunks(&data).into_iter().find(|path| path.metadata().unwrap().len() < 8 << 20);
    std::fs::write(second.unwrap(), vec![0; 10_000_000 - (8 << 20)]).unwrap();
    let broken = stride(&node.url, &["get", "data/large", file.to_str().unwrap()]);
    assert_eq!(broken.status.code(), Some(1), "{}", stderr(&broken));
    assert!(stderr(&broken).contains("file is as it was"), "{}", stderr(&broken));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as it was");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("stride-get")), "{left:?}");
}
