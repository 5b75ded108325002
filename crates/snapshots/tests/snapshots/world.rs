//! What the tests share: stores of nodes, one cell with rows, and the object store between them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{ObjectStore, memory::InMemory};
use stride_ids::{CellId, MessageId, Seq};
use stride_sim::{Chance, Clock, Tasks};
use stride_snapshots::Snapshots;
use stride_store::{RowKey, Rows, Settings, Store, Write, check};

pub(crate) const CELL: CellId = CellId(3);

/// What a cell holds.
pub(crate) type Model = BTreeMap<RowKey, Bytes>;

/// The store of a node.
pub(crate) struct Node {
    pub(crate) store: Arc<Store>,
    pub(crate) dir: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    fn in_dir(dir: tempfile::TempDir) -> Self {
        let settings = Settings { memtable_bytes: 256 << 10, changes_max: 1_000, ..Settings::default() };
        Self { store: Arc::new(Store::open(dir.path(), 8, settings).unwrap()), dir }
    }

    /// The same after a crash.
    pub(crate) fn crashed(self) -> Self {
        let Self { store, dir } = self;
        Arc::into_inner(store).unwrap().abandon();
        assert_eq!(check(dir.path()).unwrap().damage, [""; 0]);
        Self::in_dir(dir)
    }

    pub(crate) fn position(&self) -> u64 {
        self.store.position(CELL).0
    }

    /// One record.
    pub(crate) fn stage(&self, seq: u64, writes: &[Write]) {
        self.store.stage(CELL, Seq(seq), writes.to_vec());
    }

    pub(crate) fn materialise(&self) {
        self.store.freeze();
        self.store.materialise().unwrap();
    }

    /// One record that puts each of these rows to this value.
    pub(crate) fn record(&self, seq: u64, rows: std::ops::Range<u64>, value: &[u8]) {
        let writes: Vec<_> = rows.map(|n| put(n, value)).collect();
        self.stage(seq, &writes);
        self.materialise();
    }

    pub(crate) fn rows(&self) -> Model {
        self.store.rows(Rows::Outbox(CELL), None, usize::MAX).unwrap().into_iter().collect()
    }
}

pub(crate) fn row(n: u64) -> RowKey {
    RowKey::Outbox(CELL, MessageId { record: Seq(n), index: 0 })
}

pub(crate) fn put(n: u64, value: &[u8]) -> Write {
    Write { row: row(n), value: Some(Bytes::copy_from_slice(value)) }
}

pub(crate) fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// As one node has them. Without a grace time, so that what is not needed goes at once.
pub(crate) fn snapshots(remote: &Arc<dyn ObjectStore>, seed: u64) -> Snapshots {
    let snapshots = Snapshots::new(remote.clone(), Clock::manual(), Chance::seeded(seed), Tasks::real());
    snapshots.with_grace(Duration::ZERO)
}
