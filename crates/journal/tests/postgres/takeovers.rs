//! One owner: whoever was before stores nothing any more, however fast it writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_ids::{CellId, Epoch, Seq};
use stride_journal::{Error, Journal};
use stride_sim::Clock;

use crate::support::{open, server};

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
        let opened = tokio::task::spawn_blocking(move || journal.open(CELL)).await.unwrap().unwrap();
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
    let old = Journal::open(&first, CELL).unwrap();
    first.append(CELL, old.epoch, Bytes::from("first")).unwrap().await.unwrap();
    let new = Journal::open(&second, CELL).unwrap();
    assert_eq!(new.last, Seq(1));
    let fenced = Error::Fenced { cell: CELL, epoch: old.epoch, current: new.epoch };
    let clock = Clock::real();
    assert_eq!(clock.timeout(Duration::from_secs(30), first.stopped()).await, Ok(fenced.clone()));
    assert_eq!(first.append(CELL, old.epoch, Bytes::from("late")).map(|p| p.seq()), Err(fenced.clone()));
    assert_eq!(first.settled(CELL, old.epoch, Seq(1)).await, Err(fenced));
    second.append(CELL, new.epoch, Bytes::from("second")).unwrap().await.unwrap();
    assert_eq!(second.replay(CELL, Seq::ZERO).unwrap().len(), 2);
}
