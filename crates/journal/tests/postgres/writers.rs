//! Many writers at once, and the judge of what they were told.

use std::{
    collections::HashSet,
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
use tokio::task::JoinHandle;

pub(crate) const CELLS: u16 = 8;
/// How many write to each cell.
const PER_CELL: u16 = 4;

/// What was acknowledged, by cell: position and text.
#[derive(Default)]
pub(crate) struct Load {
    acknowledged: Mutex<Vec<(CellId, Seq, String)>>,
    count: AtomicU64,
    refused: AtomicU64,
    stop: AtomicBool,
}

/// Writers that go on until they are stopped.
pub(crate) struct Writers {
    pub(crate) load: Arc<Load>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(journal: &Arc<dyn Journal>) -> Self {
        let load = Arc::new(Load::default());
        let mut tasks = Vec::new();
        for cell in (0..CELLS).map(CellId) {
            let epoch = journal.open_one(cell).unwrap().epoch;
            for writer in 0..PER_CELL {
                tasks.push(tokio::spawn(write(journal.clone(), load.clone(), cell, epoch, writer)));
            }
        }
        Self { load, tasks }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.load.count.load(Ordering::SeqCst)
    }

    /// How often an append was refused because the server was away.
    pub(crate) fn refused(&self) -> u64 {
        self.load.refused.load(Ordering::SeqCst)
    }

    /// Waits until this many more have been acknowledged.
    pub(crate) async fn more(&self, count: u64) {
        let enough = self.acknowledged() + count;
        let clock = Clock::real();
        while self.acknowledged() < enough {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a writer ended");
            clock.sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets everybody finish what was ordered: all of it has to be acknowledged.
    pub(crate) async fn stop(self) -> Arc<Load> {
        self.load.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.load
    }
}

async fn write(journal: Arc<dyn Journal>, load: Arc<Load>, cell: CellId, epoch: Epoch, writer: u16) {
    let (clock, mut number) = (Clock::real(), 0);
    while !load.stop.load(Ordering::SeqCst) {
        let text = format!("{epoch:?}/{writer}/{number}");
        match journal.append(cell, epoch, Bytes::from(text.clone())) {
            Ok(pending) => {
                let receipt = pending.await.unwrap();
                load.acknowledged.lock().push((cell, receipt.seq(), text));
                load.count.fetch_add(1, Ordering::SeqCst);
                number += 1;
            }
            Err(Error::Unavailable(_) | Error::Busy(_)) => {
                load.refused.fetch_add(1, Ordering::SeqCst);
                clock.sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl Load {
    /// Panics unless everything that was acknowledged is in the journal, where it was said to be, and nothing is twice.
    pub(crate) fn judge(&self, journal: &dyn Journal) {
        let acknowledged = self.acknowledged.lock();
        for cell in (0..CELLS).map(CellId) {
            let records = journal.replay(cell, Seq::ZERO).unwrap();
            let texts: Vec<_> = records.iter().map(|r| String::from_utf8_lossy(&r.bytes).into_owned()).collect();
            let distinct: HashSet<_> = texts.iter().collect();
            assert_eq!(distinct.len(), texts.len(), "{cell}: something is there twice");
            for (_, seq, text) in acknowledged.iter().filter(|(of, ..)| *of == cell) {
                assert_eq!(
                    texts.get(seq.0 as usize - 1),
                    Some(text),
                    "{cell}: an acknowledged record is not in its place"
                );
            }
        }
    }
}
