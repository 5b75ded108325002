//! The tables, and how they came to be. A change adds a migration to the end of [`MIGRATIONS`] and never edits one.
//!
//! Records lie in a ring of [`SLOTS`] partitions. All nodes write into the one that `meta.slot` names; when it is long and the
//! next one is empty, they move on, and a partition of which no record is wanted any more is emptied as a whole. That
//! is only a matter of space: a record may lie in any of them.

use tokio_postgres::{Client, Transaction};

use super::connect::{STAND_STILL_MAX, Trouble};
use crate::Error;

/// How many partitions the records lie in.
pub(crate) const SLOTS: i32 = 4;

/// What each version adds. The version of a database is how many of them it has had.
const MIGRATIONS: [&str; 3] = [
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
    r"
ALTER TABLE stride.meta ADD COLUMN name text;
ALTER TABLE stride.cells ADD COLUMN database int4 NOT NULL DEFAULT 0, ADD COLUMN moves_to int4,
    ADD COLUMN moves int8 NOT NULL DEFAULT 0;
CREATE TABLE stride.databases (
    number int4 PRIMARY KEY CHECK (number > 0),
    name text NOT NULL UNIQUE,
    url text NOT NULL
);
",
];

/// Of all sessions that migrate at the same time, one does.
const LOCK: i64 = 0x5354_5249_4445;

/// What the tables of a database are to say.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The name of the cluster. A first database that has none gets it; a further one has to have it.
    pub(crate) cluster: String,
    pub(crate) cells: u16,
    /// The name of a further database; none of the first one.
    pub(crate) further: Option<String>,
}

/// What the tables of a database say.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) cluster: String,
    pub(crate) cells: u16,
    /// The name of a further database; none of the first one.
    pub(crate) further: Option<String>,
}

/// Brings the tables to this release's version, makes those of a first database if there are none, and says which cluster they
/// are of.
pub(crate) async fn prepare(client: &mut Client, identity: &Identity) -> Result<String, Trouble> {
    let transaction = begin(client).await?;
    migrate(&transaction).await?;
    let meta = match (meta(&transaction).await?, &identity.further) {
        (Some(meta), _) => meta,
        (None, None) => fill(&transaction, identity).await?,
        (None, Some(name)) => {
            return Err(unfit(format!("it is empty, and was {name} of the cluster {}", identity.cluster)));
        }
    };
    match (&identity.further, &meta.further) {
        (None, None) => {}
        (None, Some(name)) => {
            let why = format!(
                "it is the further database {name} of the cluster {}; name that cluster's first one",
                meta.cluster
            );
            return Err(unfit(why));
        }
        (Some(name), found) => {
            if found.as_ref() != Some(name) || meta.cluster != identity.cluster {
                let found = found.as_deref().unwrap_or("the first database");
                let why = format!(
                    "it is {found} of the cluster {} and not {name} of {}; bring that one back, or say where it is with \
                     `stride cluster readdress`",
                    meta.cluster, identity.cluster
                );
                return Err(unfit(why));
            }
        }
    }
    check_cells(&meta, identity.cells)?;
    transaction.commit().await?;
    Ok(meta.cluster)
}

/// What the first database of a cluster that exists says.
pub(crate) async fn look(client: &mut Client) -> Result<Meta, Trouble> {
    let transaction = begin(client).await?;
    migrate(&transaction).await?;
    let found = meta(&transaction).await?;
    let Some(meta) = found.filter(|meta| meta.further.is_none()) else {
        return Err(unfit("it is not the first database of a cluster; name that one with --cluster".into()));
    };
    transaction.commit().await?;
    Ok(meta)
}

/// Makes a database a further one of a cluster, under the name in `identity` if it has none, and says which name it has.
pub(crate) async fn join(client: &mut Client, identity: &Identity) -> Result<String, Trouble> {
    let transaction = begin(client).await?;
    migrate(&transaction).await?;
    let meta = match meta(&transaction).await? {
        Some(meta) => meta,
        None => fill(&transaction, identity).await?,
    };
    if meta.cluster != identity.cluster {
        return Err(unfit(format!("it is of another cluster, {}; name a database of its own", meta.cluster)));
    }
    check_cells(&meta, identity.cells)?;
    let name = meta.further.ok_or_else(|| unfit("it is the first database of this cluster already".into()))?;
    transaction.commit().await?;
    Ok(name)
}

async fn begin(client: &mut Client) -> Result<Transaction<'_>, Trouble> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(STAND_STILL_MAX).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    Ok(transaction)
}

async fn migrate(transaction: &Transaction<'_>) -> Result<(), Trouble> {
    let version = version(transaction).await?;
    let ours = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version > ours {
        return Err(unfit(format!(
            "its tables have version {version} and this release knows {ours}; start a release that is as new as the one that \
             migrated them"
        )));
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    if version < ours {
        transaction.execute("UPDATE stride.version SET version = $1", &[&ours]).await?;
    }
    Ok(())
}

async fn meta(transaction: &Transaction<'_>) -> Result<Option<Meta>, Trouble> {
    let row = transaction.query_opt("SELECT cluster, cells, name FROM stride.meta", &[]).await?;
    Ok(row.map(|row| Meta {
        cluster: row.get(0),
        cells: u16::try_from(row.get::<_, i32>(1)).unwrap_or(0),
        further: row.get(2),
    }))
}

/// Gives new tables their content.
async fn fill(transaction: &Transaction<'_>, identity: &Identity) -> Result<Meta, Trouble> {
    let Identity { cluster, cells, further } = identity.clone();
    let begun = "INSERT INTO stride.meta (cluster, cells, name) VALUES ($1, $2, $3)";
    transaction.execute(begun, &[&cluster, &i32::from(cells), &further]).await?;
    let rows = "INSERT INTO stride.cells (cell) SELECT generate_series(0, $1 - 1)";
    transaction.execute(rows, &[&i32::from(cells)]).await?;
    Ok(Meta { cluster, cells, further })
}

fn check_cells(meta: &Meta, asked: u16) -> Result<(), Error> {
    if meta.cells == asked { Ok(()) } else { Err(Error::CellsFixed { stored: meta.cells.into(), asked }) }
}

fn unfit(why: String) -> Trouble {
    Error::Unfit(why).into()
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
