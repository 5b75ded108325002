//! `GET /v1/nodes`: the nodes and how busy they are. So far a node knows only itself. This is the operator's view and shared by
//! all tenants, so it shows numbers only.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use axum::{Json, extract::State};
use serde::Serialize;

use crate::routes::Shared;

/// What a node says of itself, which stays as it is until it ends.
#[derive(Clone, Debug, Serialize)]
pub struct NodeInfo {
    /// Its name.
    pub node: String,
    /// Where it listens, as a URL.
    pub address: String,
    /// Its release.
    pub version: &'static str,
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
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    info: NodeInfo,
    state: &'static str,
    calls: Calls,
    agents_live: u64,
    messages_waiting: u64,
    cached_bytes: u64,
}

#[derive(Serialize)]
struct Calls {
    running: u64,
    waiting: u64,
}

pub(crate) async fn list(State(gateway): State<Shared>) -> Json<NodeList> {
    let (calls, turns) = (gateway.functions.stats(), gateway.engine.stats());
    let draining = gateway.draining.load(Ordering::Relaxed);
    let this = Listed {
        info: gateway.info.clone(),
        state: if draining { "draining" } else { "ready" },
        calls: Calls { running: calls.running, waiting: calls.waiting },
        agents_live: turns.live,
        messages_waiting: turns.waiting,
        cached_bytes: gateway.objects.stats().bytes,
    };
    Json(NodeList { nodes: vec![this] })
}
