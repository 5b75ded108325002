//! `GET /v1/nodes`: the nodes and how busy they are. This is the operator's view and shared by all tenants, so it shows numbers
//! only.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    others::{self, OtherNode, Scale},
    routes::Shared,
};

/// What a node says of itself, which stays as it is until it ends.
#[derive(Clone, Debug, Serialize)]
pub struct NodeInfo {
    /// Its name.
    pub node: String,
    /// Where it listens, as a URL.
    pub address: String,
    /// Its release.
    pub version: String,
    /// How many cores it has.
    pub cores: u32,
    /// How much memory it has, in bytes; none if that cannot be found out.
    pub memory_bytes: Option<u64>,
    /// What else it has.
    pub hardware: Vec<String>,
    /// What it carries.
    pub labels: BTreeMap<String, String>,
    /// What an hour of it costs.
    pub price_per_hour: f64,
}

#[derive(Serialize)]
pub(crate) struct NodeList {
    nodes: Vec<Listed>,
    /// None where there is no cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Scale>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    node: OtherNode,
    /// What only the node itself knows; none of the others.
    calls: Option<Calls>,
    cached_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Calls {
    running: u64,
    waiting: u64,
}

pub(crate) async fn list(State(gateway): State<Shared>) -> Json<NodeList> {
    let (nodes, scale) = match &gateway.others {
        Some(others) => {
            let (nodes, scale) = others.nodes().await;
            (nodes, Some(scale))
        }
        None => (vec![others::alone(&gateway)], None),
    };
    let calls = gateway.functions.stats();
    let listed = |node: OtherNode| {
        let here = node.info.node == gateway.info.node;
        Listed {
            calls: here.then_some(Calls { running: calls.running, waiting: calls.waiting }),
            cached_bytes: here.then(|| gateway.objects.stats().bytes),
            node,
        }
    };
    Json(NodeList { nodes: nodes.into_iter().map(listed).collect(), scale })
}
