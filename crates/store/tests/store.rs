//! The store against a model, through crashes, and where it has to refuse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use stride_ids::{Address, AgentKey, CellId, Name, Seq};
use stride_sim::Chance;
use stride_store::{Error, RowKey, Settings, Store, Write, check};

const CELLS: u16 = 8;

fn agent(key: &str) -> Address {
    Address { tenant: Name::default_tenant(), kind: Name::new("counter").unwrap(), key: AgentKey::new(key).unwrap() }
}

fn header(key: &str) -> RowKey {
    RowKey::Header(agent(key))
}

fn entry(key: &str, name: &str) -> RowKey {
    RowKey::Map(agent(key), name.into())
}

fn put(row: RowKey, value: &str) -> Write {
    Write { row, value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn delete(row: RowKey) -> Write {
    Write { row, value: None }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, CELLS, Settings::default()).unwrap()
}

/// Stages one record of the agent's cell, after the last one.
fn stage(store: &Store, key: &str, seq: u64, writes: Vec<Write>) {
    store.stage(agent(key).cell(CELLS), Seq(seq), writes);
}

fn store_all(store: &Store) {
    store.freeze();
    store.materialise().unwrap();
    store.persist().unwrap();
}

fn names(agents: &[Address]) -> Vec<&str> {
    agents.iter().map(|agent| agent.key.as_str()).collect()
}

fn entries(found: Vec<(String, Bytes)>) -> Vec<(String, String)> {
    found.into_iter().map(|(name, value)| (name, String::from_utf8(value.to_vec()).unwrap())).collect()
}

#[test]
fn a_staged_row_is_read_at_once_and_still_after_every_step_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let cell = agent("a").cell(CELLS);
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    let is_there = |store: &Store| assert_eq!(store.get(&header("a")).unwrap().unwrap(), "one");
    is_there(&store);
    assert_eq!(store.freeze(), Some(vec![(cell, Seq(1))]));
    is_there(&store);
    assert_eq!(store.position(cell), Seq::ZERO);
    store.materialise().unwrap();
    is_there(&store);
    assert_eq!((store.position(cell), store.staged_bytes()), (Seq(1), 0));
    assert!(store.persist().unwrap().contains(&(cell, Seq(1))));
    is_there(&store);
    drop(store);
    let store = open(dir.path());
    is_there(&store);
    assert_eq!(store.position(cell), Seq(1));
}

#[test]
fn what_was_not_persisted_is_gone_after_a_crash_together_with_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let cell = agent("a").cell(CELLS);
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    store_all(&store);
    stage(&store, "a", 2, vec![put(header("a"), "two"), put(entry("a", "x"), "y")]);
    store.freeze();
    store.materialise().unwrap();
    assert_eq!(store.position(cell), Seq(2));
    store.abandon();
    let store = open(dir.path());
    assert_eq!(store.position(cell), Seq(1));
    assert_eq!(store.get(&header("a")).unwrap().unwrap(), "one");
    assert_eq!(store.get(&entry("a", "x")).unwrap(), None);
}

#[test]
fn what_is_materialised_survives_an_orderly_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    store.freeze();
    store.materialise().unwrap();
    stage(&store, "a", 2, vec![put(header("a"), "two")]);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.position(agent("a").cell(CELLS)), Seq(1));
    assert_eq!(store.get(&header("a")).unwrap().unwrap(), "one");
}

#[test]
fn a_frozen_generation_is_named_again_until_it_is_materialised() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.freeze(), None);
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    let first = store.freeze();
    stage(&store, "a", 2, vec![put(header("a"), "two")]);
    assert_eq!(store.freeze(), first);
    assert_eq!(store.get(&header("a")).unwrap().unwrap(), "two");
    store.materialise().unwrap();
    assert_eq!(store.position(agent("a").cell(CELLS)), Seq(1));
    assert_eq!(store.get(&header("a")).unwrap().unwrap(), "two");
    assert_ne!(store.freeze(), first);
}

#[test]
fn scans_show_staged_rows_over_stored_ones_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writes = ["a", "b", "c", "ca", "d"].map(|name| put(entry("m", name), "stored")).to_vec();
    stage(&store, "m", 1, writes);
    store_all(&store);
    stage(&store, "m", 2, vec![delete(entry("m", "b")), put(entry("m", "c"), "frozen"), put(entry("m", "ba"), "new")]);
    store.freeze();
    stage(&store, "m", 3, vec![put(entry("m", "c"), "active"), delete(entry("m", "d"))]);
    let scan = |prefix, after, limit| entries(store.scan_map(&agent("m"), prefix, after, limit).unwrap());
    let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let all = [row("a", "stored"), row("ba", "new"), row("c", "active"), row("ca", "stored")];
    for limit in 0..6 {
        assert_eq!(scan("", None, limit), all[..limit.min(4)]);
    }
    assert_eq!(scan("c", None, 9), all[2..]);
    assert_eq!(scan("c", Some("c"), 9), all[3..]);
    assert_eq!(scan("c", Some("a"), 9), all[2..]);
    assert_eq!(scan("", Some("zz"), 9), []);
    assert_eq!(store.scan_map(&agent("mm"), "", None, 9).unwrap(), []);
}

#[test]
fn a_row_that_comes_and_goes_in_memory_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody wants to know what changed since when.
    let settings = Settings { changes_max: 0, ..Settings::default() };
    let store = Store::open(dir.path(), CELLS, settings).unwrap();
    stage(&store, "a", 1, vec![put(entry("a", "stays"), "x"), put(entry("a", "stored"), "x")]);
    store_all(&store);
    stage(&store, "a", 2, vec![put(entry("a", "stays"), "y"), put(entry("a", "frozen"), "x")]);
    store.freeze();
    stage(&store, "a", 3, vec![put(entry("a", "new"), "x")]);
    let before = store.staged_bytes();
    for seq in 4..100 {
        stage(&store, "a", 2 * seq, vec![put(entry("a", &format!("round {seq}")), "x")]);
        stage(&store, "a", 2 * seq + 1, vec![delete(entry("a", &format!("round {seq}")))]);
    }
    assert_eq!(store.staged_bytes(), before);
    // Of what is stored, or on its way there, the deletion has to be known.
    let gone = ["stored", "frozen", "new", "never there"].map(|name| delete(entry("a", name)));
    stage(&store, "a", 200, gone.into());
    let left = || entries(store.scan_map(&agent("a"), "", None, 10).unwrap());
    assert_eq!(left(), [("stays".to_owned(), "y".to_owned())]);
    store_all(&store);
    assert_eq!(left(), [("stays".to_owned(), "y".to_owned())]);
    store_all(&store);
    assert_eq!(left(), [("stays".to_owned(), "y".to_owned())]);
    drop(store);
    assert_eq!(check(dir.path()).unwrap().damage, [""; 0]);
}

#[test]
fn agents_are_listed_over_all_cells_in_the_order_of_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let keys: Vec<String> = (0..200).map(|n| format!("k{n:03}")).collect();
    for (n, key) in keys.iter().enumerate() {
        // State beside the header must not be taken for an agent.
        stage(&store, key, n as u64 + 1, vec![put(header(key), "h"), put(entry(key, "zz"), "v")]);
        if n == 99 {
            store_all(&store);
        }
    }
    let other = Address { kind: Name::new("counters").unwrap(), ..agent("x") };
    store.stage(other.cell(CELLS), Seq(900), vec![put(RowKey::Header(other), "h")]);
    stage(&store, "k050", 901, vec![delete(header("k050"))]);
    let (tenant, kind) = (Name::default_tenant(), Name::new("counter").unwrap());
    let list = |after: Option<&str>, limit| {
        let after = after.map(|key| AgentKey::new(key).unwrap());
        store.list_agents(&tenant, &kind, after.as_ref(), limit, |_| true).unwrap()
    };
    let expected: Vec<&str> = keys.iter().map(String::as_str).filter(|key| *key != "k050").collect();
    assert_eq!(names(&list(None, 1000)), expected);
    assert_eq!(names(&list(None, 3)), expected[..3]);
    assert_eq!(names(&list(Some("k048"), 2)), ["k049", "k051"]);
    assert_eq!(names(&list(Some("k199"), 2)), [""; 0]);
    assert_eq!(names(&list(None, 0)), [""; 0]);
    assert_eq!(store.agent_rows(&agent("k007")).unwrap(), [header("k007"), entry("k007", "zz")]);
}

#[test]
fn two_owners_cannot_have_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Store::open(dir.path(), CELLS, Settings::default());
    assert!(matches!(second.err().unwrap(), Error::Locked { .. }));
    drop(first);
    open(dir.path());
}

#[test]
fn the_number_of_cells_cannot_change() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    store_all(&store);
    drop(store);
    let error = Store::open(dir.path(), CELLS * 2, Settings::default()).err().unwrap();
    assert!(matches!(error, Error::CellsFixed { stored: CELLS, .. }), "{error}");
}

/// A disk that refuses new manifests, as a full one does: directories lie where they would go.
struct Full(Vec<PathBuf>);

impl Full {
    fn of(dir: &Path) -> Self {
        let manifests: Vec<_> = (0..100).map(|id| dir.join(format!("rows/v{id}"))).collect();
        Self(manifests.into_iter().filter(|path| fs::create_dir(path).is_ok()).collect())
    }

    fn free(self) {
        self.0.iter().for_each(|path| fs::remove_dir(path).unwrap());
    }
}

fn tables(dir: &Path) -> usize {
    fs::read_dir(dir.join("rows/tables")).unwrap().count()
}

#[test]
fn a_full_disk_costs_nothing_but_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    store_all(&store);
    let full = Full::of(dir.path());
    for seq in 2..9 {
        stage(&store, "a", seq, vec![put(header("a"), &seq.to_string())]);
        store.freeze();
        store.materialise().unwrap();
        assert!(matches!(store.persist().unwrap_err(), Error::Io { .. }));
        assert_eq!(store.get(&header("a")).unwrap().unwrap(), seq.to_string());
        assert!(tables(dir.path()) <= 2, "what a failed write left takes space for ever");
    }
    full.free();
    assert!(store.persist().unwrap().contains(&(agent("a").cell(CELLS), Seq(8))));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.get(&header("a")).unwrap().unwrap(), "8");
    drop(store);
    assert_eq!(check(dir.path()).unwrap().damage, [""; 0]);
}

#[test]
fn a_crash_on_a_full_disk_falls_back_to_what_was_persisted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    stage(&store, "a", 1, vec![put(header("a"), "one")]);
    store_all(&store);
    let full = Full::of(dir.path());
    stage(&store, "a", 2, vec![put(header("a"), "two")]);
    store.freeze();
    store.materialise().unwrap();
    store.persist().unwrap_err();
    drop(store);
    full.free();
    let store = open(dir.path());
    assert_eq!(store.get(&header("a")).unwrap().unwrap(), "one");
    assert_eq!(store.position(agent("a").cell(CELLS)), Seq(1));
}

#[test]
fn a_full_memtable_that_cannot_be_written_holds_the_next_generation_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { memtable_bytes: 1, ..Settings::default() };
    let store = Store::open(dir.path(), CELLS, settings).unwrap();
    let full = Full::of(dir.path());
    for seq in 1..3 {
        stage(&store, "a", seq, vec![put(header("a"), &seq.to_string())]);
        store.freeze();
        store.materialise().unwrap_err();
        assert_eq!(store.get(&header("a")).unwrap().unwrap(), seq.to_string());
    }
    assert!(store.staged_bytes() > 0);
    full.free();
    store.materialise().unwrap();
    assert_eq!(store.staged_bytes(), 0);
    assert_eq!(store.position(agent("a").cell(CELLS)), Seq(2));
}

#[test]
fn readers_beside_a_writer_see_all_of_a_record_or_nothing() {
    const ROWS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { memtable_bytes: 64 << 10, ..Settings::default() };
    let store = Store::open(dir.path(), CELLS, settings).unwrap();
    let record = |seq: u64| (0..ROWS).map(|n| put(entry("a", &format!("{n:02}")), &seq.to_string())).collect();
    stage(&store, "a", 1, record(1));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let found = entries(store.scan_map(&agent("a"), "", None, usize::MAX).unwrap());
                assert_eq!(found.len(), ROWS);
                assert!(found.iter().all(|(_, value)| *value == found[0].1), "{found:?}");
                let seq: u64 = found[0].1.parse().unwrap();
                assert!(seq >= last);
                last = seq;
            }
        });
        for seq in 2..3_000 {
            stage(&store, "a", seq, record(seq));
            if seq % 3 == 0 {
                store.freeze();
            }
            if seq % 5 == 0 {
                store.materialise().unwrap();
            }
            if seq % 500 == 0 {
                store.persist().unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// The journal that a store is behind: every record, by cell.
type Journal = Vec<Vec<Vec<Write>>>;

fn random_write(chance: &Chance) -> (u16, Write) {
    let key = format!("agent-{}", chance.below(40));
    let row = match chance.below(4) {
        0 => header(&key),
        1 => RowKey::Reply(agent(&key), format!("reply-{}", chance.below(5))),
        _ => entry(&key, &format!("entry-{}", chance.below(20))),
    };
    let value = (!chance.hits(250)).then(|| Bytes::from(vec![b'v'; chance.below(300) as usize]));
    (agent(&key).cell(CELLS).0, Write { row, value })
}

fn compare(store: &Store, model: &BTreeMap<RowKey, Bytes>, seed: u64) {
    for n in 0..40 {
        let address = agent(&format!("agent-{n}"));
        let expected: Vec<_> = model.keys().filter(|row| row.agent() == Some(&address)).cloned().collect();
        let mut found = store.agent_rows(&address).unwrap();
        found.sort();
        assert_eq!(found, expected, "seed {seed}");
        for row in found {
            assert_eq!(store.get(&row).unwrap().as_ref(), model.get(&row), "seed {seed}");
        }
    }
}

fn apply(model: &mut BTreeMap<RowKey, Bytes>, writes: &[Write]) {
    for write in writes {
        match &write.value {
            Some(value) => model.insert(write.row.clone(), value.clone()),
            None => model.remove(&write.row),
        };
    }
}

/// Any order of steps and crashes; after a crash the journal is replayed from the positions, as the engine does.
fn random_run(seed: u64) {
    let chance = Chance::seeded(seed);
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { cache_bytes: 64 << 10, memtable_bytes: 8 << 10, changes_max: 0 };
    let mut store = Store::open(dir.path(), CELLS, settings.clone()).unwrap();
    let mut journal: Journal = vec![Vec::new(); usize::from(CELLS)];
    let mut model = BTreeMap::new();
    let mut durable = vec![Seq::ZERO; usize::from(CELLS)];
    for _ in 0..600 {
        match chance.below(40) {
            0 => {
                if chance.hits(700) {
                    store.abandon();
                } else {
                    drop(store);
                }
                let report = check(dir.path()).unwrap();
                assert_eq!(report.damage, [""; 0], "seed {seed}");
                store = Store::open(dir.path(), CELLS, settings.clone()).unwrap();
                for (cell, records) in journal.iter().enumerate() {
                    let id = CellId(cell as u16);
                    let position = store.position(id);
                    assert!(position >= durable[cell], "seed {seed}: {id} went back behind what was promised");
                    for (n, writes) in records.iter().enumerate().skip(position.0 as usize) {
                        store.stage(id, Seq(n as u64 + 1), writes.clone());
                    }
                }
                compare(&store, &model, seed);
            }
            1..4 => drop(store.freeze()),
            4..7 => store.materialise().unwrap(),
            7..9 => store.persist().unwrap().into_iter().for_each(|(cell, seq)| durable[usize::from(cell.0)] = seq),
            9 => compare(&store, &model, seed),
            _ => {
                let (cell, write) = random_write(&chance);
                let mut writes = vec![write];
                for _ in 0..chance.below(4) {
                    writes.extend(
                        Some(random_write(&chance)).filter(|(other, _)| *other == cell).map(|(_, write)| write),
                    );
                }
                apply(&mut model, &writes);
                journal[usize::from(cell)].push(writes.clone());
                store.stage(CellId(cell), Seq(journal[usize::from(cell)].len() as u64), writes);
            }
        }
    }
    compare(&store, &model, seed);
}

#[test]
fn random_steps_and_crashes_agree_with_a_model() {
    let seeds = match std::env::var("STRIDE_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=6,
    };
    for seed in seeds {
        println!("replay with: STRIDE_SEED={seed} cargo test -p stride-store random_steps");
        random_run(seed);
    }
}
