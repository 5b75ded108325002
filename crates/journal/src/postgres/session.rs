//! One session of the journal: what it checks, the statements in it, and what their answers mean.
//!
//! Always true: what a warning makes doubtful is not handed on (see `connect`); no statement is ever cancelled.
//! Not here: when what is sent (see `lane`), and what is made of it (see `tail`).

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::{try_join_all, try_join3};
use stride_ids::{CellId, DatabaseId, Epoch, Seq};
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{
    connect::{Connection, Connector, Trouble},
    schema::{self, Identity, SLOTS},
    tail::{Batch, Ordered, Status},
};
use crate::{Error, Fenced, Record};

/// The oldest server that has everything the statements use.
const VERSION_MIN: i32 = 130_000;

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

/// Makes a new epoch for each of those cells that still have the one that was seen, or that we have already, if the answer to an
/// attempt was lost; and whose tail is still in the database that was seen. In the first database only, where this is the takeover
/// of the cells that are in it. The rows are locked in one order by all, so that two do not wait for each other.
const CLAIM: &str = "
WITH locked AS (
    SELECT c.cell, a.least
    FROM stride.cells c JOIN unnest($1::int4[], $3::int8[], $4::int8[]) AS a(cell, epoch, least) USING (cell)
    WHERE c.database = $5::int4 AND (c.epoch = a.epoch OR (c.epoch > a.epoch AND c.holder = $2::int8))
    ORDER BY c.cell FOR UPDATE OF c
)
UPDATE stride.cells c SET epoch = greatest(c.epoch, locked.least) + 1, holder = $2 FROM locked
WHERE c.cell = locked.cell RETURNING c.cell, c.epoch, c.last, c.floor";

/// Carries epochs to a further database. Each was made for one holder, so the same one is there already only if we have been here
/// before, or if nobody may store.
const FENCE: &str = "
WITH locked AS (
    SELECT c.cell, a.epoch FROM stride.cells c JOIN unnest($1::int4[], $3::int8[]) AS a(cell, epoch) USING (cell)
    WHERE c.epoch < a.epoch OR (c.epoch = a.epoch AND c.holder IN (0, $2::int8)) ORDER BY c.cell FOR UPDATE OF c
)
UPDATE stride.cells c SET epoch = locked.epoch, holder = $4::int8 FROM locked
WHERE c.cell = locked.cell RETURNING c.cell, c.epoch, c.last, c.floor";

const PLACES: &str = "SELECT cell, epoch, holder, database, last FROM stride.cells WHERE cell = ANY($1::int4[])";

/// A takeover by nobody. The floor goes along, for the next owner.
const RELEASE: &str = "
UPDATE stride.cells SET epoch = epoch + 1, holder = 0, floor = greatest(floor, $4)
WHERE cell = $1 AND epoch = $2 AND holder = $3";

const OWNER: &str = "SELECT epoch, holder FROM stride.cells WHERE cell = $1";

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

/// A connection with its statements.
pub(crate) struct Session {
    connection: Connection,
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
    claim: Statement,
    fence: Statement,
    places: Statement,
    release: Statement,
    owner: Statement,
    replay: Statement,
    floors: Statement,
    taken: Statement,
}

impl Session {
    pub(crate) async fn connect(connector: &Connector, identity: &Identity, holder: i64) -> Result<Self, Trouble> {
        let mut connection = connector.connect().await?;
        let risks = check(connection.client()).await?;
        let cluster = schema::prepare(connection.client_mut(), identity).await?;
        let statements = Statements::prepare(connection.client()).await?;
        connection.forget_warnings();
        Ok(Self { connection, holder, statements, risks, cluster })
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn ended(&mut self) {
        self.connection.ended().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed()
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
        let rows = self.connection.client().query(&self.statements.store[slot], &all).await?;
        self.connection.certain(rows.iter().map(|row| cell_of(row.get(0))).collect())
    }

    async fn store_one(&self, record: &Ordered, slot: usize) -> Result<Vec<CellId>, Trouble> {
        let Ordered { cell, epoch, seq, bytes } = record;
        let crc = crc(*cell, *epoch, *seq, bytes);
        let (id, epoch, seq) = (i32::from(cell.0), epoch.0 as i64, seq.0 as i64);
        let all: [&(dyn ToSql + Sync); 6] = [&self.holder, &id, &epoch, &seq, &crc, &&bytes[..]];
        let stored = self.connection.client().execute(&self.statements.store_one[slot], &all).await?;
        self.connection.certain(if stored == 1 { vec![*cell] } else { Vec::new() })
    }

    /// What the server holds of cells that are in doubt.
    pub(crate) async fn ask(&self, doubts: &[(CellId, Epoch)]) -> Result<Vec<Status>, Trouble> {
        let cells: Vec<i32> = doubts.iter().map(|(cell, _)| i32::from(cell.0)).collect();
        let rows = self.connection.client().query(&self.statements.ask, &[&cells]).await?;
        let mut statuses = Vec::with_capacity(rows.len());
        for row in rows {
            let cell = cell_of(row.get(0));
            let Some((_, asked)) = doubts.iter().find(|(doubted, _)| *doubted == cell) else { continue };
            let epoch = Epoch(row.get::<_, i64>(1) as u64);
            let owned = epoch == *asked && row.get::<_, i64>(2) == self.holder;
            let own_last = if owned { None } else { self.own_last(cell, *asked).await? };
            statuses.push(Status { cell, epoch, owned, last: Seq(row.get::<_, i64>(3) as u64), own_last });
        }
        self.connection.certain(statuses)
    }

    async fn own_last(&self, cell: CellId, epoch: Epoch) -> Result<Option<Seq>, Trouble> {
        let asked: [&(dyn ToSql + Sync); 3] = [&i32::from(cell.0), &(epoch.0 as i64), &self.holder];
        let row = self.connection.client().query_one(&self.statements.own_last, &asked).await?;
        Ok(row.get::<_, Option<i64>>(0).map(|seq| Seq(seq as u64)))
    }

    /// The numbers of the further databases. In the first one only, as all that says where something is.
    pub(crate) async fn databases(&mut self) -> Result<Vec<DatabaseId>, Trouble> {
        let rows = self.client().query("SELECT number FROM stride.databases ORDER BY number", &[]).await?;
        Ok(rows.iter().map(|row| database_of(row.get(0))).collect())
    }

    /// Name and address of a further database.
    pub(crate) async fn database(&mut self, number: DatabaseId) -> Result<Option<(String, String)>, Trouble> {
        let sql = "SELECT name, url FROM stride.databases WHERE number = $1";
        let row = self.client().query_opt(sql, &[&i32::from(number.0)]).await?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// Makes epochs for cells whose tails are in a database, if they still have those that were seen. In the first database only.
    pub(crate) async fn claim(
        &self,
        claims: &[Claim],
        database: DatabaseId,
    ) -> Result<HashMap<CellId, Taken>, Trouble> {
        let ids: Vec<i32> = claims.iter().map(|claim| i32::from(claim.cell.0)).collect();
        let epochs: Vec<i64> = claims.iter().map(|claim| claim.seen.0 as i64).collect();
        let least: Vec<i64> = claims.iter().map(|claim| claim.least.0 as i64).collect();
        let all: [&(dyn ToSql + Sync); 5] = [&ids, &self.holder, &epochs, &least, &i32::from(database.0)];
        let rows = self.connection.client().query(&self.statements.claim, &all).await?;
        self.connection.certain(Taken::by_cell(&rows))
    }

    /// Fences cells in a further database with epochs that the first one made: for this journal, or for nobody.
    pub(crate) async fn fence(
        &self,
        epochs: &[(CellId, Epoch)],
        for_us: bool,
    ) -> Result<HashMap<CellId, Taken>, Trouble> {
        let (ids, epochs): (Vec<i32>, Vec<i64>) =
            epochs.iter().map(|(cell, epoch)| (i32::from(cell.0), epoch.0 as i64)).unzip();
        let owner = if for_us { self.holder } else { 0 };
        let all: [&(dyn ToSql + Sync); 4] = [&ids, &self.holder, &epochs, &owner];
        let rows = self.connection.client().query(&self.statements.fence, &all).await?;
        self.connection.certain(Taken::by_cell(&rows))
    }

    /// What the rows of cells say.
    pub(crate) async fn places(&self, cells: &[CellId]) -> Result<Vec<Place>, Trouble> {
        let ids: Vec<i32> = cells.iter().map(|cell| i32::from(cell.0)).collect();
        let rows = self.connection.client().query(&self.statements.places, &[&ids]).await?;
        let place = |row: &Row| Place {
            cell: cell_of(row.get(0)),
            epoch: Epoch(row.get::<_, i64>(1) as u64),
            holder: row.get(2),
            database: database_of(row.get(3)),
            last: Seq(row.get::<_, i64>(4) as u64),
        };
        Ok(rows.iter().map(place).collect())
    }

    /// Gives a cell up, and says which epoch it has now; or an error if it is somebody else's.
    pub(crate) async fn release(
        &self,
        cell: CellId,
        epoch: Epoch,
        floor: Seq,
    ) -> Result<Result<Epoch, Fenced>, Trouble> {
        let (id, asked) = (i32::from(cell.0), epoch.0 as i64);
        let all: [&(dyn ToSql + Sync); 4] = [&id, &asked, &self.holder, &(floor.0 as i64)];
        let released = self.connection.client().execute(&self.statements.release, &all).await?;
        if released == 1 {
            return self.connection.certain(Ok(Epoch(epoch.0 + 1)));
        }
        // Somebody has it, or the answer to an attempt before this one was lost.
        let row =
            self.connection.client().query_opt(&self.statements.owner, &[&id]).await?.ok_or_else(|| no_row(cell))?;
        let (current, holder) = (Epoch(row.get::<_, i64>(0) as u64), row.get::<_, i64>(1));
        let ours = holder == 0 && current == Epoch(epoch.0 + 1);
        self.connection.certain(if ours { Ok(current) } else { Err(Fenced { cell, epoch, current }) })
    }

    /// The records of a cell after `after`; or the first that is missing, with where the cell's records begin and end.
    pub(crate) async fn replay(&self, cell: CellId, after: Seq) -> Result<Result<Vec<Record>, Hole>, Trouble> {
        let rows =
            self.connection.client().query(&self.statements.replay, &[&i32::from(cell.0), &(after.0 as i64)]).await?;
        let Some(first) = rows.first() else { return Err(no_row(cell).into()) };
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
        self.connection.client().execute(&self.statements.floors, &[&self.holder, &cells, &epochs, &seqs]).await?;
        Ok(())
    }

    /// Those of our cells that somebody else has by now.
    pub(crate) async fn taken(&self, ours: &[(CellId, Epoch)]) -> Result<Vec<CellId>, Trouble> {
        let cells: Vec<i32> = ours.iter().map(|(cell, _)| i32::from(cell.0)).collect();
        let epochs: Vec<i64> = ours.iter().map(|(_, epoch)| epoch.0 as i64).collect();
        let rows = self.connection.client().query(&self.statements.taken, &[&self.holder, &cells, &epochs]).await?;
        Ok(rows.iter().map(|row| cell_of(row.get(0))).collect())
    }

    /// The answer, unless the server warned while it was on its way.
    pub(crate) fn certain<T>(&self, answer: T) -> Result<T, Trouble> {
        self.connection.certain(answer)
    }

    pub(crate) fn holder(&self) -> i64 {
        self.holder
    }

    /// For statements that are not sent so often that they have to be prepared.
    pub(crate) fn client(&mut self) -> &mut Client {
        self.connection.client_mut()
    }
}

/// A cell to make an epoch for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) cell: CellId,
    /// The epoch that was seen in the first database.
    pub(crate) seen: Epoch,
    /// The new one has to be higher than this as well.
    pub(crate) least: Epoch,
}

impl From<(CellId, Epoch)> for Claim {
    fn from((cell, seen): (CellId, Epoch)) -> Self {
        Self { cell, seen, least: seen }
    }
}

/// What the row of a cell says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    pub(crate) holder: i64,
    /// Where its tail is; only the first database knows.
    pub(crate) database: DatabaseId,
    pub(crate) last: Seq,
}

/// What taking over a cell found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    pub(crate) last: Seq,
    /// Up to where records are given up.
    pub(crate) floor: Seq,
}

impl Taken {
    fn by_cell(rows: &[Row]) -> HashMap<CellId, Self> {
        let taken = rows.iter().map(|row| {
            let (cell, number) = (cell_of(row.get(0)), |at| row.get::<_, i64>(at) as u64);
            (cell, Self { cell, epoch: Epoch(number(1)), last: Seq(number(2)), floor: Seq(number(3)) })
        });
        taken.collect()
    }
}

pub(crate) fn no_row(cell: CellId) -> Error {
    Error::Unfit(format!("its tables have no row for {cell}; restore them from a backup"))
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

pub(crate) fn database_of(number: i32) -> DatabaseId {
    DatabaseId(u16::try_from(number).unwrap_or(u16::MAX))
}

fn cell_of(cell: i32) -> CellId {
    CellId(u16::try_from(cell).unwrap_or(u16::MAX))
}

/// Over a record and where it belongs, so that one in another's place is noticed as well.
pub(crate) fn crc(cell: CellId, epoch: Epoch, seq: Seq, bytes: &[u8]) -> i32 {
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
            try_join_all(
                [ASK, OWN_LAST, CLAIM, FENCE, PLACES, RELEASE, OWNER, REPLAY, FLOORS, TAKEN]
                    .map(|sql| client.prepare(sql)),
            ),
        )
        .await?;
        let [ask, own_last, claim, fence, places, release, owner, replay, floors, taken] =
            <[Statement; 10]>::try_from(others)
                .map_err(|_| Trouble::Passing("not all statements were prepared".into()))?;
        Ok(Self { store, store_one, ask, own_last, claim, fence, places, release, owner, replay, floors, taken })
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

pub(crate) async fn check(client: &Client) -> Result<Vec<String>, Trouble> {
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
