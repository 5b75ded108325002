//! The journal in PostgreSQL, 1 KB a record: one caller against the bare fenced transaction; 64 callers against the same on one
//! connection, which the journal has as well, and on 64. The server is one of our own, on this machine, and syncs its disk.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use stride_ids::{CELLS_EMBEDDED, CellId, Epoch, Incarnation};
use stride_journal::{
    Journal as _,
    postgres::{PostgresJournal, Settings},
};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};
use tokio_postgres::{Client, NoTls, Statement};

use super::{
    log::{COMMITTERS, burst, record},
    table::{Against, Figures, Latencies, ratio},
};

const ROUNDS: usize = 8;
const APPENDS: usize = 300;
const BURSTS: usize = 3;

/// What one would write by hand: the owner's row is locked and compared in the statement that stores, and nothing else is kept.
const BARE_TABLES: &str = "
CREATE TABLE IF NOT EXISTS owners (cell int4 PRIMARY KEY, epoch int8 NOT NULL);
INSERT INTO owners SELECT generate_series(0, 63), 1 ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS bare (cell int4, seq int8, bytes bytea NOT NULL, PRIMARY KEY (cell, seq))";
const BARE: &str = "INSERT INTO bare SELECT o.cell, $2, $3 FROM owners o WHERE o.cell = $1 AND o.epoch = 1 FOR SHARE";

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let server = Server::start()?;
    let url = server.url("postgres");
    let bare = Bare::connect(&url).await?;
    let settings = Settings { url: url.clone(), cells: CELLS_EMBEDDED, incarnation: Incarnation::of_bits(1) };
    let journal = Arc::new(PostgresJournal::open(settings, clock.clone(), Chance::from_os())?);
    let epochs =
        (0..COMMITTERS).map(|cell| Ok(journal.open_one(CellId(cell))?.epoch)).collect::<anyhow::Result<Vec<_>>>()?;

    alone(clock, figures, &bare, &journal, epochs[0]).await?;
    let (mut on_one, mut on_many, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BURSTS {
        on_one.push(bare_burst(clock, &url, 1).await?);
        on_many.push(bare_burst(clock, &url, usize::from(COMMITTERS)).await?);
        ours.push(journal_burst(clock, &journal, &epochs).await?);
    }
    let (on_one, on_many, ours) = (median(on_one), median(on_many), median(ours));
    figures.value("bare fenced transaction, 64 callers on 64 connections", format!("{on_many:.0}/s"), None);
    figures.value("bare fenced transaction, 64 callers on one connection", format!("{on_one:.0}/s"), None);
    let against = Against { baseline: "bare, one connection", ratio: ours / on_one, goal: "rate >= 5x" };
    figures.value("PostgreSQL journal, 64 callers, one connection", format!("{ours:.0}/s"), Some(against));
    Ok(())
}

async fn alone(
    clock: &Clock,
    figures: &mut Figures,
    bare: &Bare,
    journal: &PostgresJournal,
    epoch: Epoch,
) -> anyhow::Result<()> {
    let (mut by_hand, mut append, record) = (Latencies::new(), Latencies::new(), record());
    let mut seq = first_seq();
    for _ in 0..ROUNDS {
        for _ in 0..APPENDS {
            seq += 1;
            let began = clock.now();
            bare.commit(0, seq, &record).await?;
            by_hand.add(clock.now() - began);
        }
        for _ in 0..APPENDS {
            let began = clock.now();
            journal.append(CellId(0), epoch, record.clone())?.await?;
            append.add(clock.now() - began);
        }
    }
    figures.latency("bare fenced transaction, 1 KB", &by_hand, None);
    let against =
        Against { baseline: "bare transaction", ratio: ratio(append.p50(), by_hand.p50()), goal: "p50 <= 1.3x" };
    figures.latency("PostgreSQL journal append, 1 KB", &append, Some(against));
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// 64 callers on so many connections. Callers of the same connection do not wait for one another.
async fn bare_burst(clock: &Clock, url: &str, connections: usize) -> anyhow::Result<f64> {
    let mut bares = Vec::new();
    for _ in 0..connections {
        bares.push(Arc::new(Bare::connect(url).await?));
    }
    let committer = |cell: u16| {
        let (bare, record) = (bares[usize::from(cell) % connections].clone(), record());
        let mut seq = first_seq();
        move || {
            seq += 1;
            let (bare, record) = (bare.clone(), record.clone());
            async move { bare.commit(cell, seq, &record).await }
        }
    };
    burst(clock, (0..COMMITTERS).map(committer).collect()).await
}

/// Behind whatever others have stored, or before it.
fn first_seq() -> i64 {
    (Chance::from_os().below(1 << 30) << 32) as i64
}

async fn journal_burst(clock: &Clock, journal: &Arc<PostgresJournal>, epochs: &[Epoch]) -> anyhow::Result<f64> {
    let committer = |(cell, epoch): (CellId, Epoch)| {
        let (journal, record) = (journal.clone(), record());
        move || {
            let pending = journal.append(cell, epoch, record.clone());
            async move { pending?.await.map(drop).context("an append failed") }
        }
    };
    burst(clock, (0..COMMITTERS).map(CellId).zip(epochs.iter().copied()).map(committer).collect()).await
}

/// A connection on which each record is a transaction.
struct Bare {
    client: Client,
    statement: Statement,
}

impl Bare {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection of the baseline broke");
            }
        });
        client.batch_execute(BARE_TABLES).await?;
        let statement = client.prepare(BARE).await?;
        Ok(Self { client, statement })
    }

    async fn commit(&self, cell: u16, seq: i64, record: &Bytes) -> anyhow::Result<()> {
        let stored = self.client.execute(&self.statement, &[&i32::from(cell), &seq, &&record[..]]).await?;
        anyhow::ensure!(stored == 1, "the baseline's transaction was fenced");
        Ok(())
    }
}
