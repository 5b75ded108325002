//! Measures the log against the bare disk and against fjall: `cargo run --release -p stride-journal --example append
//! [DIR]`. Everything is 1 KB per record and durable before it counts; what is compared runs interleaved.
#![allow(clippy::print_stdout, reason = "it prints its figures")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;
use stride_ids::CellId;
use stride_journal::{
    Error, Journal,
    embedded::{EmbeddedJournal, Settings},
};
use stride_sim::{
    Chance, Clock,
    disk::{Disk, DiskFile, RealDisk},
};

const RECORD_LEN: usize = 1024;
const ALONE: usize = 400;
const ROUNDS: usize = 8;
const COMMITTERS: u64 = 64;
const BURST: Duration = Duration::from_secs(2);

fn main() {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(root).unwrap();
    let clock = Clock::real();
    alone(dir.path(), &clock);
    together(dir.path(), &clock);
}

fn record() -> Bytes {
    Bytes::from((0..RECORD_LEN).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>())
}

fn open(dir: &Path) -> EmbeddedJournal {
    EmbeddedJournal::open(Arc::new(RealDisk), dir, Settings::default(), Chance::from_os()).unwrap()
}

/// One committer, against a bare write and sync of the same bytes into a file of zeros.
fn alone(dir: &Path, clock: &Clock) {
    let bare = zero_file(&dir.join("bare"));
    let journal = open(&dir.join("alone"));
    let epoch = journal.open(CellId(0)).unwrap().epoch;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (mut of_bare, mut of_plain, mut of_tokio) = (Vec::new(), Vec::new(), Vec::new());
    let record = record();
    let mut at = 0;
    for _ in 0..ROUNDS {
        for _ in 0..ALONE {
            of_bare.push(timed(clock, || {
                bare.write_at(&record, at).unwrap();
                bare.sync().unwrap();
            }));
            at += RECORD_LEN as u64;
        }
        for _ in 0..ALONE {
            of_plain.push(timed(clock, || {
                block_on(journal.append(CellId(0), epoch, record.clone()).unwrap()).unwrap();
            }));
        }
        let inside = runtime.block_on(async {
            let (journal, record, clock) = (&journal, record.clone(), clock.clone());
            let mut taken = Vec::new();
            for _ in 0..ALONE {
                let start = clock.now();
                journal.append(CellId(0), epoch, record.clone()).unwrap().await.unwrap();
                taken.push(clock.now() - start);
            }
            taken
        });
        of_tokio.extend(inside);
    }
    println!("one committer, {} of each, interleaved", of_bare.len());
    let base = report("bare write + fdatasync", &mut of_bare, None);
    report("append, plain executor", &mut of_plain, Some(base));
    report("append, tokio", &mut of_tokio, Some(base));
}

fn zero_file(path: &Path) -> Arc<dyn DiskFile> {
    let file = RealDisk.create(path).unwrap();
    for at in 0..32 {
        file.write_at(&vec![0; 1 << 20], at << 20).unwrap();
    }
    file.sync().unwrap();
    file
}

fn timed(clock: &Clock, work: impl FnOnce()) -> Duration {
    let start = clock.now();
    work();
    clock.now() - start
}

fn report(what: &str, taken: &mut [Duration], base: Option<Duration>) -> Duration {
    taken.sort_unstable();
    let at = |per_mille: usize| taken[taken.len() * per_mille / 1000];
    let ratio =
        base.map(|base| format!("  {:.2}x bare", at(500).as_secs_f64() / base.as_secs_f64())).unwrap_or_default();
    println!("  {what:26} p50 {:>9.1?}  p99 {:>9.1?}{ratio}", at(500), at(990));
    at(500)
}

/// 64 committers on threads, as fjall needs them, and as tasks.
fn together(dir: &Path, clock: &Clock) {
    println!("{COMMITTERS} committers, bursts of {BURST:?}, interleaved; commits/s");
    let (mut tasks, mut threads, mut grouped, mut plain) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..5 {
        tasks.push(journal_tasks(&dir.join(format!("tasks{round}")), clock));
        grouped.push(fjall_tasks(&dir.join(format!("grouped{round}")), clock));
        threads.push(journal_threads(&dir.join(format!("threads{round}")), clock));
        plain.push(fjall_threads(&dir.join(format!("plain{round}")), clock));
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_unstable_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let base = median(grouped);
    println!("  fjall, tasks, one batch for all who wait  {base:>9.0}");
    for (what, rates) in
        [("fjall, threads, a batch each", plain), ("journal, threads", threads), ("journal, tasks", tasks)]
    {
        let rate = median(rates);
        println!("  {what:40}  {rate:>9.0}  {:.2}x fjall", rate / base);
    }
}

fn journal_tasks(dir: &Path, clock: &Clock) -> f64 {
    let journal = Arc::new(open(dir));
    let busy = Arc::new(AtomicU64::new(0));
    let rate = tasks(clock, |n| {
        let (journal, busy, clock) = (Arc::clone(&journal), Arc::clone(&busy), clock.clone());
        let (cell, record) = (CellId(n as u16), record());
        let epoch = journal.open(cell).unwrap().epoch;
        move || {
            let (pending, busy, clock) =
                (journal.append(cell, epoch, record.clone()), Arc::clone(&busy), clock.clone());
            async move {
                match pending {
                    Ok(pending) => pending.await.map(|_| true).unwrap(),
                    Err(Error::Busy(_)) => {
                        busy.fetch_add(1, Ordering::Relaxed);
                        clock.sleep(Duration::from_millis(1)).await;
                        false
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        }
    });
    told(busy.load(Ordering::Relaxed));
    rate
}

/// The best that fjall can do for many committers: one thread puts all who wait into one durable batch.
fn fjall_tasks(dir: &Path, clock: &Clock) -> f64 {
    type Waiting = (Vec<u8>, Bytes, tokio::sync::oneshot::Sender<()>);
    let db = fjall::Database::builder(dir).open().unwrap();
    let keyspace = db.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
    let (send, receive) = std::sync::mpsc::channel::<Waiting>();
    let committer = std::thread::spawn(move || {
        while let Ok(first) = receive.recv() {
            let waiting: Vec<Waiting> = std::iter::once(first).chain(receive.try_iter()).collect();
            let mut batch = db.batch().durability(Some(fjall::PersistMode::SyncData));
            for (key, record, _) in &waiting {
                batch.insert(&keyspace, &key[..], &record[..]);
            }
            batch.commit().unwrap();
            waiting.into_iter().for_each(|(_, _, done)| done.send(()).unwrap());
        }
    });
    let rate = tasks(clock, |n| {
        let (send, record) = (send.clone(), record());
        let mut seq = 0_u64;
        move || {
            seq += 1;
            let (done, wait) = tokio::sync::oneshot::channel();
            send.send(([n.to_be_bytes(), seq.to_be_bytes()].concat(), record.clone(), done)).unwrap();
            async move { wait.await.map(|()| true).unwrap() }
        }
    });
    drop(send);
    committer.join().unwrap();
    rate
}

/// The rate at which as many tasks as there are committers do what `make` makes for each.
fn tasks<W, F>(clock: &Clock, make: impl Fn(u64) -> W) -> f64
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let workers: Vec<W> = (0..COMMITTERS).map(make).collect();
    runtime.block_on(async {
        let start = clock.now();
        let running: Vec<_> = workers
            .into_iter()
            .map(|mut work| {
                let clock = clock.clone();
                tokio::spawn(async move {
                    let mut mine = 0_u64;
                    while clock.now() - start < BURST {
                        mine += u64::from(work().await);
                    }
                    mine
                })
            })
            .collect();
        let mut done = 0;
        for task in running {
            done += task.await.unwrap();
        }
        done as f64 / (clock.now() - start).as_secs_f64()
    })
}

fn told(busy: u64) {
    if busy > 0 {
        println!("  ({busy} appends were refused as busy and tried again)");
    }
}

fn journal_threads(dir: &Path, clock: &Clock) -> f64 {
    let journal = Arc::new(open(dir));
    let busy = AtomicU64::new(0);
    let rate = threads(clock, |n| {
        let (journal, record, cell, busy) = (Arc::clone(&journal), record(), CellId(n as u16), &busy);
        let epoch = journal.open(cell).unwrap().epoch;
        move || match journal.append(cell, epoch, record.clone()) {
            Ok(pending) => block_on(pending).map(|_| true).unwrap(),
            Err(Error::Busy(_)) => {
                busy.fetch_add(1, Ordering::Relaxed);
                Clock::real().block(Duration::from_millis(1));
                false
            }
            Err(e) => panic!("{e}"),
        }
    });
    told(busy.load(Ordering::Relaxed));
    rate
}

fn fjall_threads(dir: &Path, clock: &Clock) -> f64 {
    let db = fjall::Database::builder(dir).open().unwrap();
    let keyspace = db.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
    threads(clock, |n| {
        let (db, keyspace, record) = (db.clone(), keyspace.clone(), record());
        let mut seq = 0_u64;
        move || {
            seq += 1;
            let mut batch = db.batch().durability(Some(fjall::PersistMode::SyncData));
            batch.insert(&keyspace, [n.to_be_bytes(), seq.to_be_bytes()].concat(), &record[..]);
            batch.commit().unwrap();
            true
        }
    })
}

/// The rate at which as many threads as there are committers do what `make` makes for each.
fn threads<W: FnMut() -> bool + Send>(clock: &Clock, make: impl Fn(u64) -> W) -> f64 {
    let barrier = Barrier::new(COMMITTERS as usize + 1);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..COMMITTERS).map(&make).collect();
        for mut work in workers {
            let (barrier, done) = (&barrier, &done);
            scope.spawn(move || {
                barrier.wait();
                let start = clock.now();
                let mut mine = 0;
                while clock.now() - start < BURST {
                    mine += u64::from(work());
                }
                done.fetch_add(mine, Ordering::Relaxed);
            });
        }
        barrier.wait();
    });
    done.load(Ordering::Relaxed) as f64 / BURST.as_secs_f64()
}
