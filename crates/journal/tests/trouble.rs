//! What the embedded journal does when the disk is full or fails, and when many use it at once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::executor::block_on;
use stride_ids::{CellId, Epoch, Seq};
use stride_journal::{
    Error, Journal,
    embedded::{EmbeddedJournal, Settings, Threads},
};
use stride_sim::{
    Chance,
    disk::{Disk as _, Faults, RealDisk, SimDisk},
};

const CELL: CellId = CellId(0);
const SETTINGS: Settings = Settings { cells: 2, segment_bytes: 4096, threads: Threads::None };

fn dir() -> &'static Path {
    Path::new("/journal")
}

fn open(disk: &SimDisk, settings: Settings) -> Result<EmbeddedJournal, Error> {
    EmbeddedJournal::open(Arc::new(disk.clone()), dir(), settings, Chance::seeded(1))
}

fn sim() -> SimDisk {
    SimDisk::new(Chance::seeded(1))
}

fn faults(disk: &SimDisk, failing_sync_per_mille: u64, capacity: Option<u64>) {
    disk.set_faults(Faults { failing_sync_per_mille, capacity, ..Faults::default() });
}

/// Appends and waits, until it is refused.
fn fill(journal: &EmbeddedJournal, epoch: Epoch) -> (u64, Error) {
    for n in 1.. {
        match journal.append(CELL, epoch, Bytes::from(vec![7; 500])) {
            Ok(pending) => assert_eq!(block_on(pending).map(|r| r.seq()), Ok(Seq(n))),
            Err(e) => return (n - 1, e),
        }
    }
    unreachable!("a full disk refuses")
}

#[test]
fn a_full_disk_refuses_at_append_loses_nothing_and_goes_on_when_there_is_space() {
    let disk = sim();
    faults(&disk, 0, Some(4 * 4096));
    let journal = open(&disk, SETTINGS).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    let (stored, refused) = fill(&journal, epoch);
    assert!(matches!(&refused, Error::Full(why) if why.contains("00000005.log")), "{refused}");
    assert!(stored >= 20, "all prepared space was used: {stored}");
    assert_eq!(journal.replay(CELL, Seq::ZERO).unwrap().len() as u64, stored);

    faults(&disk, 0, None);
    let receipt = block_on(journal.append(CELL, epoch, Bytes::new()).unwrap()).unwrap();
    assert_eq!(receipt.seq(), Seq(stored + 1));
    drop(journal);
    assert_eq!(open(&disk, SETTINGS).unwrap().open_one(CELL).unwrap().last, Seq(stored + 1));
}

#[test]
fn truncation_makes_room_on_a_full_disk() {
    let disk = sim();
    faults(&disk, 0, Some(4 * 4096));
    let journal = open(&disk, Settings { threads: Threads::Own, ..SETTINGS }).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    let clock = stride_sim::Clock::real();
    let mut last = Seq::ZERO;
    while last < Seq(100) {
        match journal.append(CELL, epoch, Bytes::from(vec![7; 500])) {
            Ok(pending) => last = block_on(pending).unwrap().seq(),
            Err(Error::Full(_) | Error::Busy(_)) => {
                journal.truncate(CELL, last).unwrap();
                clock.block(std::time::Duration::from_millis(1));
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(disk.list(dir()).unwrap().len() <= 5);
}

#[test]
fn a_log_that_cannot_be_begun_says_what_it_needs() {
    let disk = sim();
    faults(&disk, 0, Some(1000));
    let refused = open(&disk, SETTINGS).map(drop);
    assert!(matches!(&refused, Err(Error::Full(why)) if why.contains("4096")), "{refused:?}");
    faults(&disk, 0, None);
    open(&disk, SETTINGS).unwrap();
}

#[test]
fn a_crashed_log_opens_on_a_full_disk() {
    for seed in 0..50 {
        let disk = SimDisk::new(Chance::seeded(seed));
        let journal = open(&disk, SETTINGS).unwrap();
        let epoch = journal.open_one(CELL).unwrap().epoch;
        block_on(journal.append(CELL, epoch, Bytes::from(vec![7; 1000])).unwrap()).unwrap();
        disk.crash_at(disk.operations() + 1);
        let _ = block_on(journal.append(CELL, epoch, Bytes::from(vec![7; 1500])).unwrap());
        disk.crash();
        drop(journal);
        faults(&disk, 0, Some(0));
        assert!(open(&disk, SETTINGS).unwrap().open_one(CELL).unwrap().last >= Seq(1));
    }
}

#[test]
fn a_failed_sync_stops_the_journal_for_good() {
    let disk = sim();
    let journal = open(&disk, SETTINGS).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    let acknowledged = block_on(journal.append(CELL, epoch, Bytes::from("kept")).unwrap()).unwrap().seq();
    let pending: Vec<_> = (0..3).map(|_| journal.append(CELL, epoch, Bytes::from("lost?")).unwrap()).collect();
    faults(&disk, 1000, None);
    for pending in pending {
        assert!(matches!(block_on(pending), Err(Error::Stopped(why)) if why.contains("simulated sync failure")));
    }
    faults(&disk, 0, None);
    let after = disk.operations();
    assert!(matches!(journal.append(CELL, epoch, Bytes::new()).map(drop), Err(Error::Stopped(_))));
    assert!(matches!(journal.open_one(CELL), Err(Error::Stopped(_))));
    assert!(matches!(block_on(journal.stopped()), Error::Stopped(_)));
    assert_eq!(block_on(journal.settled(CELL, epoch, acknowledged)).map(|r| r.seq()), Ok(acknowledged));
    drop(journal);
    assert_eq!(disk.operations(), after, "nothing is tried again");
    let again = open(&disk, SETTINGS).unwrap();
    assert!(again.open_one(CELL).unwrap().last >= acknowledged);
}

#[test]
fn who_waits_for_the_end_is_told() {
    let disk = sim();
    let journal = open(&disk, SETTINGS).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    let mut stopped = journal.stopped();
    let mut context = Context::from_waker(Waker::noop());
    assert!(stopped.as_mut().poll(&mut context).is_pending());
    faults(&disk, 1000, None);
    assert!(block_on(journal.append(CELL, epoch, Bytes::new()).unwrap()).is_err());
    assert!(matches!(stopped.as_mut().poll(&mut context), Poll::Ready(Error::Stopped(_))));
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let open = || EmbeddedJournal::open(Arc::new(RealDisk), dir.path(), small_real(), Chance::seeded(1));
    let first = open().unwrap();
    let Err(Error::InUse { dir: told }) = open().map(drop) else { panic!("refused") };
    assert_eq!(PathBuf::from(told), dir.path());
    drop(first);
    open().unwrap();
}

fn small_real() -> Settings {
    Settings { cells: 8, segment_bytes: 1 << 20, threads: Threads::Own }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (settings, means) in [
        (Settings { cells: 0, ..SETTINGS }, "cell"),
        (Settings { segment_bytes: 100, ..SETTINGS }, "too short"),
        (Settings { segment_bytes: 3 << 30, ..SETTINGS }, "over 2 GiB"),
    ] {
        let refused = open(&sim(), settings).map(drop);
        assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains(means)), "{refused:?}");
    }
    let disk = sim();
    open(&disk, SETTINGS).unwrap();
    let refused = open(&disk, Settings { cells: 3, ..SETTINGS }).map(drop);
    assert_eq!(refused, Err(Error::CellsFixed { stored: 2, asked: 3 }));
    let wider = open(&disk, Settings { segment_bytes: 8192, ..SETTINGS }).unwrap();
    let unknown = wider.open_one(CellId(2));
    assert_eq!(unknown, Err(Error::UnknownCell { cell: CellId(2), cells: 2 }));
}

#[test]
fn damage_that_comes_while_the_node_runs_is_refused_on_replay() {
    let disk = sim();
    let journal = open(&disk, SETTINGS).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    block_on(journal.append(CELL, epoch, Bytes::from(vec![7; 100])).unwrap()).unwrap();
    let file = dir().join("00000001.log");
    let at = disk.contents(&file).unwrap().iter().rposition(|b| *b != 0).unwrap() - 60;
    disk.tamper(&file, |bytes| bytes[at] ^= 1);
    let Err(Error::Damaged { file: told, at_risk, .. }) = journal.replay(CELL, Seq::ZERO) else { panic!("refused") };
    assert_eq!((told, at_risk), (file.display().to_string(), "record 1 of cell-0".into()));
}

/// Tasks and threads together, on segments that roll, with truncation, some of them never waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_committers_at_once_all_get_their_receipts() {
    const EACH: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let journal =
        Arc::new(EmbeddedJournal::open(Arc::new(RealDisk), dir.path(), small_real(), Chance::seeded(1)).unwrap());
    let committer = |n: u16| {
        let journal = Arc::clone(&journal);
        async move {
            let (cell, clock) = (CellId(n), stride_sim::Clock::real());
            let epoch = journal.open_one(cell).unwrap().epoch;
            let mut last = Seq::ZERO;
            while last < Seq(EACH) {
                match journal.append(cell, epoch, Bytes::from(vec![n as u8; 700])) {
                    Ok(pending) => {
                        assert_eq!(pending.seq(), last.next());
                        last = pending.seq();
                        if last.0.is_multiple_of(7) {
                            drop(pending);
                        } else {
                            assert_eq!(pending.await.unwrap().seq(), last);
                        }
                    }
                    Err(Error::Busy(_)) => clock.block(std::time::Duration::from_millis(1)),
                    Err(e) => panic!("{e}"),
                }
            }
            journal.settled(cell, epoch, last).await.unwrap();
            journal.truncate(cell, Seq(EACH / 2)).unwrap();
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|n| {
            std::thread::spawn({
                let work = committer(n);
                move || block_on(work)
            })
        })
        .collect();
    let tasks: Vec<_> = (4..8).map(|n| tokio::spawn(committer(n))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    drop(journal);
    let journal = EmbeddedJournal::open(Arc::new(RealDisk), dir.path(), small_real(), Chance::seeded(1)).unwrap();
    for n in 0..8 {
        assert_eq!(journal.open_one(CellId(n)).unwrap().last, Seq(EACH));
        let rest = journal.replay(CellId(n), Seq(EACH / 2)).unwrap();
        assert_eq!(rest.len() as u64, EACH / 2);
        assert!(rest.iter().all(|record| record.bytes == vec![n as u8; 700]));
    }
}
