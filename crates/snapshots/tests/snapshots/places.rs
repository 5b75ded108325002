//! The same on every kind of object store that can be had here, opened as a node opens it.

use stride_data::{Owner, Storage};
use stride_emulators::Emulator;
use stride_ids::{Epoch, Seq};
use stride_sim::{Chance, Clock, Tasks};
use stride_snapshots::Snapshots;

use crate::{
    promises::names,
    world::{CELL, Node},
};

/// Two nodes of a cluster with snapshots at a place.
async fn keeps_snapshots(url: &str, environment: &[(String, String)]) {
    let open = async |node: &str| {
        let owner = Owner::cluster("clu-1", node);
        let storage =
            Storage::open(&url.parse().unwrap(), environment, &owner, Clock::real(), Tasks::real()).await.unwrap();
        storage.beside("snapshots")
    };
    let (one, two) = (open("nod-1").await, open("nod-2").await);
    let snapshots = |store| Snapshots::new(store, Clock::real(), Chance::from_os(), Tasks::real());
    let (here, there) = (snapshots(one.clone()), snapshots(two));
    let (from, to) = (Node::new(), Node::new());
    for seq in 1..=4 {
        // The first one in parts.
        let value = if seq == 1 { vec![1; 30_000] } else { vec![seq as u8; 10] };
        from.record(seq, 0..600 / seq, &value);
        let saved = here.save(&from.store, CELL, Epoch(1)).await.unwrap();
        assert_eq!((saved.position, saved.files), (Seq(seq), seq as usize));
        if seq % 2 == 0 {
            assert_eq!(there.newest(CELL).await.unwrap(), Some(Seq(seq)));
            there.load(&to.store, CELL, Seq(seq)).await.unwrap();
            assert_eq!(to.rows(), from.rows());
        }
    }
    // The same position by another owner, and by the same one again.
    to.record(5, 0..1, b"five");
    from.record(5, 0..1, b"five");
    let (first, second) = tokio::join!(here.save(&from.store, CELL, Epoch(1)), there.save(&to.store, CELL, Epoch(2)));
    assert_eq!((first.unwrap().position, second.unwrap().position), (Seq(5), Seq(5)));
    let before = names(&one).await.len();
    assert_eq!(here.sweep(CELL).await.unwrap().files, 0);
    assert_eq!(names(&one).await.len(), before);
    here.rewind(CELL, Seq(4)).await.unwrap();
    assert_eq!(there.newest(CELL).await.unwrap(), Some(Seq(4)));
}

#[tokio::test]
async fn a_directory_keeps_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    Box::pin(keeps_snapshots(&format!("file://{}", dir.path().display()), &[])).await;
    assert!(dir.path().join("snapshots/cells/00003").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_snapshots() {
    let emulator = Emulator::s3();
    Box::pin(keeps_snapshots(&emulator.url("clusters/one"), &emulator.environment())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_snapshots() {
    let emulator = Emulator::azure();
    Box::pin(keeps_snapshots(&emulator.url("clusters/one"), &emulator.environment())).await;
}
