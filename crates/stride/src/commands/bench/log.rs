//! The journal, 1 KB a record: one committer against the bare disk, 64 against fjall.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use stride_ids::CellId;
use stride_journal::{
    Journal as _,
    embedded::{EmbeddedJournal, Settings},
};
use stride_sim::{Chance, Clock, disk::RealDisk};
use tokio::sync::oneshot;

use super::{
    floor::BareLog,
    table::{Against, Figures, Latencies, ratio},
};

pub(crate) const RECORD_LEN: usize = 1024;
const ROUNDS: usize = 8;
const APPENDS: usize = 300;
pub(crate) const COMMITTERS: u16 = 64;
pub(crate) const BURST: Duration = Duration::from_secs(2);
const BURSTS: usize = 3;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    alone(clock, figures, dir.path()).await?;
    together(clock, figures, dir.path()).await
}

/// One record of 1 KB.
pub(crate) fn record() -> Bytes {
    (0..RECORD_LEN).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>().into()
}

fn open(dir: &Path) -> anyhow::Result<EmbeddedJournal> {
    Ok(EmbeddedJournal::open(Arc::new(RealDisk), dir, Settings::default(), Chance::from_os())?)
}

async fn alone(clock: &Clock, figures: &mut Figures, dir: &Path) -> anyhow::Result<()> {
    let (mut log, journal, record) = (BareLog::create(&dir.join("bare"))?, open(&dir.join("alone"))?, record());
    let epoch = journal.open_one(CellId(0))?.epoch;
    let (mut bare, mut append) = (Latencies::new(), Latencies::new());
    for _ in 0..ROUNDS {
        log.time(clock, &record, APPENDS, &mut bare)?;
        for _ in 0..APPENDS {
            let began = clock.now();
            journal.append(CellId(0), epoch, record.clone())?.await?;
            append.add(clock.now() - began);
        }
    }
    figures.latency("bare write + fdatasync, 1 KB", &bare, None);
    let against = Against { baseline: "bare fdatasync", ratio: ratio(append.p50(), bare.p50()), goal: "p50 <= 1.1x" };
    figures.latency("journal append, 1 KB", &append, Some(against));
    Ok(())
}

async fn together(clock: &Clock, figures: &mut Figures, dir: &Path) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for burst in 0..BURSTS {
        ours.push(journal_burst(clock, &dir.join(format!("journal-{burst}"))).await?);
        theirs.push(fjall_burst(clock, &dir.join(format!("fjall-{burst}"))).await?);
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_unstable_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, theirs) = (median(ours), median(theirs));
    figures.value("fjall 3, 64 committers in groups, 1 KB", format!("{theirs:.0}/s"), None);
    let against = Against { baseline: "fjall 3", ratio: ours / theirs, goal: "rate >= 1.3x" };
    figures.value("journal, 64 committers, 1 KB", format!("{ours:.0}/s"), Some(against));
    Ok(())
}

/// How many records a second 64 committers append to a journal in `dir`.
pub(crate) async fn journal_burst(clock: &Clock, dir: &Path) -> anyhow::Result<f64> {
    let journal = Arc::new(open(dir)?);
    let mut committers = Vec::new();
    for cell in (0..COMMITTERS).map(CellId) {
        let (journal, epoch, record) = (journal.clone(), journal.open_one(cell)?.epoch, record());
        committers.push(move || {
            let pending = journal.append(cell, epoch, record.clone());
            async move { pending?.await.map(drop).context("an append failed") }
        });
    }
    burst(clock, committers).await
}

/// The best that fjall can do for many committers: one thread puts all who wait into one durable batch.
async fn fjall_burst(clock: &Clock, dir: &Path) -> anyhow::Result<f64> {
    type Waiting = (Vec<u8>, Bytes, oneshot::Sender<()>);
    let db = fjall::Database::builder(dir).open()?;
    let keyspace = db.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
    let (send, receive) = std::sync::mpsc::channel::<Waiting>();
    let committer = std::thread::spawn(move || -> fjall::Result<()> {
        while let Ok(first) = receive.recv() {
            let waiting: Vec<Waiting> = std::iter::once(first).chain(receive.try_iter()).collect();
            let mut batch = db.batch().durability(Some(fjall::PersistMode::SyncData));
            for (key, record, _) in &waiting {
                batch.insert(&keyspace, &key[..], &record[..]);
            }
            batch.commit()?;
            // Whoever does not wait any longer does not need the answer.
            for (_, _, done) in waiting {
                let _ = done.send(());
            }
        }
        Ok(())
    });
    let committers = (0..COMMITTERS).map(|n| {
        let (send, record) = (send.clone(), record());
        let mut seq = 0u64;
        move || {
            seq += 1;
            let key = [&n.to_be_bytes()[..], &seq.to_be_bytes()].concat();
            let (done, wait) = oneshot::channel();
            let sent = send.send((key, record.clone(), done));
            async move {
                sent.ok().context("the committer ended")?;
                wait.await.context("a commit failed")
            }
        }
    });
    let rate = burst(clock, committers.collect()).await?;
    drop(send);
    committer.join().ok().context("the committer panicked")??;
    Ok(rate)
}

/// How many commits a second all committers make together.
pub(crate) async fn burst<W, F>(clock: &Clock, committers: Vec<W>) -> anyhow::Result<f64>
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let began = clock.now();
    let tasks: Vec<_> = committers
        .into_iter()
        .map(|mut commit| {
            let clock = clock.clone();
            tokio::spawn(async move {
                let mut commits = 0u64;
                while clock.now() - began < BURST {
                    commit().await?;
                    commits += 1;
                }
                anyhow::Ok(commits)
            })
        })
        .collect();
    let mut commits = 0;
    for task in tasks {
        commits += task.await??;
    }
    Ok(commits as f64 / (clock.now() - began).as_secs_f64())
}
