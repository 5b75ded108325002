//! One owner: whoever was before stores nothing any more, however fast it writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::Mutex;
use stride_ids::{CellId, Epoch, Seq};
use stride_journal::{
    Error, Journal,
    postgres::{PostgresJournal, Settings},
};
use stride_sim::{Chance, Clock};

use crate::support::{open, server, settings};

const CELL: CellId = CellId(3);
const WRITERS: usize = 4;
const ROUNDS: usize = 40;

/// What a writer writes: its epoch, and a number that it never writes twice.
fn record(epoch: Epoch, number: u64) -> Bytes {
    Bytes::from(format!("{} {number}", epoch.0))
}

fn parse(bytes: &[u8]) -> (u64, u64) {
    let text = String::from_utf8_lossy(bytes);
    let (epoch, number) = text.split_once(' ').unwrap();
    (epoch.parse().unwrap(), number.parse().unwrap())
}

/// Every writer has its own journal and never stops writing with the epoch that it got last, as one does that does not know
/// of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zombies_that_go_on_writing_store_nothing_after_a_takeover() {
    let server = server();
    let url = server.url(&server.fresh_database().unwrap());
    let journals: Vec<Arc<dyn Journal>> =
        (0..WRITERS).map(|_| Arc::new(open(url.clone()).unwrap()) as Arc<dyn Journal>).collect();
    let epochs: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let (stop, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let acknowledged = Arc::new(Mutex::new(Vec::<(Seq, u64, u64)>::new()));
    let refused = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = journals
        .iter()
        .cloned()
        .enumerate()
        .map(|(nth, journal)| {
            let (epochs, stop, number) = (epochs.clone(), stop.clone(), number.clone());
            let (acknowledged, refused) = (acknowledged.clone(), refused.clone());
            let clock = Clock::real();
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let epoch = Epoch(epochs[nth].load(Ordering::SeqCst));
                    let number = number.fetch_add(1, Ordering::SeqCst);
                    let appended = match journal.append(CELL, epoch, record(epoch, number)) {
                        Ok(pending) => pending.await.map(|receipt| receipt.seq()),
                        Err(error) => Err(error),
                    };
                    match appended {
                        Ok(seq) => acknowledged.lock().push((seq, epoch.0, number)),
                        Err(Error::Fenced { .. } | Error::Busy(_)) => {
                            refused.fetch_add(1, Ordering::SeqCst);
                            clock.sleep(Duration::from_millis(1)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let (clock, mut takeovers) = (Clock::real(), Vec::new());
    for round in 0..ROUNDS {
        let nth = round % WRITERS;
        let journal = journals[nth].clone();
        let opened = tokio::task::spawn_blocking(move || journal.open_one(CELL)).await.unwrap().unwrap();
        takeovers.push(opened);
        epochs[nth].store(opened.epoch.0, Ordering::SeqCst);
        let enough = acknowledged.lock().len() + 5;
        while acknowledged.lock().len() < enough {
            clock.sleep(Duration::from_millis(1)).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let records: Vec<_> = journals[0].replay(CELL, Seq::ZERO).unwrap().iter().map(|r| parse(&r.bytes)).collect();
    let mut stale = 0;
    for opened in &takeovers {
        for (seq, (epoch, _)) in (1u64..).zip(&records) {
            let before = *epoch < opened.epoch.0;
            stale += u64::from(before != (seq <= opened.last.0));
        }
    }
    assert_eq!(stale, 0, "records on the wrong side of a takeover");
    for (seq, epoch, number) in acknowledged.lock().iter() {
        assert_eq!(records.get(seq.0 as usize - 1), Some(&(*epoch, *number)), "acknowledged, and not there");
    }
    assert!(refused.load(Ordering::SeqCst) > 0, "somebody has to have been refused");
    eprintln!("{} takeovers, {} acknowledged, {:?} refused", ROUNDS, acknowledged.lock().len(), refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_fences_the_first_which_finds_out_without_writing() {
    let server = server();
    let url = server.url(&server.fresh_database().unwrap());
    let (first, second) = (open(url.clone()).unwrap(), open(url).unwrap());
    let old = first.open_one(CELL).unwrap();
    first.append(CELL, old.epoch, Bytes::from("first")).unwrap().await.unwrap();
    let new = second.open_one(CELL).unwrap();
    assert_eq!(new.last, Seq(1));
    let fenced = Error::Fenced { cell: CELL, epoch: old.epoch, current: new.epoch };
    let clock = Clock::real();
    let lost = clock.timeout(Duration::from_secs(30), first.lost()).await.map(Error::from);
    assert_eq!(lost, Ok(fenced.clone()));
    assert!(first.lost().now_or_never().is_none(), "once is enough");
    assert!(first.stopped().now_or_never().is_none(), "the other cells go on");
    assert_eq!(first.append(CELL, old.epoch, Bytes::from("late")).map(|p| p.seq()), Err(fenced.clone()));
    assert_eq!(first.settled(CELL, old.epoch, Seq(1)).await, Err(fenced));
    second.append(CELL, new.epoch, Bytes::from("second")).unwrap().await.unwrap();
    assert_eq!(second.replay(CELL, Seq::ZERO).unwrap().len(), 2);
}

/// A node that keeps its other cells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_is_taken_costs_the_others_nothing_and_each_loss_is_told_once() {
    let server = server();
    let url = server.url(&server.fresh_database().unwrap());
    let (first, second) = (open(url.clone()).unwrap(), open(url).unwrap());
    let cells: Vec<CellId> = (0..8).map(CellId).collect();
    let old = first.open(&cells).unwrap();
    second.open(&[CellId(2), CellId(5)]).unwrap();
    let (clock, mut lost) = (Clock::real(), Vec::new());
    while lost.len() < 2 {
        lost.push(clock.timeout(Duration::from_secs(30), first.lost()).await.unwrap().cell);
    }
    lost.sort();
    assert_eq!(lost, [CellId(2), CellId(5)]);
    for (cell, opened) in cells.iter().zip(&old) {
        let appended = match first.append(*cell, opened.epoch, Bytes::from("x")) {
            Ok(pending) => pending.await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(appended.is_ok(), !lost.contains(cell), "{cell}: {appended:?}");
    }
    assert!(first.lost().now_or_never().is_none() && first.stopped().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_cell_is_nobodys_until_another_node_takes_it_and_nobody_is_told_of_a_loss() {
    let server = server();
    let database = server.fresh_database().unwrap();
    let (first, second) = (open(server.url(&database)).unwrap(), open(server.url(&database)).unwrap());
    let old = first.open_one(CELL).unwrap();
    first.append(CELL, old.epoch, Bytes::from("first")).unwrap().await.unwrap();
    first.truncate(CELL, Seq(1)).unwrap();
    first.release(CELL, old.epoch).unwrap();
    let row = "SELECT holder, floor FROM stride.cells WHERE cell = 3";
    assert_eq!(server.psql(&database, row).unwrap(), "0|1", "and the next owner knows what was given up");
    let new = second.open_one(CELL).unwrap();
    assert_eq!(new.last, Seq(1));
    second.append(CELL, new.epoch, Bytes::from("second")).unwrap().await.unwrap();
    assert!(matches!(first.append(CELL, old.epoch, Bytes::from("late")).map(|p| p.seq()), Err(Error::Fenced { .. })));
    // Longer than a pass of the keeper: it would have noticed by now.
    let clock = Clock::real();
    assert!(clock.timeout(Duration::from_secs(2), first.lost()).await.is_err());
}

/// Taking over what a dead node had is a part of how long its cells are away.
#[test]
fn hundreds_of_cells_with_a_tail_are_taken_over_quickly() {
    const CELLS: u16 = 340;
    let server = server();
    let url = server.url(&server.fresh_database().unwrap());
    let wide = || Settings { cells: CELLS, ..settings(url.clone()) };
    let open = || PostgresJournal::open(wide(), Clock::real(), Chance::from_os()).unwrap();
    let (first, cells) = (open(), (0..CELLS).map(CellId).collect::<Vec<_>>());
    let opened = first.open(&cells).unwrap();
    for _ in 0..20 {
        for (cell, opened) in cells.iter().zip(&opened) {
            first.append(*cell, opened.epoch, Bytes::from(vec![7; 300])).unwrap().unhurried();
        }
    }
    drop(first);
    let (second, clock) = (open(), Clock::real());
    let began = clock.now();
    let opened = second.open(&cells).unwrap();
    let fenced = clock.now() - began;
    for (cell, opened) in cells.iter().zip(&opened) {
        assert_eq!(opened.last, Seq(20));
        assert_eq!(second.replay(*cell, Seq(5)).unwrap().len(), 15);
    }
    let all = clock.now() - began;
    eprintln!("{CELLS} cells: fenced in {fenced:?}, replayed in {all:?}");
    assert!(all < Duration::from_secs(5), "{all:?}");
}
