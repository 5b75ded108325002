//! A whole cluster at once: how it begins with the cells of a node that was alone, and how it ends because such a node has its cells.
//!
//! Always true: both are one transaction that nobody's record, takeover or join can come in between. What it finds is what it
//! decides on, and what it says stays true: a cluster begins so once, and is closed for good.

use stride_ids::{CellId, Epoch, Incarnation, Seq};
use tokio_postgres::Transaction;

use super::{PostgresTables, bits, error_of, signed};
use crate::tables::Error;

/// Whoever stores, takes over or joins waits, or comes after it.
const LOCK: &str = "LOCK TABLE stride.cells, stride.nodes IN EXCLUSIVE MODE";

const STATE: &str = "
SELECT adopted, closed, (SELECT count(*) FROM stride.cells WHERE last > 0),
    array(SELECT name FROM stride.nodes WHERE NOT dead AND seen + lease > clock_timestamp() ORDER BY name),
    (SELECT count(*) FROM stride.databases)
FROM stride.control";

/// As a takeover by nobody; and the journal begins behind a record that a snapshot has.
const BEGIN: &str = "
UPDATE stride.cells SET epoch = epoch + 1, holder = 0, last = $2, floor = $2 WHERE cell = ANY($1::int4[])";

const ADOPTED: &str = "UPDATE stride.control SET adopted = $1";

/// Those of the cells that somebody else has by now.
const TAKEN: &str = "
SELECT count(*) FROM unnest($1::int4[], $2::int8[]) AS held(cell, epoch)
LEFT JOIN stride.cells c ON c.cell = held.cell AND c.epoch = held.epoch AND c.holder = $3 WHERE c.cell IS NULL";

/// A node that was silent for long and goes on would beat as if nothing had been; so it has to join again, and is refused.
const CLOSE: &str = "
WITH dead AS (UPDATE stride.nodes SET dead = true) UPDATE stride.control SET nodes = nodes + 1, closed = $1";

/// How a cluster stands, as whoever brings agents into it or takes them out of it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The node whose agents it began with, if it did with some.
    pub adopted: Option<String>,
    /// Where its agents are since it was closed.
    pub closed: Option<String>,
    /// How many cells have records.
    pub used: u64,
    /// The nodes that live.
    pub living: Vec<String>,
    /// How many databases there are beside the first one.
    pub further: u64,
}

impl PostgresTables {
    /// How the cluster stands.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Unfit`].
    pub async fn state(&self) -> Result<State, Error> {
        Ok(state_of(&self.query_one(STATE, &[]).await?))
    }

    /// Has a cluster in which nothing was ever stored begin with the agents of the node `of`: from now on these cells are behind
    /// the record `at`, which their snapshots have, and belong to nobody. Whoever has one loses it.
    ///
    /// # Errors
    /// [`Error::Unfit`] if something was stored, or the cluster has begun with others or is closed. After
    /// [`Error::Unavailable`] it may have happened: [`PostgresTables::state`] says whether.
    pub async fn begin_with(&self, of: &str, cells: &[CellId], at: Seq) -> Result<(), Error> {
        let (ids, at) = (ids(cells), signed(at.0));
        self.transaction(async |transaction| {
            transaction.batch_execute(LOCK).await?;
            let state = state_of(&transaction.query_one(STATE, &[]).await?);
            if let Some(why) = state.why_not_unused() {
                return Ok(Err(why));
            }
            transaction.execute(BEGIN, &[&ids, &at]).await?;
            transaction.execute(ADOPTED, &[&of]).await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Closes a cluster of which one that is no node holds these cells, which are all: no node joins it any more, and who tries is
    /// told where its agents are.
    ///
    /// # Errors
    /// [`Error::Unfit`] if a node lives or has taken a cell, or if it is closed already. After [`Error::Unavailable`] it may
    /// have happened: [`PostgresTables::state`] says whether.
    pub async fn close(&self, to: &str, held: &[(CellId, Epoch)], holder: Incarnation) -> Result<(), Error> {
        let cells: Vec<CellId> = held.iter().map(|(cell, _)| *cell).collect();
        let epochs: Vec<i64> = held.iter().map(|(_, epoch)| signed(epoch.0)).collect();
        let (cells, holder) = (ids(&cells), bits(holder));
        self.transaction(async |transaction| {
            transaction.batch_execute(LOCK).await?;
            let State { closed, living, .. } = state_of(&transaction.query_one(STATE, &[]).await?);
            if let Some(closed) = closed {
                return Ok(Err(Error::is_closed(&closed)));
            }
            let taken: i64 = transaction.query_one(TAKEN, &[&cells, &epochs, &holder]).await?.get(0);
            if taken > 0 || !living.is_empty() {
                return Ok(Err(Error::Unfit(format!(
                    "a node was started meanwhile{}; stop all nodes and begin again",
                    if living.is_empty() { String::new() } else { format!(" ({})", living.join(", ")) }
                ))));
            }
            transaction.execute(CLOSE, &[&to]).await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Does something in one transaction of a connection of its own. What it refuses leaves no trace.
    async fn transaction(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<Result<(), Error>, tokio_postgres::Error>,
    ) -> Result<(), Error> {
        let mut connection = self.connect().await.map_err(error_of)?;
        let transaction = connection.client_mut().transaction().await.map_err(|e| error_of(e.into()))?;
        work(&transaction).await.map_err(|e| error_of(e.into()))??;
        transaction.commit().await.map_err(|e| error_of(e.into()))?;
        connection.certain(()).map_err(error_of)
    }
}

impl State {
    /// Why the cluster cannot begin with the agents of a node; none if it can.
    pub fn why_not_unused(&self) -> Option<Error> {
        if let Some(closed) = &self.closed {
            return Some(Error::is_closed(closed));
        }
        let why = match &self.adopted {
            Some(node) => format!("it has begun with the agents of {node}"),
            None if self.further > 0 => {
                return Some(Error::Unfit(
                    "it has further databases, and agents are taken in by the first one: name a database of its own, and add \
                     others to it afterwards with `stride cluster add-database`"
                        .into(),
                ));
            }
            None if self.used > 0 => format!("it is in use: {} of its cells have records", self.used),
            None => return None,
        };
        Some(Error::Unfit(format!(
            "{why}; agents are only taken into a cluster that never had one: name another database"
        )))
    }
}

impl Error {
    /// What whoever comes too late is told of a cluster that was closed.
    pub fn is_closed(to: &str) -> Self {
        Self::Unfit(format!("the cluster was closed, its agents are in {to} now: start a node there, alone"))
    }
}

fn state_of(row: &tokio_postgres::Row) -> State {
    let count = |at| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
    State { adopted: row.get(0), closed: row.get(1), used: count(2), living: row.get(3), further: count(4) }
}

fn ids(cells: &[CellId]) -> Vec<i32> {
    cells.iter().map(|cell| i32::from(cell.0)).collect()
}
