//! Cells that go from one store to another: whole, by what changed, and through crashes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use stride_ids::{Address, AgentKey, CellId, MessageId, Name, Seq};
use stride_sim::Chance;
use stride_store::{Error, Export, Row, RowKey, Settings, Store, Write, check};

const CELLS: u16 = 4;
const CELL: CellId = CellId(1);

fn settings(changes_max: usize) -> Settings {
    Settings { cache_bytes: 64 << 10, memtable_bytes: 8 << 10, changes_max }
}

fn open(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(dir, CELLS, settings(100)).unwrap())
}

fn abandon(store: Arc<Store>) {
    Arc::into_inner(store).unwrap().abandon();
}

/// The n-th agent of a cell.
fn agent(cell: CellId, n: u64) -> Address {
    let of = |n: u64| Address {
        tenant: Name::default_tenant(),
        kind: Name::new("counter").unwrap(),
        key: AgentKey::new(&format!("agent-{n}")).unwrap(),
    };
    (n * 1_000..).map(of).find(|agent| agent.cell(CELLS) == cell).unwrap()
}

fn put(cell: CellId, n: u64, value: &str) -> Write {
    Write { row: RowKey::Header(agent(cell, n)), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn delete(cell: CellId, n: u64) -> Write {
    Write { row: RowKey::Header(agent(cell, n)), value: None }
}

fn record(store: &Store, cell: CellId, seq: u64, writes: Vec<Write>) {
    store.stage(cell, Seq(seq), writes);
    store.freeze();
    store.materialise().unwrap();
}

fn rows(export: Export) -> Vec<Row> {
    export.map(Result::unwrap).collect()
}

fn import(store: &Arc<Store>, cell: CellId, position: Seq, rows: &[Row]) -> Result<(), Error> {
    let mut import = store.import(cell, position)?;
    rows.iter().try_for_each(|row| import.push(row))?;
    import.finish()
}

fn import_changes(store: &Arc<Store>, cell: CellId, (since, to): (u64, u64), rows: &[Row]) -> Result<(), Error> {
    let mut import = store.import_changes(cell, Seq(since), Seq(to))?;
    rows.iter().try_for_each(|row| import.push(row))?;
    import.finish()
}

fn is_sound(dir: &Path) {
    assert_eq!(check(dir).unwrap().damage, [""; 0]);
}

#[test]
fn an_export_is_of_one_moment_whatever_is_materialised_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    record(&store, CELL, 1, (0..50).map(|n| put(CELL, n, "old")).collect());
    record(&store, CELL, 2, (0..10).map(|n| put(CELL, n, "new")).collect());
    store.stage(CELL, Seq(3), vec![put(CELL, 99, "staged only")]);
    let (mut all, mut changed) = (store.export(CELL, None), store.export(CELL, Some(Seq(1))));
    let first = (all.next().unwrap().unwrap(), changed.next().unwrap().unwrap());
    for seq in 3..40 {
        record(
            &store,
            CELL,
            seq,
            (0..50).map(|n| if seq % 2 == 0 { put(CELL, n, "later") } else { delete(CELL, n) }).collect(),
        );
        store.persist().unwrap();
    }
    assert_eq!(
        (all.position(), all.since(), changed.position(), changed.since()),
        (Seq(2), None, Seq(2), Some(Seq(1)))
    );
    let all: Vec<_> = [first.0].into_iter().chain(rows(all)).collect();
    let changed: Vec<_> = [first.1].into_iter().chain(rows(changed)).collect();
    let values =
        |rows: &[Row], value: &str| rows.iter().filter(|row| row.value.as_deref() == Some(value.as_bytes())).count();
    assert_eq!((all.len(), values(&all, "old"), values(&all, "new")), (50, 40, 10));
    assert_eq!((changed.len(), values(&changed, "new")), (10, 10));
}

#[test]
fn what_changed_is_known_since_the_start_and_up_to_a_bound_and_otherwise_all_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    record(&store, CELL, 1, vec![put(CELL, 1, "a"), put(CELL, 2, "b")]);
    record(&store, CELL, 2, vec![delete(CELL, 2)]);
    let changed = store.export(CELL, Some(Seq(1)));
    assert_eq!(changed.since(), Some(Seq(1)));
    assert_eq!(rows(changed).into_iter().map(|row| row.value).collect::<Vec<_>>(), [None]);
    assert_eq!(rows(store.export(CELL, Some(Seq(2)))), []);
    store.forget_changes(CELL, Seq(2));
    assert_eq!(store.export(CELL, Some(Seq(1))).since(), None);
    assert_eq!(store.export(CELL, Some(Seq(2))).since(), Some(Seq(2)));
    record(&store, CELL, 3, (0..101).map(|n| put(CELL, n, "many")).collect());
    assert_eq!(store.export(CELL, Some(Seq(2))).since(), None);
    record(&store, CELL, 4, vec![put(CELL, 1, "few")]);
    assert_eq!(rows(store.export(CELL, Some(Seq(3)))).len(), 1);
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        (store.export(CELL, Some(Seq(3))).since(), store.export(CELL, Some(Seq(4))).since()),
        (None, Some(Seq(4)))
    );
    drop(store);
    let store = Store::open(dir.path(), CELLS, settings(0)).unwrap();
    assert_eq!(store.export(CELL, Some(Seq(4))).since(), None);
}

#[test]
fn an_imported_cell_replaces_what_was_there_and_leaves_the_others_alone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, target) = (open(from.path()), open(to.path()));
    record(&source, CELL, 7, (0..1_000).map(|n| put(CELL, n, &"v".repeat(9_000))).collect());
    record(&target, CELL, 3, (990..1_100).map(|n| put(CELL, n, "w")).collect());
    record(&target, CellId(2), 5, vec![put(CellId(2), 1, "other")]);
    let exported = rows(source.export(CELL, None));
    import(&target, CELL, Seq(7), &exported).unwrap();
    assert_eq!(rows(target.export(CELL, None)), exported);
    assert_eq!((target.position(CELL), target.position(CellId(2))), (Seq(7), Seq(5)));
    // Of what is the same nothing is written again.
    import(&target, CELL, Seq(8), &exported).unwrap();
    assert_eq!((rows(target.export(CELL, None)).len(), target.position(CELL)), (1_000, Seq(8)));
    assert_eq!(rows(target.export(CELL, Some(Seq(8)))), []);
    drop(target);
    is_sound(to.path());
    let target = open(to.path());
    assert_eq!((rows(target.export(CELL, None)).len(), target.position(CELL)), (1_000, Seq(8)));
    assert!(target.get(&RowKey::Header(agent(CellId(2), 1))).unwrap().is_some());
    target.forget(CELL).unwrap();
    assert_eq!((rows(target.export(CELL, None)), target.position(CELL)), (vec![], Seq::ZERO));
    drop(target);
    is_sound(to.path());
    assert_eq!(open(to.path()).position(CELL), Seq::ZERO);
}

#[test]
fn an_import_that_is_cut_off_leaves_what_was_there_or_an_empty_cell() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = open(from.path());
    // So much memory that no tables are merged while the directory is copied.
    let calm = Settings { memtable_bytes: 64 << 20, ..settings(100) };
    let target = Arc::new(Store::open(to.path(), CELLS, calm).unwrap());
    record(&source, CELL, 7, (0..2_000).map(|n| put(CELL, n, &"v".repeat(9_000))).collect());
    record(&target, CELL, 3, vec![put(CELL, 5, "w"), put(CELL, 9_999, "w")]);
    target.persist().unwrap();
    let exported = rows(source.export(CELL, None));
    // Within the first batch: nothing has happened.
    let mut short = target.import(CELL, Seq(7)).unwrap();
    exported[..100].iter().for_each(|row| short.push(row).unwrap());
    drop(short);
    assert_eq!((target.position(CELL), rows(target.export(CELL, None)).len()), (Seq(3), 2));
    // After it, dropped: the cell is empty.
    let mut long = target.import(CELL, Seq(7)).unwrap();
    exported.iter().for_each(|row| long.push(row).unwrap());
    assert_eq!(target.position(CELL), Seq::ZERO);
    drop(long);
    assert_eq!((target.position(CELL), rows(target.export(CELL, None))), (Seq::ZERO, vec![]));
    // After it, killed: empty when the store is opened again, and sound before.
    let mut long = target.import(CELL, Seq(7)).unwrap();
    exported.iter().for_each(|row| long.push(row).unwrap());
    target.persist().unwrap();
    std::mem::forget(long);
    let copy = tempfile::tempdir().unwrap();
    copy_dir(to.path(), copy.path());
    is_sound(copy.path());
    let reopened = open(copy.path());
    assert_eq!((reopened.position(CELL), rows(reopened.export(CELL, None))), (Seq::ZERO, vec![]));
    import(&reopened, CELL, Seq(7), &exported).unwrap();
    assert_eq!(rows(reopened.export(CELL, None)), exported);
    drop(reopened);
    is_sound(copy.path());
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn who_takes_a_cell_over_in_the_midst_of_an_import_keeps_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, target) = (open(from.path()), open(to.path()));
    record(&source, CELL, 7, (0..1_000).map(|n| put(CELL, n, &"v".repeat(9_000))).collect());
    let exported = rows(source.export(CELL, None));
    for materialised in [false, true] {
        target.forget(CELL).unwrap();
        let mut import = target.import(CELL, Seq(7)).unwrap();
        exported[..600].iter().for_each(|row| import.push(row).unwrap());
        target.stage(CELL, Seq(1), vec![put(CELL, 1, "taken")]);
        if materialised {
            target.freeze();
            target.materialise().unwrap();
        }
        let refused = exported[600..].iter().try_for_each(|row| import.push(row)).and_then(|()| import.finish());
        assert!(matches!(refused, Err(Error::Import { .. })), "{refused:?}");
        assert_eq!(target.get(&RowKey::Header(agent(CELL, 1))).unwrap().unwrap(), "taken");
        assert_eq!(target.position(CELL), if materialised { Seq(1) } else { Seq::ZERO });
    }
}

#[test]
fn what_cannot_be_imported_is_refused_and_changes_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, target) = (open(from.path()), open(to.path()));
    record(&source, CELL, 7, (0..5).map(|n| put(CELL, n, "v")).collect());
    record(&target, CELL, 3, vec![put(CELL, 1, "w")]);
    let exported = rows(source.export(CELL, None));
    let refused = |outcome: Result<(), Error>| {
        assert!(matches!(outcome, Err(Error::Import { cell: CELL | CellId(2), .. })), "{outcome:?}");
    };
    refused(import(&target, CellId(2), Seq(7), &exported));
    refused(import(&target, CELL, Seq(7), &[exported[1].clone(), exported[0].clone()]));
    refused(import(&target, CELL, Seq(7), &[exported[1].clone(), exported[1].clone()]));
    refused(import(&target, CELL, Seq(7), &[Row { value: None, ..exported[0].clone() }]));
    refused(import(&target, CELL, Seq(7), &[Row { key: Bytes::from_static(&[0, 1, 0]), ..exported[0].clone() }]));
    refused(import_changes(&target, CELL, (4, 7), &exported));
    refused(import_changes(&target, CELL, (1, 2), &exported));
    refused(import_changes(&target, CellId(2), (0, 2), &[]));
    let first = target.import(CELL, Seq(7)).unwrap();
    refused(import(&target, CELL, Seq(7), &exported));
    drop(first);
    target.stage(CELL, Seq(4), vec![put(CELL, 2, "staged")]);
    refused(import(&target, CELL, Seq(7), &exported));
    target.freeze();
    refused(import(&target, CELL, Seq(7), &exported));
    target.unstage(CELL);
    assert_eq!((target.staged_bytes(), target.freeze()), (0, None));
    target.materialise().unwrap();
    assert_eq!((target.position(CELL), rows(target.export(CELL, None)).len()), (Seq(3), 1));
    import(&target, CELL, Seq(7), &exported).unwrap();
    assert_eq!(rows(target.export(CELL, None)), exported);
}

#[test]
fn agents_are_listed_among_the_cells_that_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for cell in (0..CELLS).map(CellId) {
        store.stage(cell, Seq(1), (0..10).map(|n| put(cell, n, "v")).collect());
    }
    let list = |among: &[u16]| {
        let (tenant, kind) = (Name::default_tenant(), Name::new("counter").unwrap());
        store.list_agents(&tenant, &kind, None, 100, |cell| among.contains(&cell.0)).unwrap()
    };
    assert_eq!((list(&[]).len(), list(&[0, 1, 2, 3]).len()), (0, 40));
    let found = list(&[1, 3]);
    assert!(found.len() == 20 && found.iter().all(|agent| [1, 3].contains(&agent.cell(CELLS).0)));
    assert!(found.is_sorted_by(|a, b| a.key < b.key));
}

/// One store changes at random; another follows it by exports, through crashes of both.
fn follow(seed: u64) {
    let chance = Chance::seeded(seed);
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut source, mut target) = (open(from.path()), open(to.path()));
    let mut journal: Vec<Vec<Write>> = Vec::new();
    let mut history: Vec<BTreeMap<RowKey, Bytes>> = vec![BTreeMap::new()];
    for _ in 0..400 {
        match chance.below(20) {
            0 => {
                abandon(source);
                is_sound(from.path());
                source = open(from.path());
                for (n, writes) in journal.iter().enumerate().skip(source.position(CELL).0 as usize) {
                    source.stage(CELL, Seq(n as u64 + 1), writes.clone());
                }
            }
            1 => {
                abandon(target);
                is_sound(to.path());
                target = open(to.path());
            }
            2 => drop(source.persist().unwrap()),
            3 => drop(target.persist().unwrap()),
            4..7 => {
                source.freeze();
                source.materialise().unwrap();
            }
            7..10 => {
                let at = target.position(CELL);
                let since = if at.0 > 0 && chance.hits(800) { Some(Seq(1 + chance.below(at.0))) } else { None };
                let export = source.export(CELL, since);
                let position = export.position();
                match export.since() {
                    Some(since) if position >= at => {
                        import_changes(&target, CELL, (since.0, position.0), &rows(export)).unwrap();
                    }
                    Some(_) => {}
                    None => import(&target, CELL, position, &rows(export)).unwrap(),
                }
                if chance.hits(500) {
                    source.forget_changes(CELL, position);
                }
                let model = &history[target.position(CELL).0 as usize];
                let found: BTreeMap<_, _> =
                    target.rows(stride_store::Rows::Outbox(CELL), None, 1_000).unwrap().into_iter().collect();
                assert_eq!(&found, model, "seed {seed}");
            }
            _ => {
                let write = |_| {
                    let row = RowKey::Outbox(CELL, MessageId { record: Seq(chance.below(60)), index: 0 });
                    let value = chance
                        .hits(700)
                        .then(|| Bytes::from(vec![chance.below(256) as u8; chance.below(300) as usize]));
                    Write { row, value }
                };
                let writes: Vec<_> = (0..1 + chance.below(4)).map(write).collect();
                let mut model = history.last().unwrap().clone();
                for Write { row, value } in writes.clone() {
                    match value {
                        Some(value) => model.insert(row, value),
                        None => model.remove(&row),
                    };
                }
                history.push(model);
                journal.push(writes.clone());
                source.stage(CELL, Seq(journal.len() as u64), writes);
            }
        }
    }
    drop(target);
    is_sound(to.path());
}

#[test]
fn a_store_that_follows_another_by_exports_has_what_that_one_had_at_the_position() {
    let seeds = match std::env::var("STRIDE_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=6,
    };
    for seed in seeds {
        println!("replay with: STRIDE_SEED={seed} cargo test -p stride-store a_store_that_follows");
        follow(seed);
    }
}
