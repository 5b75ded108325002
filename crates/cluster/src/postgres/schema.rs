//! The tables, and how they came to be. A change adds a migration to the end of [`MIGRATIONS`] and never edits one.

use stride_journal::{Error, postgres::Trouble};
use tokio_postgres::Client;

/// What each version adds. The version of a database is how many of them it has had.
const MIGRATIONS: [&str; 4] = [
    r"
CREATE TABLE stride.nodes (
    name text PRIMARY KEY,
    incarnation int8 NOT NULL UNIQUE,
    home text,
    http text NOT NULL,
    peer text NOT NULL,
    labels jsonb NOT NULL,
    price int8 NOT NULL,
    cores int8 NOT NULL,
    memory int8 NOT NULL,
    release text NOT NULL,
    lease interval NOT NULL,
    seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    dead bool NOT NULL DEFAULT false,
    draining bool NOT NULL DEFAULT false,
    cells int8 NOT NULL DEFAULT 0,
    agents int8 NOT NULL DEFAULT 0,
    queue int8 NOT NULL DEFAULT 0,
    bytes int8 NOT NULL DEFAULT 0,
    deployed int8 NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
CREATE TABLE stride.wanted (
    cell int4 PRIMARY KEY,
    node text,
    why text NOT NULL DEFAULT '',
    pin text,
    bytes int8 NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE stride.reconciler (
    single bool PRIMARY KEY DEFAULT true CHECK (single),
    holder int8 NOT NULL DEFAULT 0,
    until timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE TABLE stride.control (
    single bool PRIMARY KEY DEFAULT true CHECK (single),
    nodes int8 NOT NULL DEFAULT 0,
    wanted int8 NOT NULL DEFAULT 0,
    deployments int8 NOT NULL DEFAULT 0
);
CREATE TABLE stride.deployments (
    number int8 PRIMARY KEY,
    tenant text NOT NULL,
    component text NOT NULL,
    entry jsonb,
    hash text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON stride.deployments (tenant, component, number);
INSERT INTO stride.reconciler DEFAULT VALUES;
INSERT INTO stride.control DEFAULT VALUES;
",
    r"
ALTER TABLE stride.control ADD COLUMN adopted text, ADD COLUMN closed text;
",
    r"
ALTER TABLE stride.wanted ADD COLUMN busy int8 NOT NULL DEFAULT 0;
",
    r"
ALTER TABLE stride.wanted ADD COLUMN labels jsonb NOT NULL DEFAULT '[]';
",
];

/// Of all sessions that migrate at the same time, one does.
const LOCK: i64 = 0x5354_5249_4446;

/// Brings the tables to this release's version, and gives every cell a row.
pub(super) async fn prepare(client: &mut Client) -> Result<(), Trouble> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let there = "SELECT to_regclass('stride.cells') IS NOT NULL, to_regclass('stride.control_version') IS NOT NULL";
    let row = transaction.query_one(there, &[]).await?;
    if !row.get::<_, bool>(0) {
        return Err(Error::Unfit("there is no journal in it; open that first".into()).into());
    }
    if !row.get::<_, bool>(1) {
        let begin = "CREATE TABLE stride.control_version (version int4 NOT NULL); INSERT INTO stride.control_version VALUES (0)";
        transaction.batch_execute(begin).await?;
    }
    let version: i32 = transaction.query_one("SELECT version FROM stride.control_version", &[]).await?.get(0);
    let ours = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version > ours {
        return Err(Error::Unfit(format!(
            "its tables of nodes have version {version} and this release knows {ours}; start a release that is as new as the \
             one that migrated them"
        ))
        .into());
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    if version < ours {
        transaction.execute("UPDATE stride.control_version SET version = $1", &[&ours]).await?;
    }
    transaction
        .batch_execute("INSERT INTO stride.wanted (cell) SELECT cell FROM stride.cells ON CONFLICT DO NOTHING")
        .await?;
    transaction.commit().await?;
    Ok(())
}
