//! The journal in PostgreSQL, 1 KB a record: one caller against the bare fenced transaction, and 64 against as many connections
//! that each commit for themselves. The server is one of our own, on this machine, with its disk synced.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use stride_ids::{CELLS_EMBEDDED, CellId, Epoch};
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
CREATE TABLE owners (cell int4 PRIMARY KEY, epoch int8 NOT NULL);
INSERT INTO owners SELECT generate_series(0, 63), 1;
CREATE TABLE bare (cell int4, seq int8, bytes bytea NOT NULL, PRIMARY KEY (cell, seq))";
const BARE: &str = "INSERT INTO bare SELECT o.cell, $2, $3 FROM owners o WHERE o.cell = $1 AND o.epoch = 1 FOR SHARE";

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let server = Server::start()?;
    let url = server.url("postgres");
    let mut first = Bare::connect(&url, 0).await?;
    first.client.batch_execute(BARE_TABLES).await?;
    let settings = Settings { url: url.clone(), cells: CELLS_EMBEDDED, home: "bench".into() };
    let journal = Arc::new(PostgresJournal::open(settings, clock.clone(), Chance::from_os())?);
    let epochs =
        (0..COMMITTERS).map(|cell| Ok(journal.open(CellId(cell))?.epoch)).collect::<anyhow::Result<Vec<_>>>()?;

    alone(clock, figures, &mut first, &journal, epochs[0]).await?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..BURSTS {
        theirs.push(bare_burst(clock, &url).await?);
        ours.push(journal_burst(clock, &journal, &epochs).await?);
    }
    let (theirs, ours) = (median(theirs), median(ours));
    figures.value("bare fenced transaction, 64 connections, 1 KB", format!("{theirs:.0}/s"), None);
    let against = Against { baseline: "bare, 64 connections", ratio: ours / theirs, goal: "rate >= 5x" };
    figures.value("PostgreSQL journal, 64 callers, 1 KB", format!("{ours:.0}/s"), Some(against));
    Ok(())
}

async fn alone(
    clock: &Clock,
    figures: &mut Figures,
    bare: &mut Bare,
    journal: &PostgresJournal,
    epoch: Epoch,
) -> anyhow::Result<()> {
    let (mut by_hand, mut append, record) = (Latencies::new(), Latencies::new(), record());
    for _ in 0..ROUNDS {
        for _ in 0..APPENDS {
            let began = clock.now();
            bare.commit(&record).await?;
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

async fn bare_burst(clock: &Clock, url: &str) -> anyhow::Result<f64> {
    let mut committers = Vec::new();
    for cell in 0..COMMITTERS {
        let bare = Arc::new(tokio::sync::Mutex::new(Bare::connect(url, cell).await?));
        let record = record();
        committers.push(move || {
            let (bare, record) = (bare.clone(), record.clone());
            async move { bare.lock().await.commit(&record).await }
        });
    }
    burst(clock, committers).await
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

/// A connection that commits one record at a time.
struct Bare {
    client: Client,
    statement: Option<Statement>,
    cell: i32,
    seq: i64,
}

impl Bare {
    async fn connect(url: &str, cell: u16) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection of the baseline broke");
            }
        });
        // Behind whatever other connections have stored in the cell.
        let seq = Chance::from_os().below(1 << 40) << 20;
        Ok(Self { client, statement: None, cell: i32::from(cell), seq: seq as i64 })
    }

    async fn commit(&mut self, record: &Bytes) -> anyhow::Result<()> {
        let statement = match &self.statement {
            Some(statement) => statement.clone(),
            None => self.statement.insert(self.client.prepare(BARE).await?).clone(),
        };
        self.seq += 1;
        let stored = self.client.execute(&statement, &[&self.cell, &self.seq, &&record[..]]).await?;
        anyhow::ensure!(stored == 1, "the baseline's transaction was fenced");
        Ok(())
    }
}
