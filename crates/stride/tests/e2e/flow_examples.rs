//! The examples of flows on a node, as their READMEs use them.

use std::{io::Cursor, path::Path, process::Command};

use image::{ImageFormat, RgbImage};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{prints, stderr, stride},
    support::{Node, Reply, data, examples, root},
};

/// Deploys the component of an example, whose file may be called otherwise.
async fn deploy(node: &Node, example: &str, component: &str) {
    let manifest = std::fs::read_to_string(root().join("examples").join(example).join("stride.toml")).unwrap();
    let component = std::fs::read(examples().join(format!("{component}.wasm"))).unwrap();
    node.deploy_bytes(component, &manifest).await.json_of(StatusCode::CREATED);
}

fn path(example: &str) -> String {
    root().join("examples").join(example).to_str().unwrap().to_owned()
}

async fn put(node: &Node, object: &str, body: impl Into<reqwest::Body>) {
    let put = node.request(Method::PUT, &format!("/v1/objects/{object}")).body(body);
    Reply::of(put).await.json_of(StatusCode::CREATED);
}

async fn ask(node: &Node, agent: &str, method: &str, input: Value) -> Value {
    node.ask(agent, method, &input.to_string()).await.json()
}

async fn node_with_shop(data: &Path) -> Node {
    let node = Node::start(data);
    deploy(&node, "shop", "shop").await;
    for stock in [json!(["chair", 10]), json!(["glass", 10])] {
        node.ask("warehouse/eu", "fill", &stock.to_string()).await;
    }
    node
}

fn order(node: &Node, id: &str, item: &str) {
    let input = json!({"id": id, "item": item, "count": 2, "cents": 9900, "customer": "ada"}).to_string();
    prints(node, &["flow", "run", "order", &input, "--run", id, "--detach"]);
    let asks = || prints(node, &["flow", "status", &format!("order/{id}")]).contains("9900 cents?");
    while !asks() {}
}

#[tokio::test]
async fn an_order_is_approved_after_a_kill_and_paid_and_shipped_once() {
    let (_dir, data) = data();
    let node = node_with_shop(&data).await;
    prints(&node, &["flow", "deploy", &path("shop/order.json")]);
    // The same flow as a program of Python is no new version.
    let python = Command::new(env!("CARGO_BIN_EXE_stride"))
        .args(["flow", "deploy", &path("shop/order.py")])
        .env("STRIDE_URL", &node.url)
        .env("PYTHONPATH", root().join("sdk/python"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&python.stdout).contains("version 1"), "{}", stderr(&python));
    order(&node, "o-1", "chair");
    node.kill();
    let node = Node::start(&data);
    prints(&node, &["flow", "approve", "order/o-1", "approve", "--by", "ann"]);
    let ended = node.get("/v1/flows/order/runs/o-1?wait_ms=60000").await.json();
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(ask(&node, "till/eu", "cents", json!(null)).await, 9900);
}

#[tokio::test]
async fn an_order_that_breaks_or_is_refused_is_paid_back_and_released() {
    let (_dir, data) = data();
    let node = node_with_shop(&data).await;
    prints(&node, &["flow", "deploy", &path("shop/order.json")]);
    order(&node, "o-2", "glass");
    prints(&node, &["flow", "approve", "order/o-2", "--by", "ann"]);
    order(&node, "o-3", "chair");
    prints(&node, &["flow", "refuse", "order/o-3", "--reason", "too dear"]);
    for id in ["o-2", "o-3"] {
        let ended = node.get(&format!("/v1/flows/order/runs/{id}?wait_ms=60000")).await.json();
        assert_eq!(ended["state"], "failed", "{ended}");
    }
    assert_eq!(ask(&node, "till/eu", "cents", json!(null)).await, 0);
    // All that was put aside is there again.
    for (id, item) in [("o-4", "glass"), ("o-5", "chair")] {
        let input = json!({"id": id, "item": item, "count": 10, "cents": 9900, "customer": "ada"}).to_string();
        prints(&node, &["flow", "run", "order", &input, "--run", id, "--detach"]);
        while !prints(&node, &["flow", "status", &format!("order/{id}")]).contains("9900 cents?") {}
    }
}

/// Lines as dpkg writes them, over some hours.
fn log(lines: usize) -> String {
    let what = ["status installed", "status unpacked", "install", "upgrade", "configure"];
    let line = |n: usize| {
        format!(
            "2026-11-{:02} {:02}:{:02}:00 {} libc{}:amd64 2.36-9\n",
            n % 28 + 1,
            n % 24,
            n % 60,
            what[n % 5],
            n % 40
        )
    };
    (0..lines).map(line).collect()
}

#[tokio::test]
async fn logs_are_counted_the_same_with_and_without_passes_and_far_fewer_bytes_travel_with_them() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy(&node, "log-analysis", "log_analysis").await;
    put(&node, "logs/a.log", log(1_500)).await;
    put(&node, "logs/b.log", log(700)).await;
    let input = json!({"bucket": "logs", "prefix": ""}).to_string();
    let (mut results, mut bytes) = (Vec::new(), Vec::new());
    for (run, without) in
        [("with", &[][..]), ("plain", &["fuse", "push_code_to_data", "combine_before_shuffle", "memoise", "batch"][..])]
    {
        let mut arguments = vec!["flow".to_owned(), "deploy".to_owned(), path("log-analysis/logs.json")];
        arguments.extend(without.iter().flat_map(|pass| ["--without".to_owned(), (*pass).to_owned()]));
        prints(&node, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        results.push(prints(&node, &["flow", "run", "logs", &input, "--run", run]));
        let plan: Value =
            serde_json::from_str(&prints(&node, &["flow", "explain", &format!("logs/{run}"), "--json"])).unwrap();
        let nodes = plan["graphs"].as_array().unwrap().iter().flat_map(|graph| graph["nodes"].as_array().unwrap());
        bytes.push(nodes.filter_map(|node| node["measured"]["bytes_out"].as_u64()).sum::<u64>());
    }
    assert_eq!(results[0], results[1]);
    assert!(results[0].len() > 100, "{}", results[0]);
    assert!(bytes[0] * 3 <= bytes[1], "{} bytes with passes, {} without", bytes[0], bytes[1]);
}

#[tokio::test]
async fn a_picture_that_is_written_is_made_small_in_several_sizes_and_found_in_the_gallery() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy(&node, "image-pipeline", "image_pipeline").await;
    prints(&node, &["flow", "deploy", &path("image-pipeline/pictures.json")]);
    let mut picture = Cursor::new(Vec::new());
    RgbImage::new(1200, 800).write_to(&mut picture, ImageFormat::Jpeg).unwrap();
    // Its trigger begins a run.
    put(&node, "photos/holiday.jpg", picture.into_inner()).await;
    let result = loop {
        let runs = node.get("/v1/flows/pictures/runs").await.json();
        if runs["runs"][0]["state"] == "done" {
            break runs["runs"][0]["result"].clone();
        }
        assert_ne!(runs["runs"][0]["state"], "failed", "{runs}");
    };
    assert_eq!((&result["key"], &result["pictures"]), (&json!("holiday.jpg"), &json!(1)), "{result}");
    assert_eq!(result["sizes"].as_array().unwrap().len(), 3);
    let sizes = ask(&node, "gallery/photos", "sizes", json!("holiday.jpg")).await;
    assert_eq!(sizes.as_array().unwrap().len(), 3, "{sizes}");
    let kept = node.get("/v1/objects/gallery").await.json();
    assert_eq!(kept["objects"].as_array().unwrap().len(), 3, "{kept}");
    let missing = r#"{"$object": {"bucket": "photos", "key": "nothing.jpg"}}"#;
    let failed = stride(&node.url, &["flow", "run", "pictures", missing]);
    assert!(!failed.status.success() && stderr(&failed).contains("nothing.jpg"), "{}", stderr(&failed));
}

#[tokio::test]
async fn a_state_machine_as_people_have_it_polls_a_job() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy(&node, "states", "jobs").await;
    let (machine, resources) = (path("states/job-poller.asl.json"), path("states/resources.json"));
    prints(&node, &["flow", "deploy", &machine, "--states", "poller", "--resources", &resources]);
    let run = |fails: bool, name: &str| json!({"name": name, "looks": 3, "fails": fails, "wait_time": 0}).to_string();
    let result: Value = serde_json::from_str(&prints(&node, &["flow", "run", "poller", &run(false, "a")])).unwrap();
    assert_eq!(result, json!({"looks": 4}));
    let failed = stride(&node.url, &["flow", "run", "poller", &run(true, "b")]);
    assert!(stderr(&failed).contains("JobFailed"), "{}", stderr(&failed));
}

#[tokio::test]
async fn training_is_a_flow_that_iterates_until_the_loss_is_small() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    deploy(&node, "training", "training").await;
    // Rows whose label is whether their first feature is set.
    let rows = |from: u32| {
        (from..from + 40).flat_map(|row| {
            let is_set = (row % 2) as f32;
            let features = (0..6_787).map(move |feature| if feature == 0 { is_set } else { 0.0 });
            features.chain([is_set]).flat_map(f32::to_le_bytes)
        })
    };
    for (batch, from) in [("batch-0", 0), ("batch-1", 40)] {
        put(&node, &format!("training/{batch}"), rows(from).collect::<Vec<u8>>()).await;
    }
    prints(&node, &["flow", "deploy", &path("training/train.json")]);
    let input = json!({"training": "reviews", "batches": ["batch-0", "batch-1"], "goal": 0.1}).to_string();
    let result: Value = serde_json::from_str(&prints(&node, &["flow", "run", "train", &input])).unwrap();
    assert!(result["loss"].as_f64().unwrap() <= 0.1 && result["steps"].as_u64().unwrap() > 1, "{result}");
    assert_eq!(ask(&node, "trainer/reviews", "steps", json!(null)).await, result["steps"]);
}
