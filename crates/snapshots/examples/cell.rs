//! What it costs to save and to load a cell: 10,000 agents of 200 bytes, in memory and in a directory that is synced.
//!
//! `cargo run --release -p stride-snapshots --example cell`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on fails")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory};
use stride_ids::{Address, AgentKey, CellId, Epoch, Name, Seq};
use stride_sim::{Chance, Clock, Tasks};
use stride_snapshots::Snapshots;
use stride_store::{RowKey, Settings, Store, Write};

const AGENTS: u64 = 10_000;
const CHANGED: u64 = 100;
const STATE_BYTES: usize = 200;
const ROUNDS: usize = 9;

fn open(dir: &std::path::Path) -> Arc<Store> {
    let settings = Settings { changes_max: 16_384, ..Settings::default() };
    Arc::new(Store::open(dir, 1, settings).unwrap())
}

/// One record that changes these agents.
fn record(store: &Store, seq: u64, agents: std::ops::Range<u64>, chance: &Chance) {
    let write = |n| {
        let key = AgentKey::new(&format!("agent-{n}")).unwrap();
        let agent = Address { tenant: Name::default_tenant(), kind: Name::new("counter").unwrap(), key };
        let state: Vec<u8> = (0..STATE_BYTES).map(|_| chance.next_u64() as u8).collect();
        Write { row: RowKey::Header(agent), value: Some(Bytes::from(state)) }
    };
    store.stage(CellId(0), Seq(seq), agents.map(write).collect());
    store.freeze();
    store.materialise().unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn measure(what: &str, remote: impl Fn() -> Arc<dyn ObjectStore>) {
    let (clock, chance, cell) = (Clock::real(), Chance::seeded(1), CellId(0));
    let (mut full, mut delta, mut load, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut full_bytes, mut delta_bytes) = (0, 0);
    for _ in 0..ROUNDS {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (open(from.path()), open(to.path()));
        let snapshots = Snapshots::new(remote(), clock.clone(), chance.clone(), Tasks::real());
        record(&from, 1, 0..AGENTS, &chance);
        let begun = clock.now();
        full_bytes = snapshots.save(&from, cell, Epoch(1)).await.unwrap().bytes;
        full.push(clock.now() - begun);
        let begun = clock.now();
        snapshots.load(&to, cell, Seq(1)).await.unwrap();
        load.push(clock.now() - begun);
        record(&from, 2, 0..CHANGED, &chance);
        let begun = clock.now();
        delta_bytes = snapshots.save(&from, cell, Epoch(1)).await.unwrap().bytes;
        delta.push(clock.now() - begun);
        let begun = clock.now();
        snapshots.load(&to, cell, Seq(2)).await.unwrap();
        rest.push(clock.now() - begun);
    }
    println!(
        "{what}: save all {:?} ({full_bytes} bytes), load all {:?}, save {CHANGED} changed {:?} ({delta_bytes} bytes), \
         load them {:?}",
        median(full),
        median(load),
        median(delta),
        median(rest)
    );
}

#[tokio::main]
async fn main() {
    measure("in memory", || Arc::new(InMemory::new())).await;
    let dir = tempfile::tempdir().unwrap();
    let places = std::cell::Cell::new(0);
    let directory = || -> Arc<dyn ObjectStore> {
        places.set(places.get() + 1);
        let place = dir.path().join(places.get().to_string());
        std::fs::create_dir(&place).unwrap();
        Arc::new(LocalFileSystem::new_with_prefix(place).unwrap().with_fsync(true))
    };
    measure("in a directory", directory).await;
}
