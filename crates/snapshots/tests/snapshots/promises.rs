//! One promise after the other.

use std::{sync::Arc, time::Duration};

use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use stride_ids::{Epoch, Seq};
use stride_sim::{Chance, Clock, Tasks};
use stride_snapshots::{Error, Saved, Snapshots, Swept};

use crate::{
    unreliable::Unreliable,
    world::{CELL, Node, memory, put, snapshots},
};

pub(crate) async fn names(remote: &Arc<dyn ObjectStore>) -> Vec<String> {
    use futures::TryStreamExt as _;
    let found: Vec<_> = remote.list(None).try_collect().await.unwrap();
    let mut names: Vec<_> = found.iter().map(|meta| meta.location.filename().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_cell_is_loaded_as_it_was_materialised_and_nothing_that_was_only_staged() {
    let (remote, from, to) = (memory(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1);
    assert_eq!(snapshots.newest(CELL).await.unwrap(), None);
    assert_eq!(snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap().position, Seq::ZERO);
    assert_eq!(names(&remote).await, [""; 0]);
    from.record(7, 0..500, b"one");
    let materialised = from.rows();
    from.stage(8, &[put(1, b"two")]);
    let saved = snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    assert_eq!((saved.position, saved.files, snapshots.newest(CELL).await.unwrap()), (Seq(7), 1, Some(Seq(7))));
    let loaded = snapshots.load(&to.store, CELL, Seq(7)).await.unwrap();
    assert_eq!((loaded.position, loaded.bytes, loaded.files), (Seq(7), saved.bytes, 1));
    assert_eq!(to.rows(), materialised);
    assert_eq!(to.crashed().position(), 0);
}

#[tokio::test]
async fn a_save_has_what_changed_and_a_load_reads_what_is_new() {
    let (remote, from, to) = (memory(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1);
    from.record(1, 0..900, &[7; 100]);
    let base = snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    snapshots.load(&to.store, CELL, Seq(1)).await.unwrap();
    from.record(2, 0..10, &[8; 100]);
    let delta = snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    assert!(delta.bytes * 50 < base.bytes && delta.files == 2, "{base:?} {delta:?}");
    assert_eq!(snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap(), Saved { bytes: 0, ..delta });
    let loaded = snapshots.load(&to.store, CELL, Seq(2)).await.unwrap();
    assert_eq!((loaded.files, loaded.bytes, to.rows()), (1, delta.bytes, from.rows()));
    let again = snapshots.load(&to.store, CELL, Seq(2)).await.unwrap();
    assert_eq!((again.files, again.bytes, again.position), (0, 0, Seq(2)));
    // The one that followed goes on where it is.
    to.record(3, 5..15, &[9; 100]);
    let delta = snapshots.save(&to.store, CELL, Epoch(2)).await.unwrap();
    assert_eq!(delta.files, 3);
    snapshots.load(&from.store, CELL, Seq(3)).await.unwrap();
    assert_eq!(from.rows(), to.rows());
}

#[tokio::test]
async fn after_sixteen_deltas_or_when_they_outweigh_it_a_new_base_is_written() {
    let (remote, node) = (memory(), Node::new());
    let snapshots = snapshots(&remote, 1);
    let mut files = Vec::new();
    for seq in 1..=19 {
        node.record(seq, if seq == 1 { 0..900 } else { 0..1 }, b"x");
        files.push(snapshots.save(&node.store, CELL, Epoch(1)).await.unwrap().files);
    }
    assert_eq!(files, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 1, 2]);
    node.record(20, 0..900, b"y");
    assert_eq!(snapshots.save(&node.store, CELL, Epoch(1)).await.unwrap().files, 3);
    node.record(21, 0..1, b"y");
    assert_eq!(snapshots.save(&node.store, CELL, Epoch(1)).await.unwrap().files, 1);
}

#[tokio::test]
async fn what_is_no_longer_needed_goes_after_the_grace_time_and_not_before() {
    let (remote, node) = (memory(), Node::new());
    let hasty = snapshots(&remote, 1);
    let patient = Snapshots::new(remote.clone(), Clock::manual(), Chance::seeded(2), Tasks::real());
    remote.put(&Path::from("cells/00003/base-that-no-manifest-names"), "x".into()).await.unwrap();
    for seq in 1..=40 {
        node.record(seq, if seq == 1 { 0..900 } else { 0..1 }, b"x");
        hasty.save(&node.store, CELL, Epoch(1)).await.unwrap();
    }
    assert_eq!(patient.sweep(CELL).await.unwrap(), Swept::default());
    let all = names(&remote).await.len();
    let swept = hasty.sweep(CELL).await.unwrap();
    // Two manifests stay, and what they name: the third base and its deltas.
    assert_eq!((swept.manifests, names(&remote).await.len()), (38, 2 + 6));
    assert_eq!(swept.manifests + swept.files, all - 8);
    assert_eq!(hasty.sweep(CELL).await.unwrap(), Swept::default());
    let to = Node::new();
    hasty.load(&to.store, CELL, Seq(40)).await.unwrap();
    assert_eq!(to.rows(), node.rows());
}

#[tokio::test]
async fn a_stale_owner_hides_nothing_and_what_it_says_is_true() {
    let (remote, old, new) = (memory(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1);
    old.record(1, 0..100, b"one");
    snapshots.save(&old.store, CELL, Epoch(1)).await.unwrap();
    old.record(2, 0..10, b"two");
    snapshots.load(&new.store, CELL, Seq(1)).await.unwrap();
    new.record(2, 0..10, b"two");
    new.record(3, 0..5, b"three");
    snapshots.save(&new.store, CELL, Epoch(2)).await.unwrap();
    // It learns that there is a newer one, and writes nothing.
    let saved = snapshots.save(&old.store, CELL, Epoch(1)).await.unwrap();
    assert_eq!((saved.position, saved.bytes), (Seq(3), 0));
    // Both at the same position: the manifest of the later epoch wins, and both are true.
    new.record(4, 0..1, b"four");
    old.record(3, 0..5, b"three");
    old.record(4, 0..1, b"four");
    let (first, second) = tokio::join!(snapshots.save(&old.store, CELL, Epoch(1)), async {
        crate::world::snapshots(&remote, 2).save(&new.store, CELL, Epoch(2)).await
    });
    assert_eq!((first.unwrap().position, second.unwrap().position), (Seq(4), Seq(4)));
    let to = Node::new();
    snapshots.load(&to.store, CELL, Seq(4)).await.unwrap();
    assert_eq!((to.rows(), to.rows()), (new.rows(), old.rows()));
}

#[tokio::test]
async fn a_cell_that_no_snapshot_brings_far_enough_is_an_error_that_says_how_far() {
    let (remote, from, to) = (memory(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1);
    let error = snapshots.load(&to.store, CELL, Seq(1)).await.unwrap_err();
    assert!(matches!(error, Error::Behind { reached: Seq(0), wanted: Seq(1), .. }), "{error}");
    assert_eq!(snapshots.load(&to.store, CELL, Seq::ZERO).await.unwrap().position, Seq::ZERO);
    from.record(5, 0..1, b"x");
    snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    let error = snapshots.load(&to.store, CELL, Seq(6)).await.unwrap_err();
    assert!(error.to_string().contains("reach record 5 and 6 is needed"), "{error}");
    // What the store has is enough if it is newer.
    to.record(8, 0..2, b"y");
    assert_eq!(snapshots.load(&to.store, CELL, Seq(8)).await.unwrap().position, Seq(8));
}

#[tokio::test]
async fn a_journal_that_was_restored_to_an_earlier_time_gets_the_snapshots_of_that_time() {
    let (remote, from, to) = (memory(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1);
    from.record(5, 0..10, b"five");
    snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    let then = from.rows();
    from.record(9, 0..10, b"nine");
    snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    snapshots.rewind(CELL, Seq(7)).await.unwrap();
    assert_eq!(snapshots.load(&to.store, CELL, Seq(5)).await.unwrap().position, Seq(5));
    assert_eq!(to.rows(), then);
}

#[tokio::test]
async fn a_cell_larger_than_what_is_held_at_a_time_goes_out_in_parts_and_comes_back() {
    let (remote, from, to) = (memory(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1);
    let chance = Chance::seeded(1);
    for seq in 1..=12 {
        let value: Vec<u8> = (0..30_000).map(|_| chance.next_u64() as u8).collect();
        from.record(seq, seq * 100..(seq + 1) * 100, &value);
    }
    let saved = snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
    assert!(saved.bytes > 32 << 20 && saved.files == 1, "{saved:?}");
    // Over rows that are there already, of another history of the cell.
    to.record(1, 0..150, b"old");
    snapshots.load(&to.store, CELL, Seq(12)).await.unwrap();
    assert_eq!(to.rows(), from.rows());
    to.store.persist().unwrap();
    let to = to.crashed();
    assert_eq!((to.position(), to.rows()), (12, from.rows()));
}

#[tokio::test]
async fn a_save_or_load_that_fails_anywhere_loses_nothing_and_succeeds_when_repeated() {
    for steps in 0..14 {
        let inner = memory();
        let unreliable = Unreliable::over(inner.clone());
        let remote: Arc<dyn ObjectStore> = unreliable.clone();
        let (snapshots, from, to) = (snapshots(&remote, 1), Node::new(), Node::new());
        from.record(1, 0..100, b"one");
        snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap();
        from.record(2, 0..10, b"two");
        unreliable.fail_after(steps);
        let failed = snapshots.save(&from.store, CELL, Epoch(1)).await;
        unreliable.is_well();
        if let Err(e) = failed {
            assert!(matches!(e, Error::Storage { .. }) && e.to_string().contains("it broke"), "{e}");
            assert_eq!(snapshots.save(&from.store, CELL, Epoch(1)).await.unwrap().position, Seq(2));
        }
        unreliable.fail_after(steps);
        let failed = snapshots.load(&to.store, CELL, Seq(2)).await;
        unreliable.is_well();
        if failed.is_err() {
            assert!([0, 1].contains(&to.position()));
            snapshots.load(&to.store, CELL, Seq(2)).await.unwrap();
        }
        assert_eq!(to.rows(), from.rows());
    }
}

#[tokio::test]
async fn a_save_that_took_so_long_that_its_file_may_be_garbage_is_no_snapshot() {
    let (node, clock) = (Node::new(), Clock::manual());
    let slow = Unreliable::slow(memory(), clock.clone(), Duration::from_secs(40 * 60));
    let snapshots = Snapshots::new(slow, clock, Chance::seeded(1), Tasks::real());
    node.record(1, 0..100, b"one");
    let error = snapshots.save(&node.store, CELL, Epoch(1)).await.unwrap_err();
    assert!(matches!(error, Error::Slow { .. }), "{error}");
    assert_eq!(snapshots.newest(CELL).await.unwrap(), None);
}

#[tokio::test]
async fn a_draft_can_be_read_back_and_is_seen_by_nobody_before_it_is_published() {
    let (remote, from, check, to) = (memory(), Node::new(), Node::new(), Node::new());
    let snapshots = snapshots(&remote, 1).with_grace(Duration::from_secs(3600));
    from.record(1, 0..500, b"one");
    let draft = snapshots.draft(&from.store, CELL).await.unwrap();
    snapshots.load_draft(&check.store, &draft).await.unwrap();
    assert_eq!((check.position(), check.rows()), (1, from.rows()));
    assert_eq!(snapshots.newest(CELL).await.unwrap(), None);
    assert_eq!(snapshots.load(&to.store, CELL, Seq::ZERO).await.unwrap().position, Seq::ZERO);
    snapshots.publish(draft, Epoch(3)).await.unwrap();
    assert_eq!(snapshots.load(&to.store, CELL, Seq(1)).await.unwrap().position, Seq(1));
    assert_eq!(to.rows(), from.rows());
    // Once there is one, another draft of the same changes nothing.
    let before = names(&remote).await;
    let again = snapshots.draft(&from.store, CELL).await.unwrap();
    snapshots.publish(again, Epoch(4)).await.unwrap();
    assert_eq!(names(&remote).await.len(), before.len() + 1, "only its file");
}
