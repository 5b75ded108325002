//! A disk that is really full. It needs a small file system of its own:
//! `mount -t tmpfs -o size=12m none /mnt/small && STRIDE_SMALL_DISK=/mnt/small cargo test -p stride-store -- --ignored full`
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use bytes::Bytes;
use stride_ids::{Address, AgentKey, CellId, Name, Seq};
use stride_store::{Error, RowKey, Settings, Store, Write, check};

fn agent(n: u64) -> Address {
    let kind = Name::new("counter").unwrap();
    Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(&n.to_string()).unwrap() }
}

#[test]
#[ignore = "needs a small file system in STRIDE_SMALL_DISK"]
fn a_full_disk_is_an_error_until_there_is_room_and_nothing_is_lost() {
    let root = std::env::var("STRIDE_SMALL_DISK").unwrap();
    let dir = tempfile::tempdir_in(&root).unwrap();
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let store =
        Store::open(&dir.path().join("store"), 1, Settings { memtable_bytes: 256 << 10, ..Settings::default() });
    let store = store.unwrap();
    let (mut written, mut persisted) = (0, Seq::ZERO);
    let failure = loop {
        for _ in 0..1_000 {
            written += 1;
            let value = Some(Bytes::from(vec![written as u8; 200]));
            store.stage(CellId(0), Seq(written), vec![Write { row: RowKey::Header(agent(written)), value }]);
        }
        store.freeze();
        if let Err(e) = store.materialise().and_then(|()| store.persist().map(|positions| persisted = positions[0].1)) {
            break e;
        }
    };
    assert!(matches!(failure, Error::Io { .. }), "{failure}");
    println!("full after {written} agents, {} of them persisted: {failure}", persisted.0);
    let all_there = |store: &Store, last| {
        for n in 1..=last {
            let found = store.get(&RowKey::Header(agent(n))).unwrap().unwrap();
            assert_eq!(found, vec![n as u8; 200]);
        }
    };
    all_there(&store, written);
    for _ in 0..20 {
        // Merging tables may have made room meanwhile.
        let outcome = store.materialise().and_then(|()| store.persist());
        assert!(matches!(outcome, Ok(_) | Err(Error::Io { .. })), "{outcome:?}");
    }
    all_there(&store, written);
    fs::remove_file(&ballast).unwrap();
    store.materialise().unwrap();
    assert_eq!(store.persist().unwrap(), [(CellId(0), Seq(written))]);
    all_there(&store, written);
    drop(store);
    let report = check(&dir.path().join("store")).unwrap();
    assert_eq!((report.damage, report.agents), (Vec::new(), written));
}
