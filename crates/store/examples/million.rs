//! Measures the store with many small agents, beside fjall and redb holding the same rows: `cargo run --release -p
//! stride-store --example million [AGENTS] [DIR]`. Every backend runs in two processes of its own, one that loads and
//! one that opens what is there, so that what they keep resident can be told apart.
#![allow(clippy::print_stdout, reason = "it prints its figures")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use redb::ReadableDatabase as _;
use stride_ids::{Address, AgentKey, CELLS_EMBEDDED, CellId, Name, Seq};
use stride_sim::{Chance, Clock};
use stride_store::{RowKey, Settings, Store, Write};

/// What an agent's header takes.
const HEADER_LEN: usize = 60;
/// How many agents go into one batch.
const BATCH: u64 = 10_000;
const READS: u64 = 20_000;
const PERSISTS: usize = 50;
const BACKENDS: [&str; 3] = ["store", "fjall", "redb"];
const REDB_ROWS: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", backend, agents, dir] => load(backend, agents.parse().unwrap(), Path::new(dir)),
        ["open", backend, agents, dir] => open(backend, agents.parse().unwrap(), Path::new(dir)),
        [] => compare(&["100000", "1000000"], &std::env::temp_dir()),
        [agents] => compare(&[agents], &std::env::temp_dir()),
        [agents, dir] => compare(&[agents], &PathBuf::from(dir)),
        _ => println!("usage: million [AGENTS] [DIR]"),
    }
}

fn compare(counts: &[&str], root: &Path) {
    for agents in counts {
        println!("{agents} agents with {HEADER_LEN} B of state each");
        for backend in BACKENDS {
            let dir = tempfile::tempdir_in(root).unwrap();
            for step in ["load", "open"] {
                let mut child = Command::new(std::env::current_exe().unwrap());
                let done = child.args([step, backend, agents]).arg(dir.path()).status().unwrap();
                assert!(done.success(), "{backend} cannot {step}");
            }
        }
    }
}

fn agent(n: u64) -> Address {
    Address {
        tenant: Name::default_tenant(),
        kind: Name::new("counter").unwrap(),
        key: AgentKey::new(&format!("agent-{n}")).unwrap(),
    }
}

/// A key as the store makes it.
fn key(n: u64) -> Vec<u8> {
    let agent = agent(n);
    let [high, low] = agent.cell(CELLS_EMBEDDED).0.to_be_bytes();
    [&[high, low, 1, 7][..], b"default", &[7], b"counter", agent.key.as_str().as_bytes()].concat()
}

/// State that does not compress.
fn state(chance: &Chance) -> Vec<u8> {
    (0..HEADER_LEN.div_ceil(8)).flat_map(|_| chance.next_u64().to_le_bytes()).take(HEADER_LEN).collect()
}

fn load(backend: &str, agents: u64, dir: &Path) {
    let (clock, chance) = (Clock::real(), Chance::seeded(1));
    let start = clock.now();
    match backend {
        "store" => load_store(agents, dir, &chance, &clock, start),
        "fjall" => load_fjall(agents, dir, &chance, &clock, start),
        _ => load_redb(agents, dir, &chance, &clock, start),
    }
}

fn loaded(backend: &str, took: Duration) {
    println!("  {backend}: loaded in {:.2} s, {} MiB resident then", took.as_secs_f64(), resident_mib());
}

fn load_store(agents: u64, dir: &Path, chance: &Chance, clock: &Clock, start: Duration) {
    let store = Store::open(dir, CELLS_EMBEDDED, Settings::default()).unwrap();
    let mut last = [Seq::ZERO; CELLS_EMBEDDED as usize];
    for n in 0..agents {
        let agent = agent(n);
        let cell = agent.cell(CELLS_EMBEDDED);
        let seq = &mut last[usize::from(cell.0)];
        *seq = seq.next();
        let value = Some(Bytes::from(state(chance)));
        store.stage(cell, *seq, vec![Write { row: RowKey::Header(agent), value }]);
        if (n + 1) % BATCH == 0 {
            store.freeze();
            store.materialise().unwrap();
        }
    }
    store.persist().unwrap();
    loaded("store", clock.now().saturating_sub(start));
    let mut took: Vec<_> = (0..PERSISTS).map(|_| persist_some(&store, &mut last, agents, chance, clock)).collect();
    took.sort_unstable();
    let millis = |at: usize| took[at].as_secs_f64() * 1000.0;
    println!(
        "  store: 1,000 changed agents materialised and persisted in {:.1} ms p50, {:.1} ms at most, of {PERSISTS}",
        millis(took.len() / 2),
        millis(took.len() - 1)
    );
}

/// What a checkpoint costs whoever waits for it; tables are merged beside it.
fn persist_some(store: &Store, last: &mut [Seq], agents: u64, chance: &Chance, clock: &Clock) -> Duration {
    for _ in 0..1_000 {
        let agent = agent(chance.below(agents));
        let cell = agent.cell(CELLS_EMBEDDED);
        let value = Some(Bytes::from(state(chance)));
        // The position stays, so that the sum of all still tells how many agents there are.
        store.stage(cell, last[usize::from(cell.0)], vec![Write { row: RowKey::Header(agent), value }]);
    }
    let start = clock.now();
    store.freeze();
    store.materialise().unwrap();
    store.persist().unwrap();
    clock.now().saturating_sub(start)
}

fn open_fjall(dir: &Path) -> (fjall::Database, fjall::Keyspace) {
    let Settings { cache_bytes, memtable_bytes, .. } = Settings::default();
    let database = fjall::Database::builder(dir).cache_size(cache_bytes).worker_threads(1).open().unwrap();
    let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
    let rows = database.keyspace("rows", options).unwrap();
    (database, rows)
}

fn load_fjall(agents: u64, dir: &Path, chance: &Chance, clock: &Clock, start: Duration) {
    let (database, rows) = open_fjall(dir);
    for first in (0..agents).step_by(BATCH as usize) {
        let mut batch = database.batch();
        for n in first..first + BATCH {
            batch.insert(&rows, key(n), state(chance));
        }
        batch.commit().unwrap();
    }
    database.persist(fjall::PersistMode::SyncAll).unwrap();
    loaded("fjall", clock.now().saturating_sub(start));
}

fn open_redb(dir: &Path) -> redb::Database {
    let cache = Settings::default().cache_bytes as usize;
    redb::Database::builder().set_cache_size(cache).create(dir.join("redb")).unwrap()
}

fn load_redb(agents: u64, dir: &Path, chance: &Chance, clock: &Clock, start: Duration) {
    let database = open_redb(dir);
    for first in (0..agents).step_by(BATCH as usize) {
        let transaction = database.begin_write().unwrap();
        let mut rows = transaction.open_table(REDB_ROWS).unwrap();
        for n in first..first + BATCH {
            rows.insert(key(n).as_slice(), state(chance).as_slice()).unwrap();
        }
        drop(rows);
        transaction.commit().unwrap();
    }
    loaded("redb", clock.now().saturating_sub(start));
}

/// What a start of the node costs, and then reading agents at random.
fn open(backend: &str, agents: u64, dir: &Path) {
    let (clock, chance) = (Clock::real(), Chance::seeded(2));
    let start = clock.now();
    let read: Box<dyn Fn(u64) -> bool> = match backend {
        "store" => {
            let store = Store::open(dir, CELLS_EMBEDDED, Settings::default()).unwrap();
            let stored: u64 = (0..CELLS_EMBEDDED).map(|cell| store.position(CellId(cell)).0).sum();
            assert_eq!(stored, agents);
            Box::new(move |n| store.get(&RowKey::Header(agent(n))).unwrap().is_some())
        }
        "fjall" => {
            let (database, rows) = open_fjall(dir);
            Box::new(move |n| {
                let _keep = &database;
                rows.get(key(n)).unwrap().is_some()
            })
        }
        _ => {
            let database = open_redb(dir);
            Box::new(move |n| {
                let rows = database.begin_read().unwrap().open_table(REDB_ROWS).unwrap();
                rows.get(key(n).as_slice()).unwrap().is_some()
            })
        }
    };
    let opened = clock.now().saturating_sub(start);
    let resident = resident_mib();
    let mut took = Vec::new();
    for _ in 0..READS {
        let n = chance.below(agents);
        let before = clock.now();
        assert!(read(n), "{backend} has lost agent {n}");
        took.push(clock.now().saturating_sub(before));
    }
    took.sort_unstable();
    let micros = |per_mille: usize| took[took.len() * per_mille / 1000].as_nanos() as f64 / 1000.0;
    println!(
        "  {backend}: opened in {:.1} ms, {resident} MiB resident; random read p50 {:.1} µs, p99 {:.1} µs, \
         {} MiB resident after {READS}; {} MiB on disk",
        opened.as_secs_f64() * 1000.0,
        micros(500),
        micros(990),
        resident_mib(),
        disk_mib(dir)
    );
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) >> 10
}

/// Blocks that are really used; fjall's log is a sparse file of 64 MiB.
fn disk_mib(dir: &Path) -> u64 {
    fn blocks(dir: &Path) -> u64 {
        let of = |entry: fs::DirEntry| {
            let meta = entry.metadata().unwrap();
            let used = std::os::unix::fs::MetadataExt::blocks(&meta);
            if meta.is_dir() { blocks(&entry.path()) } else { used }
        };
        fs::read_dir(dir).unwrap().map(|entry| of(entry.unwrap())).sum()
    }
    (blocks(dir) * 512) >> 20
}
