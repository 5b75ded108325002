//! Agents that use data which may not be everywhere: their cells go where it may be.

use std::{collections::BTreeMap, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};
use stride_sim::Clock;

use crate::{
    cli::prints,
    cluster::{Cluster, until_shared},
    cluster_placement::{explained, label, name, put},
    support::Node,
};

const READS: &str = "name = \"faulty\"\n[capabilities]\nobjects = [\"patients/*:read\"]";

/// An agent whose cell is on a node and is to stay there, as of now; and what there is to say of the cell.
async fn one_on(node: &Node, owner: &str) -> (String, Value) {
    for number in 0.. {
        let agent = format!("librarian/l{number}");
        let place = explained(node, &format!("of={agent}")).await["place"].take();
        if [&place["owner"], &place["wanted"]] == [&json!(owner); 2] {
            return (agent, place);
        }
    }
    unreachable!("there are cells on both nodes")
}

/// How many cells each node is to own.
fn shares(place: &Value) -> BTreeMap<String, u64> {
    let nodes = place["nodes"].as_array().unwrap().iter();
    nodes.map(|node| (node["node"].as_str().unwrap().to_owned(), node["cells"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_refused_its_data_soon_reads_it_because_its_cell_has_gone_where_that_may_be() {
    let cluster = Cluster::new();
    let [us, eu] =
        ["us", "eu"].map(|region| cluster.start_configured(region, &format!("[labels]\nregion = \"{region}\"\n")));
    until_shared(&us, 2).await;
    us.deploy_with("faulty", READS).await.json_of(StatusCode::CREATED);
    put(&us, "patients/1", b"0123".into()).await;
    label(&us, "patients", json!({ "region": "eu" })).await;
    let [name_us, name_eu] = [name(&us).await, name(&eu).await];
    let (agent, before) = one_on(&us, &name_us).await;
    assert_eq!(before["labels"], json!([]), "{before}");

    let read = async || eu.ask(&agent, "begin", r#"["patients", "1", 3]"#).await;
    read().await.fails_with("capability_denied", "region=eu");
    loop {
        let reply = read().await;
        if reply.status == StatusCode::OK {
            assert_eq!(reply.json(), json!("012"));
            break;
        }
        reply.fails_with("capability_denied", "region=eu");
        Clock::real().sleep(Duration::from_millis(100)).await;
    }

    let place = explained(&us, &format!("cell={}", before["cell"])).await;
    assert_eq!((&place["owner"], &place["pinned"]), (&json!(name_eu), &Value::Null), "{place}");
    assert_eq!(place["labels"], json!(["region=eu"]));
    let mut expected = shares(&before);
    *expected.get_mut(&name_us).unwrap() -= 1;
    *expected.get_mut(&name_eu).unwrap() += 1;
    assert_eq!(shares(&place), expected, "no other cell has moved");
    let text = prints(&us, &["explain", "cell", &before["cell"].to_string()]);
    for part in [
        format!("{name_us} lacks labels that its agents' data demands"),
        format!("its agents use data that demands region=eu; {name_eu} carries that"),
        "of its share; lacks region=eu".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
}
