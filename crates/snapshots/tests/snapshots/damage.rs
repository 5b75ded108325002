//! Files that are not what was written, or not there.

use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use stride_ids::{Epoch, Seq};
use stride_snapshots::Error;

use crate::world::{CELL, Model, Node, memory, snapshots};

/// Snapshots at 1, 2 and 3, in one base and two deltas; what the cell was at each.
async fn three() -> (Arc<dyn ObjectStore>, Node, Vec<Model>) {
    let (remote, node) = (memory(), Node::new());
    let snapshots = snapshots(&remote, 1);
    let mut history = vec![Model::new()];
    for (seq, rows) in [(1, 0..20), (2, 5..8), (3, 7..9)] {
        node.record(seq, rows, format!("value {seq}").as_bytes());
        snapshots.save(&node.store, CELL, Epoch(1)).await.unwrap();
        history.push(node.rows());
    }
    (remote, node, history)
}

async fn paths(remote: &Arc<dyn ObjectStore>) -> Vec<Path> {
    let mut paths: Vec<_> = remote.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    paths.sort();
    paths
}

/// Loads into an empty store: what is there is right, or there is an error that names the file.
async fn is_right_or_named(remote: &Arc<dyn ObjectStore>, history: &[Model], path: &Path) -> u64 {
    let to = Node::new();
    let snapshots = snapshots(remote, 2);
    let loaded = snapshots.load(&to.store, CELL, Seq::ZERO).await.unwrap();
    assert_eq!((loaded.position.0, to.rows()), (to.position(), history[to.position() as usize].clone()), "{path}");
    if loaded.position < Seq(3) {
        let error = snapshots.load(&to.store, CELL, Seq(3)).await.unwrap_err();
        let named = match &error {
            Error::Damaged { path, .. } | Error::Missing { path } => path,
            error => panic!("{error}"),
        };
        assert_eq!(named, path.as_ref());
    }
    loaded.position.0
}

#[tokio::test]
async fn a_flipped_bit_or_a_cut_anywhere_is_never_believed_and_the_snapshot_before_is_used() {
    let (remote, _node, history) = three().await;
    for path in paths(&remote).await {
        let sound = remote.get(&path).await.unwrap().bytes().await.unwrap();
        // What is left where this file cannot be used.
        let left = match path.filename().unwrap().split_once('-').unwrap() {
            ("base", _) => 0,
            ("delta", rest) => u64::from_str_radix(rest.split_once('-').unwrap().0, 16).unwrap(),
            _ if path.as_ref().contains("manifest-0000000000000003") => 2,
            _ => 3,
        };
        for at in (0..sound.len()).step_by(13) {
            let mut harmed = sound.to_vec();
            harmed[at] ^= 1 << (at % 8);
            remote.put(&path, harmed.into()).await.unwrap();
            assert_eq!(is_right_or_named(&remote, &history, &path).await, left, "{path} at {at}");
        }
        for len in [0, 1, sound.len() / 2, sound.len() - 1] {
            remote.put(&path, sound.slice(..len).into()).await.unwrap();
            assert_eq!(is_right_or_named(&remote, &history, &path).await, left, "{path} cut to {len}");
        }
        remote.delete(&path).await.unwrap();
        let to = Node::new();
        let position = snapshots(&remote, 3).load(&to.store, CELL, Seq::ZERO).await.unwrap().position.0;
        assert_eq!((position, to.rows()), (left, history[left as usize].clone()), "{path} is gone");
        remote.put(&path, sound.into()).await.unwrap();
    }
}

#[tokio::test]
async fn files_that_are_swapped_are_not_believed() {
    let (remote, _node, history) = three().await;
    let paths = paths(&remote).await;
    for (one, other) in paths.iter().flat_map(|one| paths.iter().map(move |other| (one, other))) {
        let sound = remote.get(one).await.unwrap().bytes().await.unwrap();
        let wrong = remote.get(other).await.unwrap().bytes().await.unwrap();
        remote.put(one, wrong.into()).await.unwrap();
        is_right_or_named(&remote, &history, one).await;
        remote.put(one, sound.into()).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_built_on_what_was_found_to_be_damaged() {
    let (remote, _node, history) = three().await;
    let delta = paths(&remote).await.into_iter().find(|path| path.as_ref().contains("delta-0000000000000002")).unwrap();
    let mut harmed = remote.get(&delta).await.unwrap().bytes().await.unwrap().to_vec();
    *harmed.last_mut().unwrap() ^= 1;
    remote.put(&delta, harmed.into()).await.unwrap();
    let (node, snapshots) = (Node::new(), snapshots(&remote, 2));
    assert_eq!(snapshots.load(&node.store, CELL, Seq(2)).await.unwrap().position, Seq(2));
    assert_eq!(node.rows(), history[2]);
    // The journal has the rest; what is saved then stands on its own.
    node.record(3, 7..9, b"value 3");
    node.record(4, 0..1, b"value 4");
    assert_eq!(snapshots.save(&node.store, CELL, Epoch(2)).await.unwrap().files, 1);
    let to = Node::new();
    assert_eq!(crate::world::snapshots(&remote, 3).load(&to.store, CELL, Seq(4)).await.unwrap().position, Seq(4));
    assert_eq!(to.rows(), node.rows());
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_built_on() {
    let (remote, node, _) = three().await;
    let base = paths(&remote).await.into_iter().find(|path| path.filename().unwrap().starts_with("base")).unwrap();
    remote.delete(&base).await.unwrap();
    node.record(4, 0..1, b"value 4");
    let snapshots = snapshots(&remote, 2);
    assert_eq!(snapshots.save(&node.store, CELL, Epoch(2)).await.unwrap().files, 1);
    let to = Node::new();
    snapshots.load(&to.store, CELL, Seq(4)).await.unwrap();
    assert_eq!(to.rows(), node.rows());
}

#[tokio::test]
async fn what_was_loaded_before_survives_a_small_file_that_is_damaged() {
    let (remote, node, history) = three().await;
    let to = Node::new();
    snapshots(&remote, 2).load(&to.store, CELL, Seq(3)).await.unwrap();
    node.record(4, 0..1, b"value 4");
    snapshots(&remote, 3).save(&node.store, CELL, Epoch(1)).await.unwrap();
    let delta = paths(&remote).await.into_iter().find(|path| path.as_ref().contains("delta-0000000000000003")).unwrap();
    remote.put(&delta, "x".into()).await.unwrap();
    assert_eq!(snapshots(&remote, 4).load(&to.store, CELL, Seq(3)).await.unwrap().position, Seq(3));
    assert_eq!(to.rows(), history[3]);
}
