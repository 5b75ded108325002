//! Hot objects are copied toward work that waits: another node has their bytes before anything reads them there, unless labels keep
//! them away.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use stride_sim::Clock;
use tokio::task::JoinSet;

use crate::{
    cluster::{Cluster, until_shared},
    cluster_placement::{EU, explained, label, name, put, until_known},
    stores::metric,
    support::{Node, Reply},
};

const SIZE: usize = 1 << 20;
/// Few run at a time, and each takes long enough for the others to wait.
const SLEEPS: &str = "name = \"faulty\"\n[functions.sleeps]\nconcurrency = 2\n";

/// How many bytes of an object a node has in memory.
async fn cached(node: &Node, object: &str) -> u64 {
    explained(node, &format!("of=faulty/echo&data={object}")).await["data"][0]["cached_bytes"].as_u64().unwrap()
}

/// Begins calls of a function that names an object and never reads it: who has its bytes has them for another reason.
fn begin(calls: &mut JoinSet<Reply>, asked: &Node, object: &str, times: usize) {
    for _ in 0..times {
        calls.spawn(Reply::of(asked.post(&format!("/v1/functions/faulty/sleeps?data={object}"), "2000")));
    }
}

/// Waits until a node has brought one of these ahead, and says which. While calls wait, there is a reason to.
async fn until_brought<'a>(node: &Node, objects: [&'a str; 2], calls: &mut JoinSet<Reply>) -> &'a str {
    loop {
        for object in objects {
            if cached(node, object).await == SIZE as u64 {
                return object;
            }
        }
        while let Some(reply) = calls.try_join_next() {
            assert_eq!(reply.unwrap().status, StatusCode::OK);
        }
        assert!(!calls.is_empty(), "all calls have run and none of {objects:?} was copied");
        Clock::real().sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_much_work_waits_for_is_copied_ahead_but_not_to_where_labels_forbid_it() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start_configured("a", EU), cluster.start("b"));
    until_shared(&a, 2).await;
    a.deploy_with("faulty", SLEEPS).await.json_of(StatusCode::CREATED);
    let (holder, other) = (name(&a).await, name(&b).await);
    let (asked_here, asked_there, labelled) = (["hot/0", "hot/1"], ["hot/2", "hot/3"], "patients/1");
    for (number, object) in asked_here.into_iter().chain(asked_there).chain([labelled]).enumerate() {
        put(&a, object, vec![number as u8; SIZE]).await;
        assert_eq!(a.get(&format!("/v1/objects/{object}")).await.status, StatusCode::OK);
        until_known(&b, &holder, object).await;
    }
    label(&a, "patients", json!({ "region": "eu" })).await;
    while explained(&a, "of=faulty/echo").await["plan"]["candidates"].as_array().unwrap().len() < 2 {}

    // Nobody knows yet how long it runs, so all of it goes to where the bytes are, and waits there. The hottest may not be copied.
    let mut calls = JoinSet::new();
    begin(&mut calls, &a, labelled, 16);
    for (here, there) in asked_here.into_iter().zip(asked_there) {
        begin(&mut calls, &a, here, 5);
        begin(&mut calls, &b, there, 5);
    }
    for objects in [asked_here, asked_there] {
        let brought = until_brought(&b, objects, &mut calls).await;
        until_known(&a, &other, brought).await;
    }
    let (ordered, bytes) =
        (metric(&a, "stride_object_copies_ordered_total").await, metric(&b, "stride_object_ahead_bytes_total").await);
    assert!((2.0..=4.0).contains(&ordered), "each is ordered once: {ordered}");
    assert!(bytes >= 2.0 * SIZE as f64, "{bytes}");
    assert_eq!(metric(&b, "stride_object_copies_ordered_total").await, 0.0, "nothing waits there");
    assert_eq!((cached(&b, labelled).await, metric(&b, "stride_object_ahead_chunks_dropped_total").await), (0, 0.0));
}
