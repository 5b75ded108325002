//! Triggers, through the real binary and HTTP. What is told to agents is written down by `post`, an agent of the example `faulty`.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{prints, stderr, stride},
    cluster::{Cluster, until_shared},
    support::{Node, Reply, data},
};

/// The example `faulty` with these triggers, each as TOML.
fn manifest(triggers: &[&str]) -> String {
    let mut text = "name = \"faulty\"\n[capabilities]\nagents = [\"post/*\", \"topic/*\"]\n".to_owned();
    for trigger in triggers {
        text.push_str(&format!("[[triggers]]\n{trigger}\n"));
    }
    text
}

/// A trigger that tells `post/KEY` what is in the event.
fn notes(name: &str, source: &str, key: &str) -> String {
    format!("name = \"{name}\"\n{source}\nagent = \"post\"\nkey = \"{key}\"\nmethod = \"note\"\ninput = \"$.data\"")
}

async fn deploy(node: &Node, triggers: &[&str]) {
    node.deploy_with("faulty", &manifest(triggers)).await.json_of(StatusCode::CREATED);
}

async fn node_with(data: &Path, triggers: &[&str]) -> Node {
    let node = Node::start(data);
    deploy(&node, triggers).await;
    node
}

async fn publish(node: &Node, topic: &str, data: Value) -> Value {
    let request = node.post(&format!("/v1/topics/{topic}"), data.to_string());
    Reply::of(request).await.json_of(StatusCode::ACCEPTED)
}

async fn got(node: &Node, key: &str) -> Vec<Value> {
    node.ask(&format!("post/{key}"), "got", "").await.json().as_array().unwrap().clone()
}

/// What the agent got, once it is so much.
async fn got_all(node: &Node, key: &str, count: usize) -> Vec<Value> {
    loop {
        let got = got(node, key).await;
        if got.len() >= count {
            assert_eq!(got.len(), count, "{got:?}");
            return got;
        }
        tokio::task::yield_now().await;
    }
}

async fn trigger(node: &Node, name: &str) -> Value {
    trigger_in(&node.get("/v1/triggers").await.json(), name)
}

fn trigger_in(listed: &Value, name: &str) -> Value {
    let found = listed["triggers"].as_array().unwrap().iter().find(|one| one["trigger"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits until a field of a trigger is so.
async fn until(node: &Node, name: &str, field: &str, value: Value) {
    while trigger(node, name).await[field] != value {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clients_and_agents_publish_and_each_trigger_hears_of_it_once() {
    let (_dir, data) = data();
    let (one, two) = (notes("one", "topic = \"news\"", "a"), notes("two", "topic = \"news\"", "b"));
    let node = node_with(&data, &[&one, &two]).await;
    for n in 0..10 {
        publish(&node, "news", json!(n.to_string())).await;
    }
    let published = node.ask("post/sender", "publish", "[\"news\", \"from a turn\"]").await;
    assert_eq!(published.status, StatusCode::OK);
    node.ask("post/sender", "publish_then_fail", "[\"news\", \"never\"]").await.fails_with("guest_error", "after");
    let keyed = || Reply::of(node.post("/v1/topics/news", "\"last\"").header("idempotency-key", "k"));
    let first = keyed().await.json_of(StatusCode::ACCEPTED);
    assert_eq!(keyed().await.json_of(StatusCode::ACCEPTED)["number"], first["number"]);
    let mut expected: Vec<_> = (0..10).map(|n| json!(n.to_string())).collect();
    expected.extend([json!("from a turn"), json!("last")]);
    let mut all = got_all(&node, "a", 12).await;
    assert_eq!(got_all(&node, "b", 12).await, all, "the order of the topic is that of all who hear of it");
    assert_eq!(all[..10], expected[..10]);
    all.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(all, expected);
    let window = node.get("/v1/topics/news?after=10&limit=1").await.json();
    assert_eq!((&window["messages"][0]["number"], &window["last"]), (&json!(11), &json!(12)));
    assert_eq!(node.get("/v1/topics").await.json()["topics"], json!([{"name": "news"}]));
}

#[tokio::test]
async fn what_was_published_is_told_exactly_once_though_the_node_is_killed_in_the_midst_of_it() {
    let (_dir, data) = data();
    let note = notes("one", "topic = \"news\"", "a");
    let call = "name = \"two\"\ntopic = \"news\"\nfunction = \"posts\"\ninput = [\"called\", \"$.data\"]";
    let mut node = node_with(&data, &[&note, call]).await;
    let mut sent = 0;
    for _ in 0..5 {
        // Some of these are answered, and some are not; repeated under their keys they are the same.
        let first = sent;
        let publishing = async |node: &Node, n: usize| {
            let key = format!("message-{n}");
            let request = node.post("/v1/topics/news", format!("\"{n}\"")).header("idempotency-key", key);
            request.send().await.is_ok_and(|response| response.status() == StatusCode::ACCEPTED)
        };
        let all = futures::future::join_all((first..first + 40).map(|n| publishing(&node, n)));
        let until_some_arrived = async {
            while got(&node, "a").await.len() < first + 5 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = all => {}
            () = until_some_arrived => {}
        }
        node.kill();
        node = Node::start(&data);
        for n in first..first + 40 {
            assert!(publishing(&node, n).await);
        }
        sent += 40;
    }
    let numbers = |got: Vec<Value>| -> Vec<usize> {
        let mut numbers: Vec<_> = got.iter().map(|n| n.as_str().unwrap().parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(got_all(&node, "a", sent).await), (0..sent).collect::<Vec<_>>());
    // Functions are called at least once.
    until(&node, "two", "delivered", json!(sent)).await;
    let mut called = numbers(got(&node, "called").await);
    called.dedup();
    assert_eq!(called, (0..sent).collect::<Vec<_>>());
    assert_eq!(trigger(&node, "two").await["dead"], 0);
}

#[tokio::test]
async fn a_call_that_keeps_failing_is_a_dead_letter_and_replayed_on_a_repaired_trigger() {
    let (_dir, data) = data();
    let fails = "name = \"one\"\ntopic = \"news\"\nfunction = \"fails\"";
    let node = node_with(&data, &[fails]).await;
    publish(&node, "news", json!("x")).await;
    until(&node, "one", "dead", json!(1)).await;
    let dead = node.get("/v1/triggers/faulty/one/dead").await.json();
    let letter = &dead["letters"][0];
    assert_eq!((&letter["attempts"], &letter["cause"]["code"]), (&json!(5), &json!("guest_error")));
    assert_eq!((&letter["event"]["data"], &dead["more"]), (&json!("x"), &json!(false)));
    let shown = prints(&node, &["triggers", "dead", "faulty/one"]);
    assert!(shown.contains("guest_error") && shown.contains("5 attempts"), "{shown}");

    // It is there after a crash.
    node.kill();
    let node = Node::start(&data);
    let listed: Value = serde_json::from_str(&prints(&node, &["triggers", "dead", "faulty/one", "--json"])).unwrap();
    assert_eq!(listed[0], *letter);
    deploy(&node, &["name = \"one\"\ntopic = \"news\"\nfunction = \"posts\"\ninput = [\"a\", \"$.data\"]"]).await;
    assert_eq!(prints(&node, &["triggers", "replay", "faulty/one"]), "1 dead letter is replayed of faulty/one\n");
    assert_eq!(got_all(&node, "a", 1).await, [json!("x")]);
    until(&node, "one", "dead", json!(0)).await;
    let nothing = stride(&node.url, &["triggers", "replay", "faulty/one", "--letter", "99"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("dead letter `99`"), "{}", stderr(&nothing));
}

#[tokio::test]
async fn a_paused_trigger_lets_events_wait_also_while_the_node_is_down() {
    let (_dir, data) = data();
    let node = node_with(&data, &[&notes("one", "topic = \"news\"", "a")]).await;
    assert_eq!(prints(&node, &["triggers", "pause", "faulty/one"]), "faulty/one is paused\n");
    for n in ["1", "2"] {
        publish(&node, "news", json!(n)).await;
    }
    until(&node, "one", "waiting", json!(2)).await;
    node.kill();
    let node = Node::start(&data);
    assert_eq!((trigger(&node, "one").await["state"].clone(), got(&node, "a").await.len()), (json!("paused"), 0));
    let resumed: Value = serde_json::from_str(&prints(&node, &["triggers", "resume", "faulty/one", "--json"])).unwrap();
    assert_eq!(resumed, json!({"component": "faulty", "trigger": "one", "state": "running"}));
    assert_eq!(got_all(&node, "a", 2).await, [json!("1"), json!("2")]);
    let table = prints(&node, &["triggers", "ls"]);
    assert!(table.contains("faulty/one") && table.contains("topic news") && table.contains("running"), "{table}");
    let listed: Value = serde_json::from_str(&prints(&node, &["triggers", "ls", "--json"])).unwrap();
    assert_eq!(listed[0]["target"], "agent post/a note");
    let unknown = stride(&node.url, &["triggers", "pause", "faulty/onne"]);
    assert!(unknown.status.code() == Some(1) && stderr(&unknown).contains("did you mean `faulty/one`"));
}

#[tokio::test]
async fn what_is_published_as_a_cloud_event_is_taken_once_in_either_mode() {
    let (_dir, data) = data();
    let node = node_with(&data, &[&notes("one", "topic = \"news\"", "a")]).await;
    let event = json!({"specversion": "1.0", "id": "7", "source": "/till", "type": "paid", "data": "hello"});
    let structured = |event: &Value| {
        let request = node.post("/v1/topics/news", event.to_string());
        Reply::of(request.header("content-type", "application/cloudevents+json"))
    };
    assert_eq!(structured(&event).await.json_of(StatusCode::ACCEPTED), json!({"number": 1, "duplicate": false}));
    let binary = |id: &str| {
        let request = node.post("/v1/topics/news", "\"hello\"").header("ce-specversion", "1.0").header("ce-id", id);
        Reply::of(request.header("ce-source", "/till").header("ce-type", "paid"))
    };
    let again = binary("7").await;
    assert_eq!(again.json_of(StatusCode::ACCEPTED), json!({"number": 1, "duplicate": true}));
    assert_eq!(again.headers["stride-replayed"], "true");
    assert_eq!(binary("8").await.json_of(StatusCode::ACCEPTED)["number"], 2);
    got_all(&node, "a", 2).await;
    let half = json!({"specversion": "1.0", "id": "9", "type": "paid"});
    structured(&half).await.fails_with("invalid_request", "`source`");
    let large = json!("x".repeat(300_000)).to_string();
    Reply::of(node.post("/v1/topics/news", large)).await.fails_with("payload_too_large", "object");
    Reply::of(node.post("/v1/topics/1news", "1")).await.fails_with("invalid_request", "1news");
    let removed = Reply::of(node.request(Method::DELETE, "/v1/agents/topic/news")).await;
    removed.fails_with("invalid_request", "the platform's own");
    node.ask("topic/news", "subscribe", "x").await.fails_with("invalid_request", "subscribe");
}

#[tokio::test]
async fn objects_and_their_events_are_there_together_or_not_at_all() {
    let (_dir, data) = data();
    let key = "objects = \"photos/in/\"\nsuffix = \".jpg\"";
    let one = notes("one", key, "a").replace("$.data", "$.subject");
    let gone = notes("gone", &format!("{key}\non = \"removed\""), "b").replace("$.data", "$.subject");
    let mut node = node_with(&data, &[&one, &gone]).await;
    let request = |node: &Node, method, key: &str| node.request(method, &format!("/v1/objects/photos/{key}")).body("x");
    for round in 0..5 {
        let key = format!("in/{round}.jpg");
        Reply::of(request(&node, Method::PUT, &key)).await.json_of(StatusCode::CREATED);
        Reply::of(request(&node, Method::PUT, "in/a.png")).await.json_of(StatusCode::CREATED);
        node.kill();
        node = Node::start(&data);
    }
    let written: Vec<_> = (0..5).map(|round| json!(format!("in/{round}.jpg"))).collect();
    assert_eq!(got_all(&node, "a", 5).await, written);
    assert_eq!(Reply::of(request(&node, Method::DELETE, "in/3.jpg")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(got_all(&node, "b", 1).await, [json!("in/3.jpg")]);
    got_all(&node, "a", 6).await;
}

#[tokio::test]
async fn times_come_and_a_trigger_is_gone_when_its_deployment_is_rolled_back() {
    let (_dir, data) = data();
    let node = node_with(&data, &[]).await;
    let cron = notes("one", "cron = \"* * * * * *\"", "a").replace("$.data", "$.type");
    deploy(&node, &[&cron, &notes("two", "topic = \"news\"", "b")]).await;
    while got(&node, "a").await.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(got(&node, "a").await[0], "stride.cron.tick");
    prints(&node, &["rollback", "faulty"]);
    assert_eq!(node.get("/v1/triggers").await.json(), json!({"triggers": []}));
    publish(&node, "news", json!("nobody hears this")).await;
    let before = got(&node, "a").await.len();
    deploy(&node, &[&notes("two", "topic = \"news\"", "b")]).await;
    publish(&node, "news", json!("heard")).await;
    assert_eq!(got_all(&node, "b", 1).await, [json!("heard")]);
    assert_eq!(got(&node, "a").await.len(), before);
}

#[tokio::test]
async fn a_request_that_a_trigger_has_a_route_for_is_answered_by_its_target() {
    let (_dir, data) = data();
    let note =
        "name = \"note\"\nhttp = \"POST /notes/{id}\"\nagent = \"post\"\nkey = \"$.params.id\"\nmethod = \"note\"";
    let read = "name = \"read\"\nhttp = \"GET /notes/{id}\"\nagent = \"post\"\nkey = \"$.params.id\"\nmethod = \"got\"";
    let echo = "name = \"echo\"\nhttp = \"PUT /echo\"\nfunction = \"echo\"";
    let built = "name = \"built\"\nhttp = \"PATCH /echo\"\nfunction = \"echo\"\ninput = { q = \"$.query.q\", b = \"$.body.n\", h = \"$.headers['x-a']\" }";
    let node = node_with(&data, &[note, read, echo, built]).await;
    let noted = || node.post("/r/notes/a%20b", "\"hi\"").header("idempotency-key", "k");
    assert_eq!(Reply::of(noted()).await.status, StatusCode::OK);
    let again = Reply::of(noted()).await;
    assert!(again.headers.contains_key("stride-turn") && again.headers["stride-replayed"] == "true");
    assert_eq!(node.get("/r/notes/a%20b").await.json(), json!(["hi"]));
    let echoed =
        Reply::of(node.request(Method::PUT, "/r/echo").header("content-type", "text/plain").body("as it is")).await;
    assert_eq!((echoed.body.as_str(), &echoed.headers["content-type"]), ("as it is", &"text/plain".parse().unwrap()));
    assert!(echoed.headers.contains_key("stride-call"));
    let built = node.request(Method::PATCH, "/r/echo?q=1").header("x-a", "x").body("{\"n\": 2}");
    assert_eq!(Reply::of(built).await.json(), json!({"q": "1", "b": 2, "h": "x"}));
    Reply::of(node.request(Method::PATCH, "/r/echo").body("{}")).await.fails_with("invalid_request", "`input`");
    node.get("/r/echo").await.fails_with("invalid_request", "PUT /echo");
    node.get("/r/nothing").await.fails_with("not_found", "stride triggers ls");
    Reply::of(node.post("/v1/triggers/faulty/echo/pause", "")).await.fails_with("invalid_request", "route");
}

#[tokio::test]
async fn a_trigger_whose_target_is_not_there_is_refused_at_once_and_one_whose_target_goes_says_so() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let topic = "name = \"one\"\ntopic = \"news\"\n";
    for (target, says) in [
        ("function = \"ehco\"", "did you mean `echo`?"),
        ("function = \"words/count\"", "no component `words`"),
        ("agent = \"poost\"\nkey = \"a\"\nmethod = \"note\"", "did you mean `post`?"),
        ("agent = \"post\"\nkey = \"a\"\nmethod = \"nnote\"", "did you mean `note`?"),
        ("agent = \"topic\"\nkey = \"a\"\nmethod = \"pubish\"", "did you mean `publish`?"),
    ] {
        let refused = node.deploy_with("faulty", &manifest(&[&format!("{topic}{target}")])).await;
        refused.fails_with("not_found", says);
        refused.fails_with("not_found", "trigger `one`");
    }
    for (trigger, says) in [
        ("name = \"one\"\ntopci = \"news\"", "did you mean `topic`?"),
        ("name = \"one\"\ntopic = \"news\"", "one of `function`"),
        ("name = \"one\"\ncron = \"daily\"\nfunction = \"echo\"", "daily"),
    ] {
        node.deploy_with("faulty", &manifest(&[trigger])).await.fails_with("invalid_request", says);
    }
    let twice = "name = \"one\"\nhttp = \"GET /a\"\nfunction = \"echo\"";
    node.deploy_with("faulty", &manifest(&[twice, twice])).await.fails_with("invalid_request", "`one`");
    assert_eq!(node.get("/v1/triggers").await.json(), json!({"triggers": []}));

    node.deploy("words").await;
    deploy(&node, &[&format!("{topic}function = \"words/count\"\ninput = \"$.data\"")]).await;
    publish(&node, "news", json!("one two")).await;
    until(&node, "one", "delivered", json!(1)).await;
    node.deploy_with("echo", "name = \"words\"").await.json_of(StatusCode::CREATED);
    publish(&node, "news", json!("three")).await;
    until(&node, "one", "dead", json!(1)).await;
    let why = trigger(&node, "one").await["why"].clone();
    assert!(why.as_str().unwrap().contains("`count`"), "{why}");
    let dead = node.get("/v1/triggers/faulty/one/dead").await.json();
    assert_eq!(dead["letters"][0]["cause"]["code"], "not_found");
    assert!(dead["letters"][0]["cause"]["message"].as_str().unwrap().contains("stride triggers replay"));
    let dropped = node.request(Method::DELETE, "/v1/triggers/faulty/one/dead");
    assert_eq!(Reply::of(dropped).await.json(), json!({"dropped": 1}));
}

/// Waits until so much was delivered, by a node of a cluster: one that has not heard from the database for a while refuses, and
/// goes on.
async fn until_delivered(node: &Node, name: &str, count: u64) {
    loop {
        let listed = node.get("/v1/triggers").await;
        if listed.status != StatusCode::OK {
            listed.fails_with("unavailable", "has not heard from the cluster's database");
        } else if trigger_in(&listed.json(), name)["delivered"] == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn in_a_cluster_triggers_go_on_when_the_node_that_has_them_dies() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    until_shared(&one, 2).await;
    // Several of each, so that both nodes have some.
    let triggers: Vec<_> = (0..6)
        .flat_map(|n| {
            let call =
                format!("name = \"call{n}\"\ntopic = \"news\"\nfunction = \"posts\"\ninput = [\"c{n}\", \"$.data\"]");
            [notes(&format!("note{n}"), "topic = \"news\"", &format!("n{n}")), call]
        })
        .collect();
    deploy(&one, &triggers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for n in 0..10 {
        publish(if n % 2 == 0 { &one } else { &two }, "news", json!(n.to_string())).await;
    }
    assert_eq!(two.get("/v1/triggers").await.json()["triggers"].as_array().unwrap().len(), 12);
    one.kill();
    until_shared(&two, 1).await;
    for n in 10..20 {
        let request = || two.post("/v1/topics/news", format!("\"{n}\"")).header("idempotency-key", n.to_string());
        while Reply::of(request()).await.status != StatusCode::ACCEPTED {}
    }
    let mut expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    expected.sort();
    let sorted = |got: Vec<Value>| {
        let mut texts: Vec<_> = got.iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    };
    for n in 0..6 {
        assert_eq!(sorted(got_all(&two, &format!("n{n}"), 20).await), expected);
        until_delivered(&two, &format!("call{n}"), 20).await;
        let mut called = sorted(got(&two, &format!("c{n}")).await);
        called.dedup();
        assert_eq!(called, expected);
    }
}
