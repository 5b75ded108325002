//! Every backend keeps the contract, on every kind of executor.

use std::{path::Path, sync::Arc};

use stride_ids::CellId;
use stride_journal::{
    Journal,
    contract::{self, Backend},
    embedded::{EmbeddedJournal, Settings, Threads},
    memory::MemoryJournal,
};
use stride_sim::{
    Chance,
    disk::{Disk, Operation, RealDisk, SimDisk},
};

struct Memory(MemoryJournal);

impl Backend for Memory {
    fn open(&self) -> Arc<dyn Journal> {
        Arc::new(self.0.clone())
    }
}

struct Embedded {
    disk: Arc<dyn Disk>,
    dir: tempfile::TempDir,
    settings: Settings,
}

impl Embedded {
    fn on(disk: impl Disk, settings: Settings) -> Self {
        Self { disk: Arc::new(disk), dir: tempfile::tempdir().expect("a temporary directory"), settings }
    }
}

impl Backend for Embedded {
    fn open(&self) -> Arc<dyn Journal> {
        let dir: &Path = self.dir.path();
        Arc::new(EmbeddedJournal::open(Arc::clone(&self.disk), dir, self.settings, Chance::seeded(1)).expect("open"))
    }
}

fn small(threads: Threads) -> Settings {
    Settings { cells: 4, segment_bytes: 16 << 10, threads }
}

#[test]
fn the_memory_journal_keeps_the_contract() {
    futures::executor::block_on(contract::all(|| Memory(MemoryJournal::new())));
}

#[test]
fn the_embedded_journal_keeps_the_contract_on_a_real_disk_and_a_plain_executor() {
    let settings = Settings { segment_bytes: 1 << 20, ..Settings::default() };
    futures::executor::block_on(contract::all(|| Embedded::on(RealDisk, settings)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_journal_keeps_the_contract_on_tokio() {
    contract::all(|| Embedded::on(RealDisk, Settings { segment_bytes: 1 << 20, ..Settings::default() })).await;
}

#[tokio::test]
async fn the_embedded_journal_keeps_the_contract_on_one_tokio_thread() {
    contract::all(|| Embedded::on(SimDisk::new(Chance::seeded(1)), small(Threads::Own))).await;
}

#[test]
fn the_embedded_journal_keeps_the_contract_without_threads_and_with_segments_that_roll() {
    let fresh = || Embedded::on(SimDisk::new(Chance::seeded(1)), small(Threads::None));
    futures::executor::block_on(contract::all(fresh));
}

#[tokio::test]
async fn callers_share_groups_also_after_one_was_alone_for_long_and_all_run_on_one_thread() {
    const RECORDS: usize = 400;
    let (disk, dir) = (SimDisk::new(Chance::seeded(1)), tempfile::tempdir().expect("a temporary directory"));
    let settings = Settings { cells: 4, segment_bytes: 1 << 20, threads: Threads::Own };
    let journal = EmbeddedJournal::open(Arc::new(disk.clone()), dir.path(), settings, Chance::seeded(1)).expect("open");
    let syncs = || disk.trace().iter().filter(|operation| matches!(operation, Operation::Sync(_))).count();
    let epochs = [CellId(0), CellId(1)].map(|cell| (cell, journal.open_one(cell).expect("a cell").epoch));
    let append = async |(cell, epoch)| {
        for _ in 0..RECORDS {
            journal.append(cell, epoch, "record".into()).expect("room").await.expect("durable");
        }
    };
    let before = syncs();
    append(epochs[0]).await;
    let alone = syncs() - before;
    assert!(alone >= RECORDS, "each record of one caller is a group of its own: {alone}");
    let before = syncs();
    futures::future::join(append(epochs[0]), append(epochs[1])).await;
    let both = syncs() - before;
    assert!(both < RECORDS * 3 / 2, "{both} groups for {} records of two callers", 2 * RECORDS);
}
