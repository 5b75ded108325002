//! One connection to the server: how it is made and checked, the statements on it, and what its errors mean.
//!
//! Always true: a session commits synchronously whatever the server's default is; a warning of the server in a session
//! makes everything in flight in it doubtful, because a commit that "might not have been replicated" is reported as a
//! success with a warning; no statement is ever cancelled.
//! Not here: when what is sent (see `lane`), and what is made of it (see `tail`).

use std::{
    fmt::Write as _,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::{try_join_all, try_join3};
use stride_ids::{CellId, Epoch, Seq};
use tokio::task::JoinHandle;
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, Statement,
    config::{SslMode, TargetSessionAttrs},
    error::Severity,
    types::ToSql,
};

use super::{
    schema::{self, Identity, SLOTS},
    tail::{Batch, Ordered, Status},
};
use crate::{Error, Record};

/// How long connecting to one host may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a host may be silent before its connection counts as broken.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The oldest server that has everything the statements use.
const VERSION_MIN: i32 = 130_000;

/// What a session needs that it does not have by itself. `set_config` on what the server knows, so that each version gets
/// only what it has.
const SET_UP: &str = "
SELECT set_config(name, wanted, false) FROM (VALUES
    ('default_transaction_isolation', 'read committed'), ('plan_cache_mode', 'force_generic_plan'),
    ('client_min_messages', 'warning'), ('statement_timeout', '0'), ('lock_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0')
) AS w(name, wanted) JOIN pg_settings USING (name);
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply'";

const CHECK: &str = "SELECT current_setting('server_version_num')::int4, current_setting('fsync'),
    current_setting('full_page_writes'), current_setting('synchronous_standby_names'),
    (SELECT count(*) FROM pg_stat_replication)";

/// Stores the part of each cell that is still owned and that continues it; a slot's name takes the place of `SLOT`.
const STORE: &str = "
WITH parts AS (
    SELECT * FROM unnest($2::int4[], $3::int8[], $4::int8[], $5::int8[]) AS p(cell, epoch, before, last)
), fenced AS (
    UPDATE stride.cells c SET last = p.last FROM parts p
    WHERE c.cell = p.cell AND c.epoch = p.epoch AND c.holder = $1 AND c.last = p.before
    RETURNING c.cell, c.epoch
), stored AS (
    INSERT INTO stride.records_SLOT (slot, cell, seq, epoch, holder, crc, bytes)
    SELECT SLOT, r.cell, r.seq, f.epoch, $1, r.crc, r.bytes
    FROM unnest($6::int4[], $7::int8[], $8::int4[], $9::bytea[]) AS r(cell, seq, crc, bytes) JOIN fenced f USING (cell)
)
SELECT cell FROM fenced";

/// The same for a single record, which is what a caller who is alone waits for: an eighth less of it.
const STORE_ONE: &str = "
WITH fenced AS (
    UPDATE stride.cells SET last = $4::int8
    WHERE cell = $2::int4 AND epoch = $3::int8 AND holder = $1::int8 AND last = $4::int8 - 1
    RETURNING cell
)
INSERT INTO stride.records_SLOT (slot, cell, seq, epoch, holder, crc, bytes)
SELECT SLOT, cell, $4::int8, $3::int8, $1::int8, $5::int4, $6::bytea FROM fenced";

/// Asks about cells with a write: it waits for what is still being committed, and when it is itself committed, then so is,
/// on the standbys too, everything that it saw.
const ASK: &str = "
UPDATE stride.cells c SET asked = c.asked + 1 FROM unnest($1::int4[]) AS a(cell)
WHERE c.cell = a.cell RETURNING c.cell, c.epoch, c.holder, c.last";

const OWN_LAST: &str = "SELECT max(seq) FROM stride.records WHERE cell = $1 AND epoch = $2 AND holder = $3";

const TAKE_OVER: &str =
    "UPDATE stride.cells SET epoch = epoch + 1, holder = $2 WHERE cell = $1 RETURNING epoch, last, floor";

const REPLAY: &str = "
SELECT c.floor, c.last, r.seq, r.epoch, r.crc, r.bytes
FROM stride.cells c LEFT JOIN stride.records r ON r.cell = c.cell AND r.seq > $2
WHERE c.cell = $1 ORDER BY r.seq";

const FLOORS: &str = "
UPDATE stride.cells c SET floor = greatest(c.floor, f.floor)
FROM unnest($2::int4[], $3::int8[], $4::int8[]) AS f(cell, epoch, floor)
WHERE c.cell = f.cell AND c.epoch = f.epoch AND c.holder = $1";

const TAKEN: &str = "
SELECT c.cell FROM stride.cells c JOIN unnest($2::int4[], $3::int8[]) AS o(cell, epoch) USING (cell)
WHERE c.epoch <> o.epoch OR c.holder <> $1";

/// Why a statement or a connection failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Trying again may help.
    Passing(String),
    /// The server does not let us in. Whoever begins has to change something; who was in before waits until it does again.
    Refused(String),
    /// It will not help, until somebody does something.
    Lasting(Error),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        // Authorization, unknown database, and whatever a role may not do.
        let refused = |code: &str| code.starts_with("28") || code.starts_with("3D") || code == "42501";
        match error.code() {
            Some(state) if refused(state.code()) => Self::Refused(described(&error)),
            _ => Self::Passing(described(&error)),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// An error with its causes: the driver keeps what the server said out of its own message.
fn described(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let hint = said.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        return format!("the server says: {}{hint} ({})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Reads a connection string; what the journal cannot do without is set, whatever it says.
pub(crate) fn config_of(url: &str) -> Result<Config, Error> {
    let wrong =
        |why: String| Error::Invalid(format!("{why}; a database is named as in postgres://USER@HOST:5432/DATABASE"));
    let mut config: Config = url.parse().map_err(|e: tokio_postgres::Error| wrong(described(&e)))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("the connection string names no host".into()));
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err(Error::Invalid("sslmode=require: connections with TLS are not there yet".into()));
    }
    config.target_session_attrs(TargetSessionAttrs::ReadWrite).application_name("stride");
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_MAX);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE_MAX);
    }
    config.keepalives_idle(SILENCE_MAX / 2).keepalives_interval(SILENCE_MAX / 5).keepalives_retries(3);
    Ok(config)
}

/// A connection with its statements.
pub(crate) struct Session {
    client: Client,
    /// Ends with the connection.
    driver: JoinHandle<()>,
    warned: Arc<AtomicBool>,
    holder: i64,
    statements: Statements,
    /// What the server's settings put at risk.
    pub(crate) risks: Vec<String>,
    pub(crate) cluster: String,
}

struct Statements {
    /// By slot, as the next.
    store: Vec<Statement>,
    store_one: Vec<Statement>,
    ask: Statement,
    own_last: Statement,
    take_over: Statement,
    replay: Statement,
    floors: Statement,
    taken: Statement,
}

impl Session {
    pub(crate) async fn connect(config: &Config, identity: &Identity, holder: i64) -> Result<Self, Trouble> {
        let (mut client, mut connection) = config.connect(NoTls).await?;
        let warned = Arc::new(AtomicBool::new(false));
        let driver = tokio::spawn({
            let warned = warned.clone();
            async move {
                while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                    match message {
                        Ok(AsyncMessage::Notice(notice)) => {
                            // Read before the answer that it belongs to is handed on.
                            if notice.parsed_severity() == Some(Severity::Warning) {
                                tracing::warn!(server = notice.message(), "the database warns");
                                warned.store(true, Ordering::SeqCst);
                            }
                        }
                        Ok(_) => {}
                        Err(error) => {
                            tracing::debug!(error = described(&error), "a connection to the database ended");
                            return;
                        }
                    }
                }
            }
        });
        client.batch_execute(SET_UP).await?;
        let risks = check(&client).await?;
        let cluster = schema::prepare(&mut client, identity).await?;
        let statements = Statements::prepare(&client).await?;
        warned.store(false, Ordering::SeqCst);
        Ok(Self { client, driver, warned, holder, statements, risks, cluster })
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn ended(&mut self) {
        if !self.driver.is_finished() {
            // Whichever way it ended.
            let _ = (&mut self.driver).await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The answer, unless the server warned while it was on its way.
    fn certain<T>(&self, answer: T) -> Result<T, Trouble> {
        if self.warned.swap(false, Ordering::SeqCst) {
            return Err(Trouble::Passing("the server warned that a commit may not have been replicated".into()));
        }
        Ok(answer)
    }

    /// Stores a batch and says for which cells.
    pub(crate) async fn store(&self, batch: &Batch, slot: i32) -> Result<Vec<CellId>, Trouble> {
        let slot = usize::try_from(slot).unwrap_or(0);
        if let [record] = &batch.records[..] {
            return self.store_one(record, slot).await;
        }
        let parts = &batch.parts;
        let cells: Vec<i32> = parts.iter().map(|part| i32::from(part.cell.0)).collect();
        let epochs: Vec<i64> = parts.iter().map(|part| part.epoch.0 as i64).collect();
        let befores: Vec<i64> = parts.iter().map(|part| part.before.0 as i64).collect();
        let lasts: Vec<i64> = parts.iter().map(|part| part.last.0 as i64).collect();
        let records = &batch.records;
        let record_cells: Vec<i32> = records.iter().map(|record| i32::from(record.cell.0)).collect();
        let seqs: Vec<i64> = records.iter().map(|record| record.seq.0 as i64).collect();
        let crcs: Vec<i32> = records.iter().map(|r| crc(r.cell, r.epoch, r.seq, &r.bytes)).collect();
        let bytes: Vec<&[u8]> = records.iter().map(|record| &record.bytes[..]).collect();
        let all: [&(dyn ToSql + Sync); 9] =
            [&self.holder, &cells, &epochs, &befores, &lasts, &record_cells, &seqs, &crcs, &bytes];
        let rows = self.client.query(&self.statements.store[slot], &all).await?;
        self.certain(rows.iter().map(|row| cell_of(row.get(0))).collect())
    }

    async fn store_one(&self, record: &Ordered, slot: usize) -> Result<Vec<CellId>, Trouble> {
        let Ordered { cell, epoch, seq, bytes } = record;
        let crc = crc(*cell, *epoch, *seq, bytes);
        let (id, epoch, seq) = (i32::from(cell.0), epoch.0 as i64, seq.0 as i64);
        let all: [&(dyn ToSql + Sync); 6] = [&self.holder, &id, &epoch, &seq, &crc, &&bytes[..]];
        let stored = self.client.execute(&self.statements.store_one[slot], &all).await?;
        self.certain(if stored == 1 { vec![*cell] } else { Vec::new() })
    }

    /// What the server holds of cells that are in doubt.
    pub(crate) async fn ask(&self, doubts: &[(CellId, Epoch)]) -> Result<Vec<Status>, Trouble> {
        let cells: Vec<i32> = doubts.iter().map(|(cell, _)| i32::from(cell.0)).collect();
        let rows = self.client.query(&self.statements.ask, &[&cells]).await?;
        let mut statuses = Vec::with_capacity(rows.len());
        for row in rows {
            let cell = cell_of(row.get(0));
            let Some((_, asked)) = doubts.iter().find(|(doubted, _)| *doubted == cell) else { continue };
            let epoch = Epoch(row.get::<_, i64>(1) as u64);
            let owned = epoch == *asked && row.get::<_, i64>(2) == self.holder;
            let own_last = if owned { None } else { self.own_last(cell, *asked).await? };
            statuses.push(Status { cell, epoch, owned, last: Seq(row.get::<_, i64>(3) as u64), own_last });
        }
        self.certain(statuses)
    }

    async fn own_last(&self, cell: CellId, epoch: Epoch) -> Result<Option<Seq>, Trouble> {
        let asked: [&(dyn ToSql + Sync); 3] = [&i32::from(cell.0), &(epoch.0 as i64), &self.holder];
        let row = self.client.query_one(&self.statements.own_last, &asked).await?;
        Ok(row.get::<_, Option<i64>>(0).map(|seq| Seq(seq as u64)))
    }

    /// Takes a cell over: its new epoch, its last record, and up to where records are given up.
    pub(crate) async fn take_over(&self, cell: CellId) -> Result<(Epoch, Seq, Seq), Trouble> {
        let row = self.client.query_one(&self.statements.take_over, &[&i32::from(cell.0), &self.holder]).await?;
        let number = |at| row.get::<_, i64>(at) as u64;
        self.certain((Epoch(number(0)), Seq(number(1)), Seq(number(2))))
    }

    /// The records of a cell after `after`; or the first that is missing, with where the cell's records begin and end.
    pub(crate) async fn replay(&self, cell: CellId, after: Seq) -> Result<Result<Vec<Record>, Hole>, Trouble> {
        let rows = self.client.query(&self.statements.replay, &[&i32::from(cell.0), &(after.0 as i64)]).await?;
        let Some(first) = rows.first() else {
            return Err(Error::Unfit(format!("its tables have no row for {cell}; restore them from a backup")).into());
        };
        let (floor, last) = (Seq(first.get::<_, i64>(0) as u64), Seq(first.get::<_, i64>(1) as u64));
        let mut records = Vec::with_capacity(rows.len());
        let mut expected = after.next();
        for row in &rows {
            let Some(seq) = row.get::<_, Option<i64>>(2).map(|seq| Seq(seq as u64)) else { break };
            if seq != expected {
                break;
            }
            let (epoch, stored): (i64, i32) = (row.get(3), row.get(4));
            let bytes: &[u8] = row.get(5);
            if crc(cell, Epoch(epoch as u64), seq, bytes) != stored {
                return Err(damaged(cell, seq, "its checksum does not match").into());
            }
            records.push(Record { seq, bytes: Bytes::copy_from_slice(bytes) });
            expected = seq.next();
        }
        if expected <= last { Ok(Err(Hole { at: expected, floor })) } else { Ok(Ok(records)) }
    }

    /// Tells the server up to where records can be given up.
    pub(crate) async fn tell_floors(&self, floors: &[(CellId, Epoch, Seq)]) -> Result<(), Trouble> {
        let cells: Vec<i32> = floors.iter().map(|(cell, ..)| i32::from(cell.0)).collect();
        let epochs: Vec<i64> = floors.iter().map(|(_, epoch, _)| epoch.0 as i64).collect();
        let seqs: Vec<i64> = floors.iter().map(|(.., seq)| seq.0 as i64).collect();
        self.client.execute(&self.statements.floors, &[&self.holder, &cells, &epochs, &seqs]).await?;
        Ok(())
    }

    /// Those of our cells that somebody else has by now.
    pub(crate) async fn taken(&self, ours: &[(CellId, Epoch)]) -> Result<Vec<CellId>, Trouble> {
        let cells: Vec<i32> = ours.iter().map(|(cell, _)| i32::from(cell.0)).collect();
        let epochs: Vec<i64> = ours.iter().map(|(_, epoch)| epoch.0 as i64).collect();
        let rows = self.client.query(&self.statements.taken, &[&self.holder, &cells, &epochs]).await?;
        Ok(rows.iter().map(|row| cell_of(row.get(0))).collect())
    }

    /// For statements that only the keeper has.
    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The connection would live on until its last answer; nobody waits for one.
        self.driver.abort();
    }
}

/// Records are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) at: Seq,
    pub(crate) floor: Seq,
}

pub(crate) fn damaged(cell: CellId, seq: Seq, what: &str) -> Error {
    Error::Damaged {
        file: "the table stride.records".into(),
        offset: seq.0,
        what: what.into(),
        at_risk: format!("record {seq} of {cell}"),
    }
}

fn cell_of(cell: i32) -> CellId {
    CellId(u16::try_from(cell).unwrap_or(u16::MAX))
}

/// Over a record and where it belongs, so that one in another's place is noticed as well.
fn crc(cell: CellId, epoch: Epoch, seq: Seq, bytes: &[u8]) -> i32 {
    let mut place = [0; 18];
    place[..2].copy_from_slice(&cell.0.to_le_bytes());
    place[2..10].copy_from_slice(&epoch.0.to_le_bytes());
    place[10..].copy_from_slice(&seq.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes) as i32
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, Trouble> {
        let by_slot = |sql: &str| (0..SLOTS).map(|slot| sql.replace("SLOT", &slot.to_string())).collect::<Vec<_>>();
        let (many, one) = (by_slot(STORE), by_slot(STORE_ONE));
        let (store, store_one, others) = try_join3(
            try_join_all(many.iter().map(|sql| client.prepare(sql))),
            try_join_all(one.iter().map(|sql| client.prepare(sql))),
            try_join_all([ASK, OWN_LAST, TAKE_OVER, REPLAY, FLOORS, TAKEN].map(|sql| client.prepare(sql))),
        )
        .await?;
        let [ask, own_last, take_over, replay, floors, taken] = <[Statement; 6]>::try_from(others)
            .map_err(|_| Trouble::Passing("not all statements were prepared".into()))?;
        Ok(Self { store, store_one, ask, own_last, take_over, replay, floors, taken })
    }
}

/// What the settings of a server are, as far as the promise depends on them.
#[derive(Clone, Debug)]
struct ServerSettings {
    version: i32,
    fsync: String,
    full_page_writes: String,
    synchronous_standbys: String,
    /// Those that are connected, and backups that are being made.
    standbys: i64,
}

async fn check(client: &Client) -> Result<Vec<String>, Trouble> {
    let row = client.query_one(CHECK, &[]).await?;
    let settings = ServerSettings {
        version: row.get(0),
        fsync: row.get(1),
        full_page_writes: row.get(2),
        synchronous_standbys: row.get(3),
        standbys: row.get(4),
    };
    Ok(settings.judge()?)
}

impl ServerSettings {
    /// Refuses a server that cannot keep the promise, and says what is at risk with one that may not.
    fn judge(&self) -> Result<Vec<String>, Error> {
        if self.version < VERSION_MIN {
            let major = self.version / 10_000;
            return Err(Error::Unfit(format!("it is PostgreSQL {major}; upgrade it to 13 or newer")));
        }
        if self.fsync == "off" {
            let why = "it runs with fsync = off, so a crash of its machine loses what it acknowledged; set fsync = on and reload it";
            return Err(Error::Unfit(why.into()));
        }
        let mut risks = Vec::new();
        if self.full_page_writes == "off" {
            risks.push(
                "the database runs with full_page_writes = off: unless its file system never tears a page, A CRASH OF ITS \
                 MACHINE DAMAGES WHAT WAS ACKNOWLEDGED; set full_page_writes = on"
                    .to_owned(),
            );
        }
        if self.standbys > 0 && self.synchronous_standbys.is_empty() {
            risks.push(format!(
                "the database has {} standby(s), and none is synchronous: A FAIL-OVER LOSES WHAT WAS ACKNOWLEDGED; set \
                 synchronous_standby_names (with Patroni: synchronous_mode and synchronous_mode_strict)",
                self.standbys
            ));
        }
        Ok(risks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lose_what_was_acknowledged_are_refused_or_warned_of() {
        let good = ServerSettings {
            version: 150_004,
            fsync: "on".into(),
            full_page_writes: "on".into(),
            synchronous_standbys: "*".into(),
            standbys: 1,
        };
        assert_eq!(good.judge(), Ok(vec![]));
        let alone = ServerSettings { synchronous_standbys: String::new(), standbys: 0, ..good.clone() };
        assert_eq!(alone.judge(), Ok(vec![]));
        let old = ServerSettings { version: 120_019, ..good.clone() };
        assert!(matches!(old.judge(), Err(Error::Unfit(why)) if why.contains("PostgreSQL 12")));
        let unsynced = ServerSettings { fsync: "off".into(), ..good.clone() };
        assert!(matches!(unsynced.judge(), Err(Error::Unfit(why)) if why.contains("fsync = on")));
        let torn = ServerSettings { full_page_writes: "off".into(), ..good.clone() };
        assert!(torn.judge().unwrap()[0].contains("full_page_writes = on"));
        let asynchronous = ServerSettings { synchronous_standbys: String::new(), ..good };
        assert!(asynchronous.judge().unwrap()[0].contains("synchronous_standby_names"));
    }

    #[test]
    fn a_checksum_covers_the_record_and_its_place() {
        let of = |cell, epoch, seq, bytes: &[u8]| crc(CellId(cell), Epoch(epoch), Seq(seq), bytes);
        let all = [of(1, 2, 3, b"x"), of(2, 2, 3, b"x"), of(1, 3, 3, b"x"), of(1, 2, 4, b"x"), of(1, 2, 3, b"y")];
        assert!((1..5).all(|n| !all[..n].contains(&all[n])));
    }
}
