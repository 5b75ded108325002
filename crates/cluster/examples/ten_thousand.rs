//! What the tables of a cluster do with 10,000 nodes, on a PostgreSQL of its own: the figures of `docs/design/0016`.
//!
//! ```sh
//! cargo run --release -p stride-cluster --example ten_thousand
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on panics, and says what it found"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::{join_all, try_join_all};
use stride_cluster::{Load, NodeName, NodeSpec, PostgresTables, Pulse, Tables};
use stride_ids::{Incarnation, Name};
use stride_journal::postgres::{PostgresJournal, Settings};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};

const NODES: u64 = 10_000;
const LEASE: Duration = Duration::from_secs(3_600);
/// How many nodes join at a time.
const JOINS: u64 = 8;

#[tokio::main]
async fn main() {
    let clock = Clock::real();
    for cells in [1_024u16, 65_000] {
        let server = Server::start().unwrap();
        let url = server.url("postgres");
        let settings = Settings { url: url.clone(), cells, incarnation: Incarnation::of_bits(1) };
        drop(PostgresJournal::open(settings, clock.clone(), Chance::from_os()).unwrap());
        let ways: Vec<_> = (0..64).map(|_| Arc::new(PostgresTables::new(&url).unwrap())).collect();
        let joins = (0..JOINS).map(async |way| {
            for n in (way..NODES).step_by(JOINS as usize) {
                ways[way as usize].join(&spec(n), LEASE).await?;
            }
            Ok::<_, stride_cluster::Error>(())
        });
        try_join_all(joins).await.unwrap();

        let began = clock.now();
        let world = ways[0].world().await.unwrap();
        println!("{cells} cells, {} nodes: the world is read in {:?}", world.nodes.len(), clock.now() - began);
        let bytes: usize =
            world.nodes.values().map(|row| format!("{row:?}").len() / 2).sum::<usize>() + world.cells.len() * 40;
        println!("  about {} KiB each time something changes, for each node", bytes / 1024);
        for connections in [1usize, 8, 64] {
            let rate = beats(&clock, &ways[..connections]).await;
            println!("  {connections} connections: {rate:.0} beats a second");
        }
    }
}

/// How many beats a second these connections make together.
async fn beats(clock: &Clock, ways: &[Arc<PostgresTables>]) -> f64 {
    const LASTING: Duration = Duration::from_secs(4);
    let began = clock.now();
    let counts = ways.iter().enumerate().map(async |(at, way)| {
        let mut count = 0u64;
        while clock.now() - began < LASTING {
            let node = (at as u64 * 131 + count * 7) % NODES;
            way.beat(&pulse(node)).await.unwrap();
            count += 1;
        }
        count
    });
    let counts: Vec<u64> = join_all(counts).await;
    counts.iter().sum::<u64>() as f64 / (clock.now() - began).as_secs_f64()
}

fn spec(n: u64) -> NodeSpec {
    NodeSpec {
        name: NodeName(Name::new(&format!("node-{n}")).unwrap()),
        incarnation: Incarnation::of_bits(n + 2),
        home: None,
        http: format!("http://node-{n}.example:7373"),
        peer: format!("node-{n}.example:7375"),
        labels: BTreeMap::from([("region".into(), "eu".into())]),
        price: 7,
        cores: 32,
        memory_bytes: 1 << 37,
        release: "0.1.0".into(),
    }
}

fn pulse(n: u64) -> Pulse {
    let load = Load { agents: n % 4_000, queue: 0, cells: Vec::new() };
    Pulse { incarnation: Incarnation::of_bits(n + 2), draining: false, load, cells: 7, bytes: 1 << 30, deployed: 0 }
}
