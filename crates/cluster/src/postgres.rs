//! The tables in PostgreSQL, beside those of the journal, which say who owns a cell.
//!
//! One connection, one call at a time: a beat waits for the call before it, which is short. After an error the connection is made
//! again. All times are the server's `clock_timestamp()`: in a transaction `now()` would be when it began.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use stride_ids::{CellId, DatabaseId, Epoch, Incarnation, Name};
use stride_journal::postgres::{Connection, Connector, Trouble};
use tokio::sync::Mutex;
use tokio_postgres::{Row, types::ToSql};

use crate::{
    Change, NodeName, NodeRow, NodeSpec,
    spread::spread,
    tables::{CellRow, Deployment, Error, News, Pulse, Tables, Wanted, World},
};

mod schema;
mod transfer;

pub use transfer::State;

/// Takes a row over if the lease of whoever has it is over, or was declared so, or if it was the same directory's. Nobody joins a
/// cluster that was closed.
const JOIN: &str = "
WITH joined AS (
    INSERT INTO stride.nodes AS n (name, incarnation, home, http, peer, labels, price, cores, memory, release, lease)
    SELECT $1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9, $10, $11::int8 * interval '1 microsecond'
    WHERE NOT EXISTS (SELECT FROM stride.control WHERE closed IS NOT NULL)
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, home = excluded.home, http = excluded.http,
        peer = excluded.peer, labels = excluded.labels, price = excluded.price, cores = excluded.cores,
        memory = excluded.memory, release = excluded.release, lease = excluded.lease, seen = clock_timestamp(),
        dead = false, draining = false, cells = 0, agents = 0, queue = 0, bytes = 0, deployed = 0
    WHERE n.dead OR n.seen + n.lease < clock_timestamp() OR n.incarnation = excluded.incarnation OR n.home = excluded.home
    RETURNING name
), told AS (
    UPDATE stride.control SET nodes = nodes + 1 WHERE EXISTS (SELECT FROM joined)
)
SELECT (SELECT count(*) FROM joined), (SELECT peer FROM stride.nodes WHERE name = $1), (SELECT closed FROM stride.control)";

/// The old value of `draining` is read under the lock that the update takes.
const BEAT: &str = "
WITH before AS (
    SELECT name, draining FROM stride.nodes WHERE incarnation = $1 AND NOT dead FOR UPDATE
), beat AS (
    UPDATE stride.nodes n SET seen = clock_timestamp(), draining = $2, cells = $3, agents = $4, queue = $5, bytes = $6, deployed = $7
    FROM before b WHERE n.name = b.name RETURNING b.draining <> $2 AS drains
), told AS (
    UPDATE stride.control SET nodes = nodes + 1 WHERE (SELECT drains FROM beat) RETURNING nodes
)
SELECT (SELECT count(*) FROM beat), coalesce((SELECT nodes FROM told), c.nodes), c.wanted, c.deployments,
    (SELECT coalesce(sum(epoch + moves), 0)::int8 FROM stride.cells), (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
    EXISTS (SELECT FROM stride.nodes WHERE incarnation = $1)
FROM stride.control c";

/// Only what has changed: a row that is written again as it was leaves one to clean up all the same.
const SIZES: &str = "
UPDATE stride.wanted w SET bytes = coalesce(s.bytes, w.bytes), busy = coalesce(s.busy, w.busy), labels = s.labels::jsonb
FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::text[]) AS s(cell, bytes, busy, labels)
WHERE w.cell = s.cell
    AND (coalesce(s.bytes, w.bytes), coalesce(s.busy, w.busy), s.labels::jsonb) IS DISTINCT FROM (w.bytes, w.busy, w.labels)";

const NODES: &str = "
SELECT name, incarnation, home, http, peer, labels::text, price, cores, memory, release,
    (extract(epoch FROM clock_timestamp() - seen) * 1000000)::int8, dead, draining, cells, agents, queue, bytes, deployed
FROM stride.nodes";

const CELLS: &str = "
SELECT c.cell, c.epoch, c.holder, w.node, w.why, w.pin, coalesce(w.bytes, 0), coalesce(w.busy, 0), c.database, c.moves_to,
    coalesce(w.labels, '[]')::text
FROM stride.cells c LEFT JOIN stride.wanted w USING (cell) ORDER BY c.cell";

/// Who judges has to have been heard just now: a statement that was held up together with everybody's beats judges nobody.
const RECONCILE: &str = "
WITH kept AS (
    UPDATE stride.reconciler SET holder = $1, until = clock_timestamp() + $2::int8 * interval '1 microsecond'
    WHERE holder = $1 OR until < clock_timestamp() RETURNING holder
), judged AS (
    UPDATE stride.nodes SET dead = true
    WHERE $3::bool AND EXISTS (SELECT FROM kept) AND NOT dead AND seen + lease < clock_timestamp()
        AND EXISTS (SELECT FROM stride.nodes me WHERE me.incarnation = $1 AND me.seen + me.lease / 3 > clock_timestamp())
    RETURNING name
), forgotten AS (
    DELETE FROM stride.nodes WHERE EXISTS (SELECT FROM kept) AND dead AND seen < clock_timestamp() - interval '1 day'
), told AS (
    UPDATE stride.control SET nodes = nodes + (SELECT count(*) FROM judged) WHERE EXISTS (SELECT FROM judged)
)
SELECT (SELECT count(*) FROM kept), array(SELECT name FROM judged)";

const WANT: &str = "
WITH ours AS (
    SELECT holder FROM stride.reconciler WHERE holder = $1 AND until >= clock_timestamp() FOR UPDATE
), told AS (
    UPDATE stride.control SET wanted = wanted + 1 WHERE wanted = $2 AND EXISTS (SELECT FROM ours) RETURNING wanted
), changed AS (
    INSERT INTO stride.wanted (cell, node, why)
    SELECT c.cell, c.node, c.why FROM unnest($3::int4[], $4::text[], $5::text[]) AS c(cell, node, why), told
    ON CONFLICT (cell) DO UPDATE SET node = excluded.node, why = excluded.why
)
SELECT count(*) FROM told";

const PIN: &str = "
WITH told AS (
    UPDATE stride.control SET wanted = wanted + 1 WHERE $2::text IS NULL OR EXISTS (SELECT FROM stride.nodes WHERE name = $2)
    RETURNING wanted
), pinned AS (
    INSERT INTO stride.wanted (cell, pin)
    SELECT cell, $2 FROM stride.cells, told WHERE cell = ANY($1::int4[])
    ON CONFLICT (cell) DO UPDATE SET pin = excluded.pin
)
SELECT count(*) FROM told";

/// The rows are locked in the order in which all lock them. One that is there already stays.
const SEND: &str = "
WITH told AS (
    UPDATE stride.control SET wanted = wanted + 1
    WHERE $2::int4 = 0 OR EXISTS (SELECT FROM stride.databases WHERE number = $2) RETURNING wanted
), locked AS (
    SELECT cell FROM stride.cells WHERE cell = ANY($1::int4[]) ORDER BY cell FOR UPDATE
), sent AS (
    UPDATE stride.cells c SET moves_to = nullif($2, c.database) FROM locked, told WHERE c.cell = locked.cell
)
SELECT count(*) FROM told";

/// A write, as the journal's own question is: only a commit waits for the standbys, and a primary that was replaced has none.
const CONFIRM: &str = "
WITH ours AS (
    SELECT c.cell FROM stride.cells c JOIN unnest($2::int4[], $3::int8[]) AS a(cell, epoch) USING (cell, epoch)
    WHERE c.holder = $1 ORDER BY c.cell FOR UPDATE OF c
)
UPDATE stride.cells c SET asked = c.asked + 1 FROM ours WHERE c.cell = ours.cell RETURNING c.cell";

const LEAVE: &str = "
WITH gone AS (
    DELETE FROM stride.nodes WHERE incarnation = $1 RETURNING name
), free AS (
    UPDATE stride.reconciler SET until = '-infinity' WHERE holder = $1
)
UPDATE stride.control SET nodes = nodes + 1 WHERE EXISTS (SELECT FROM gone)";

const NEWEST: &str = "
SELECT c.deployments, (SELECT max(number) FROM stride.deployments WHERE tenant = $1 AND component = $2)
FROM stride.control c";

/// Only if nobody has deployed anything in the meantime. The row that counts is locked until the commit, so that numbers become
/// visible in their order.
const DEPLOY: &str = "
WITH told AS (
    UPDATE stride.control SET deployments = deployments + 1 WHERE deployments = $5 RETURNING deployments
), added AS (
    INSERT INTO stride.deployments (number, tenant, component, entry, hash)
    SELECT deployments, $1, $2, $3::text::jsonb, $4 FROM told
)
SELECT deployments FROM told";

const DEPLOYMENTS: &str = "
SELECT number, tenant, component, entry::text, hash FROM stride.deployments WHERE number > $1 ORDER BY number";

/// The tables in a database that a journal has been opened in.
pub struct PostgresTables {
    connector: Connector,
    connection: Mutex<Option<Connection>>,
}

impl PostgresTables {
    /// Connects when it is first asked for something, on the runtime of whoever asks, and makes the tables if there are none.
    ///
    /// # Errors
    /// [`Error::Unfit`] if the connection string cannot be used.
    pub fn new(url: &str) -> Result<Self, Error> {
        let connector = Connector::new(url).map_err(|e| Error::Unfit(e.to_string()))?;
        Ok(Self { connector, connection: Mutex::new(None) })
    }

    /// Has as many cells in each database as in the others, and says how many have to move. Their owners move them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Unfit`].
    pub async fn spread(&self) -> Result<usize, Error> {
        let mut databases = vec![DatabaseId::FIRST];
        let further = self.query("SELECT number FROM stride.databases ORDER BY number", &[]).await?;
        databases.extend(further.iter().map(|row| database(row.get(0))));
        let moves = spread(&self.world().await?.cells, &databases);
        for (to, cells) in &moves {
            self.send_tails(cells, *to).await?;
        }
        Ok(moves.values().map(Vec::len).sum())
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let mut connection = self.connector.connect().await?;
        schema::prepare(connection.client_mut()).await?;
        Ok(connection)
    }

    /// One statement, which is one transaction.
    async fn query(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let mut kept = self.connection.lock().await;
        let queried = async {
            // Taken out: who is cut off in the midst of a call, or gets an error, leaves no connection behind in an unknown state.
            let connection = match kept.take() {
                Some(connection) if !connection.is_closed() => connection,
                _ => self.connect().await?,
            };
            let rows = connection.client().query(sql, values).await?;
            let rows = connection.certain(rows)?;
            *kept = Some(connection);
            Ok(rows)
        };
        queried.await.map_err(error_of)
    }

    /// One statement whose answer is one row.
    async fn query_one(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        let rows = self.query(sql, values).await?;
        rows.into_iter()
            .next()
            .ok_or_else(|| Error::Unfit("stride.control has no row; restore it from a backup".into()))
    }
}

impl Tables for PostgresTables {
    fn join<'a>(&'a self, spec: &'a NodeSpec, lease: Duration) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let labels = labels_json(&spec.labels)?;
            let values: [&(dyn ToSql + Sync); 11] = [
                &spec.name.0.as_str(),
                &bits(spec.incarnation),
                &spec.home,
                &spec.http,
                &spec.peer,
                &labels,
                &signed(spec.price),
                &i64::from(spec.cores),
                &signed(spec.memory_bytes),
                &spec.release,
                &micros(lease),
            ];
            let row = self.query_one(JOIN, &values).await?;
            match row.get::<_, i64>(0) {
                0 if let Some(closed) = row.get::<_, Option<String>>(2) => Err(Error::is_closed(&closed)),
                0 => {
                    let peer = row.get::<_, Option<String>>(1).unwrap_or_default();
                    Err(Error::NameInUse { name: spec.name.clone(), peer })
                }
                _ => Ok(()),
            }
        })
    }

    fn beat<'a>(&'a self, pulse: &'a Pulse) -> BoxFuture<'a, Result<News, Error>> {
        Box::pin(async move {
            let values: [&(dyn ToSql + Sync); 7] = [
                &bits(pulse.incarnation),
                &pulse.draining,
                &i64::from(pulse.cells),
                &signed(pulse.load.agents),
                &signed(pulse.load.queue),
                &signed(pulse.bytes),
                &signed(pulse.deployed),
            ];
            let row = self.query_one(BEAT, &values).await?;
            match (row.get::<_, i64>(0), row.get::<_, bool>(6)) {
                (0, true) => return Err(Error::Dead),
                (0, false) => return Err(Error::Replaced),
                _ => {}
            }
            if !pulse.load.cells.is_empty() {
                let said = &pulse.load.cells;
                let cells: Vec<i32> = said.iter().map(|one| i32::from(one.cell.0)).collect();
                let sizes: Vec<Option<i64>> = said.iter().map(|one| one.bytes.map(signed)).collect();
                let busy: Vec<Option<i64>> = said.iter().map(|one| one.busy.map(i64::from)).collect();
                let labels = said.iter().map(|one| labels_json(&one.labels)).collect::<Result<Vec<_>, _>>()?;
                self.query(SIZES, &[&cells, &sizes, &busy, &labels]).await?;
            }
            let [nodes, wanted, deployments, owners] = [1, 2, 3, 4].map(|at| number(&row, at));
            Ok(News { nodes, wanted, owners, deployments, now: Duration::from_micros(number(&row, 5)) })
        })
    }

    fn world(&self) -> BoxFuture<'_, Result<World, Error>> {
        Box::pin(async move {
            // Read first: what is newer than it is only looked at again.
            let version = number(&self.query_one("SELECT wanted FROM stride.control", &[]).await?, 0);
            let rows = self.query(CELLS, &[]).await?;
            let cells = rows.iter().map(cell_row).collect::<Result<_, _>>()?;
            let mut nodes = BTreeMap::new();
            for row in self.query(NODES, &[]).await? {
                let row = node_row(&row)?;
                nodes.insert(row.spec.name.clone(), row);
            }
            Ok(World { version, nodes, cells })
        })
    }

    fn reconcile(
        &self,
        incarnation: Incarnation,
        lease: Duration,
        judge: bool,
    ) -> BoxFuture<'_, Result<Option<usize>, Error>> {
        Box::pin(async move {
            let row = self.query_one(RECONCILE, &[&bits(incarnation), &micros(lease), &judge]).await?;
            let judged: Vec<String> = row.get(1);
            for node in &judged {
                tracing::warn!(node, "was silent for longer than its lease and is declared dead");
            }
            Ok((row.get::<_, i64>(0) == 1).then_some(judged.len()))
        })
    }

    fn want<'a>(
        &'a self,
        incarnation: Incarnation,
        version: u64,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let cells: Vec<i32> = changes.iter().map(|change| i32::from(change.cell.0)).collect();
            let nodes: Vec<&str> = changes.iter().map(|change| change.to.0.as_str()).collect();
            let whys: Vec<String> = changes.iter().map(|change| change.why.to_string()).collect();
            let row = self.query_one(WANT, &[&bits(incarnation), &signed(version), &cells, &nodes, &whys]).await?;
            Ok(row.get::<_, i64>(0) == 1)
        })
    }

    fn pin<'a>(&'a self, cells: &'a [CellId], node: &'a NodeName) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let cells: Vec<i32> = cells.iter().map(|cell| i32::from(cell.0)).collect();
            let row = self.query_one(PIN, &[&cells, &node.0.as_str()]).await?;
            if row.get::<_, i64>(0) == 1 { Ok(()) } else { Err(Error::UnknownNode { name: node.clone() }) }
        })
    }

    fn unpin<'a>(&'a self, cells: &'a [CellId]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let cells: Vec<i32> = cells.iter().map(|cell| i32::from(cell.0)).collect();
            self.query(PIN, &[&cells, &None::<&str>]).await.map(drop)
        })
    }

    fn send_tails<'a>(&'a self, cells: &'a [CellId], to: DatabaseId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let cells: Vec<i32> = cells.iter().map(|cell| i32::from(cell.0)).collect();
            let row = self.query_one(SEND, &[&cells, &i32::from(to.0)]).await?;
            if row.get::<_, i64>(0) == 1 { Ok(()) } else { Err(Error::UnknownDatabase { number: to }) }
        })
    }

    fn confirm<'a>(
        &'a self,
        incarnation: Incarnation,
        cells: &'a [(CellId, Epoch)],
    ) -> BoxFuture<'a, Result<Vec<CellId>, Error>> {
        Box::pin(async move {
            let (ids, epochs): (Vec<i32>, Vec<i64>) =
                cells.iter().map(|(cell, epoch)| (i32::from(cell.0), signed(epoch.0))).unzip();
            let rows = self.query(CONFIRM, &[&bits(incarnation), &ids, &epochs]).await?;
            Ok(cells
                .iter()
                .map(|(cell, _)| *cell)
                .filter(|cell| rows.iter().any(|row| row.get::<_, i32>(0) == i32::from(cell.0)))
                .collect())
        })
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.query(LEAVE, &[&bits(incarnation)]).await.map(drop) })
    }

    fn deploy<'a>(&'a self, deployment: &'a Deployment, expected: Option<u64>) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let Deployment { tenant, component, entry, hash, .. } = deployment;
            let (tenant, component) = (tenant.as_str(), component.as_str());
            loop {
                let row = self.query_one(NEWEST, &[&tenant, &component]).await?;
                let newest = row.get::<_, i64>(0);
                let current = row.get::<_, Option<i64>>(1).map(|number| number as u64);
                if current != expected {
                    return Err(Error::Conflict { current });
                }
                let added = self.query(DEPLOY, &[&tenant, &component, entry, hash, &newest]).await?;
                if let Some(row) = added.first() {
                    return Ok(number(row, 0));
                }
            }
        })
    }

    fn deployments(&self, after: u64) -> BoxFuture<'_, Result<Vec<Deployment>, Error>> {
        Box::pin(async move {
            let rows = self.query(DEPLOYMENTS, &[&signed(after)]).await?;
            let deployment = |row: &Row| {
                let (tenant, component) = (name(row.get(1))?, name(row.get(2))?);
                Ok(Deployment { number: number(row, 0), tenant, component, entry: row.get(3), hash: row.get(4) })
            };
            rows.iter().map(deployment).collect()
        })
    }
}

fn error_of(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Passing(why) => Error::Unavailable(why),
        Trouble::Refused(why) => Error::Unfit(why),
        Trouble::Lasting(error) => Error::Unfit(error.to_string()),
    }
}

fn cell_row(row: &Row) -> Result<CellRow, Error> {
    let node = |at: usize| row.get::<_, Option<&str>>(at).map(|text| name(text).map(NodeName)).transpose();
    let holder = Some(number(row, 2)).filter(|bits| *bits != 0).map(Incarnation::of_bits);
    let why = row.get::<_, Option<String>>(4).unwrap_or_default();
    let wanted = node(3)?.map(|node| Wanted { node, why });
    let busy = u32::try_from(number(row, 7)).unwrap_or(u32::MAX);
    let moves_to = row.get::<_, Option<i32>>(9).map(database);
    Ok(CellRow {
        epoch: Epoch(number(row, 1)),
        holder,
        wanted,
        pin: node(5)?,
        bytes: number(row, 6),
        busy,
        labels: labels(row.get(10))?,
        database: database(row.get(8)),
        moves_to,
    })
}

fn database(number: i32) -> DatabaseId {
    DatabaseId(u16::try_from(number).unwrap_or(u16::MAX))
}

fn node_row(row: &Row) -> Result<NodeRow, Error> {
    let spec = NodeSpec {
        name: NodeName(name(row.get(0))?),
        incarnation: Incarnation::of_bits(number(row, 1)),
        home: row.get(2),
        http: row.get(3),
        peer: row.get(4),
        labels: labels(row.get(5))?,
        price: number(row, 6),
        cores: u32::try_from(number(row, 7)).unwrap_or(u32::MAX),
        memory_bytes: number(row, 8),
        release: row.get(9),
    };
    Ok(NodeRow {
        spec,
        // A clock of the server's that was set back makes it negative.
        silent: Duration::from_micros(u64::try_from(row.get::<_, i64>(10)).unwrap_or(0)),
        dead: row.get(11),
        draining: row.get(12),
        cells: u32::try_from(number(row, 13)).unwrap_or(u32::MAX),
        agents: number(row, 14),
        queue: number(row, 15),
        bytes: number(row, 16),
        deployed: number(row, 17),
    })
}

/// Labels as they are kept.
fn labels_json<T: Serialize>(labels: &T) -> Result<String, Error> {
    serde_json::to_string(labels).map_err(|e| Error::Unfit(format!("labels: {e}")))
}

fn labels<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|e| Error::Unfit(format!("labels that are none: {e}")))
}

fn name(text: &str) -> Result<Name, Error> {
    Name::new(text).map_err(|e| Error::Unfit(e.to_string()))
}

fn number(row: &Row, at: usize) -> u64 {
    row.get::<_, i64>(at) as u64
}

fn bits(incarnation: Incarnation) -> i64 {
    incarnation.bits() as i64
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
