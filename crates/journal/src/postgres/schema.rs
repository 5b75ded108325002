//! The tables, and how they came to be. A change adds a migration to the end of [`MIGRATIONS`] and never edits one.
//!
//! Records lie in a ring of [`SLOTS`] partitions. All nodes write into the one that `meta.slot` names; when it is long and the
//! next one is empty, they move on, and a partition of which no record is wanted any more is emptied as a whole. That
//! is only a matter of space: a record may lie in any of them.

use tokio_postgres::{Client, Transaction};

use super::connect::Trouble;
use crate::Error;

/// How many partitions the records lie in.
pub(crate) const SLOTS: i32 = 4;

/// What each version adds. The version of a database is how many of them it has had.
const MIGRATIONS: [&str; 2] = [
    r"
CREATE TABLE stride.meta (
    single bool PRIMARY KEY DEFAULT true CHECK (single),
    cluster text NOT NULL,
    cells int4 NOT NULL,
    home text NOT NULL,
    slot int4 NOT NULL DEFAULT 0
);
CREATE TABLE stride.cells (
    cell int4 PRIMARY KEY,
    epoch int8 NOT NULL DEFAULT 0,
    holder int8 NOT NULL DEFAULT 0,
    last int8 NOT NULL DEFAULT 0,
    floor int8 NOT NULL DEFAULT 0,
    asked int8 NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
CREATE TABLE stride.records (
    slot int4 NOT NULL,
    cell int4 NOT NULL,
    seq int8 NOT NULL,
    epoch int8 NOT NULL,
    holder int8 NOT NULL,
    crc int4 NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (cell, seq, slot)
) PARTITION BY LIST (slot);
ALTER TABLE stride.records ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE stride.records_0 PARTITION OF stride.records FOR VALUES IN (0) WITH (autovacuum_enabled = false);
CREATE TABLE stride.records_1 PARTITION OF stride.records FOR VALUES IN (1) WITH (autovacuum_enabled = false);
CREATE TABLE stride.records_2 PARTITION OF stride.records FOR VALUES IN (2) WITH (autovacuum_enabled = false);
CREATE TABLE stride.records_3 PARTITION OF stride.records FOR VALUES IN (3) WITH (autovacuum_enabled = false);
",
    "ALTER TABLE stride.meta DROP COLUMN home",
];

/// Of all sessions that migrate at the same time, one does.
const LOCK: i64 = 0x5354_5249_4445;

/// What the tables of a new database are begun with, and those of an old one are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The name that the database gets if it has none.
    pub(crate) cluster: String,
    pub(crate) cells: u16,
}

/// Brings the tables to this release's version, makes them if there are none, and says which cluster they are of.
pub(crate) async fn prepare(client: &mut Client, identity: &Identity) -> Result<String, Trouble> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let version = version(&transaction).await?;
    let ours = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version > ours {
        return Err(Error::Unfit(format!(
            "its tables have version {version} and this release knows {ours}; start a release that is as new as the one that \
             migrated them"
        ))
        .into());
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    if version < ours {
        transaction.execute("UPDATE stride.version SET version = $1", &[&ours]).await?;
    }
    let begun = "INSERT INTO stride.meta (cluster, cells) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let cells = i32::from(identity.cells);
    if transaction.execute(begun, &[&identity.cluster, &cells]).await? == 1 {
        let rows = "INSERT INTO stride.cells (cell) SELECT generate_series(0, $1 - 1)";
        transaction.execute(rows, &[&cells]).await?;
    }
    let meta = transaction.query_one("SELECT cluster, cells FROM stride.meta", &[]).await?;
    let (cluster, stored): (String, i32) = (meta.get(0), meta.get(1));
    if stored != cells {
        let stored = usize::try_from(stored).unwrap_or(0);
        return Err(Error::CellsFixed { stored, asked: identity.cells }.into());
    }
    transaction.commit().await?;
    Ok(cluster)
}

/// The version of the tables; zero and an empty schema if there was nothing.
async fn version(transaction: &Transaction<'_>) -> Result<i32, Trouble> {
    let there: bool = transaction.query_one("SELECT to_regclass('stride.version') IS NOT NULL", &[]).await?.get(0);
    if !there {
        let begin = "CREATE SCHEMA IF NOT EXISTS stride; CREATE TABLE stride.version (version int4 NOT NULL); \
                     INSERT INTO stride.version VALUES (0)";
        transaction.batch_execute(begin).await?;
    }
    Ok(transaction.query_one("SELECT version FROM stride.version", &[]).await?.get(0))
}
