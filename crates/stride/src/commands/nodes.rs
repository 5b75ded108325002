//! `stride nodes`

use std::collections::BTreeMap;

use bytesize::ByteSize;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, output};

#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct List {
    nodes: Vec<Node>,
    /// Only in a cluster.
    scale: Option<Scale>,
}

#[derive(Deserialize)]
struct Scale {
    nodes: u32,
    wanted: u32,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Node {
    node: String,
    address: String,
    version: String,
    state: String,
    cores: u32,
    memory_bytes: Option<u64>,
    hardware: Vec<String>,
    labels: BTreeMap<String, String>,
    price_per_hour: f64,
    cells: u32,
    agents_live: u64,
    messages_waiting: u64,
    silent_ms: u64,
    /// Only of the node that answers.
    calls: Option<Calls>,
    cached_bytes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Calls {
    running: u64,
    waiting: u64,
}

impl Nodes {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let List { nodes, scale } = client.json(client.request(Method::GET, &["nodes"])).await?;
        if self.json {
            return output::json(&nodes);
        }
        let mut table = output::table(&[
            "NODE", "ADDRESS", "VERSION", "STATE", "HEARD", "CORES", "MEMORY", "HARDWARE", "LABELS", "PRICE/H",
            "CELLS", "CALLS", "AGENTS", "MESSAGES", "CACHED",
        ]);
        for node in nodes {
            table.add_row(row(&node));
        }
        output::print(&table)?;
        if let Some(Scale { nodes, wanted, reason }) = scale {
            output::line(format_args!("{nodes} nodes take work, {wanted} are wanted: {reason}"))?;
        }
        Ok(())
    }
}

fn row(node: &Node) -> [String; 15] {
    let labels: Vec<_> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    [
        node.node.clone(),
        node.address.clone(),
        node.version.clone(),
        node.state.clone(),
        format!("{:.1} s ago", node.silent_ms as f64 / 1e3),
        node.cores.to_string(),
        node.memory_bytes.map_or("?".into(), |bytes| ByteSize(bytes).to_string()),
        node.hardware.join(","),
        output::printable(&labels.join(",")),
        node.price_per_hour.to_string(),
        node.cells.to_string(),
        node.calls.as_ref().map_or_else(String::new, |calls| format!("{}+{}", calls.running, calls.waiting)),
        node.agents_live.to_string(),
        node.messages_waiting.to_string(),
        node.cached_bytes.map_or_else(String::new, |bytes| ByteSize(bytes).to_string()),
    ]
}
