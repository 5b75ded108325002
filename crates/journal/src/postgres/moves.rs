//! How the tail of a cell goes from one database to another.
//!
//! Always true: from the retiring to the end no database takes a record of the cell; what the first database says changes in one
//! statement, after the copy is there as a whole; whoever stood still in between is refused by epoch, wherever it goes on.
//! So whoever is killed at any moment leaves the tail whole in the database that the first one names.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use stride_ids::{CellId, DatabaseId, Epoch, Seq};
use tokio_postgres::types::ToSql;

use super::{
    connect::{STAND_STILL_MAX, Trouble},
    database::{DatabaseHandle, Shared},
    databases::Databases,
    session::{Claim, Session, Taken, crc, damaged},
    tail::BATCH_BYTES_MAX,
};
use crate::{Error, Fenced};

const STORED: &str = "
SELECT seq, epoch, holder, crc, bytes FROM stride.records WHERE cell = $1 AND seq > $2 AND seq <= $3 ORDER BY seq";

/// In a further database: the tail that comes has to be newer than whatever is there, or the one that came with an attempt before.
const MAY_COME: &str = "
SELECT FROM stride.cells WHERE cell = $1 AND (epoch < $2 OR (epoch = $2 AND holder = 0)) FOR UPDATE";

/// In the first one, whose row is the claim itself.
const MAY_COME_FIRST: &str = "
SELECT FROM stride.cells WHERE cell = $1 AND epoch = $2 AND holder = $3 AND database <> 0 FOR UPDATE";

const COME: &str = "UPDATE stride.cells SET epoch = $2, holder = 0, last = $3, floor = $4 WHERE cell = $1";

/// Epoch and holder are there already.
const COME_FIRST: &str = "UPDATE stride.cells SET last = $3, floor = $4 WHERE cell = $1 AND epoch = $2";

/// If it was in the first one, that is this row, and nothing is wanted there any more.
const SWITCH: &str = "
UPDATE stride.cells SET database = $5, moves_to = nullif(moves_to, $5), moves = moves + 1,
    floor = CASE WHEN $4::int4 = 0 THEN last ELSE floor END
WHERE cell = $1 AND epoch = $2 AND holder = $3 AND database IN ($4, $5)";

const GIVE_UP: &str = "
UPDATE stride.cells c SET floor = c.last FROM unnest($1::int4[], $2::int8[]) AS g(cell, epoch)
WHERE c.cell = g.cell AND c.epoch <= g.epoch AND c.holder = 0 AND c.floor < c.last";

/// The tail of a cell, as it is copied.
#[derive(Clone)]
struct Moving {
    cell: CellId,
    epoch: Epoch,
    floor: Seq,
    last: Seq,
    records: Arc<Vec<Stored>>,
}

/// A record with all that is stored of it.
struct Stored {
    seq: i64,
    epoch: i64,
    holder: i64,
    crc: i32,
    bytes: Bytes,
}

impl Databases {
    /// See [`PostgresJournal::move_tail`](super::PostgresJournal::move_tail).
    pub(super) async fn move_tail(self: &Arc<Self>, cell: CellId, to: DatabaseId) -> Result<(), Error> {
        let (first, place) = (&self.first.shared, self.places(&[cell]).await?[0]);
        if place.database == to {
            return Ok(());
        }
        let taken = |current| Error::from(Fenced { cell, epoch: place.epoch, current });
        if place.holder != 0 && place.holder != first.holder {
            return Err(taken(place.epoch));
        }
        let (from, into) = (self.database(place.database).await?, self.database(to).await?);
        // Both have to answer before anybody is fenced.
        let mut least = Epoch(0);
        for database in [&from, &into] {
            least = least.max(database.epochs(&[cell]).await?.get(&cell).copied().unwrap_or_default());
        }
        let claims = vec![Claim { cell, seen: place.epoch, least }];
        let claimed = first.claim(claims, place.database).await?.remove(&cell).ok_or_else(|| taken(place.epoch))?;
        let retired = if self.is_first(&from) {
            claimed
        } else {
            let mut retired = from.fence(vec![(cell, claimed.epoch)], false).await?;
            retired.remove(&cell).ok_or_else(|| taken(claimed.epoch))?
        };
        let records = Arc::new(from.stored(retired).await?);
        let Taken { epoch, last, floor, .. } = retired;
        into.take_in(Moving { cell, epoch, floor, last, records }, self.is_first(&into)).await?;
        self.switch(cell, epoch, place.database, to).await?;
        if !self.is_first(&from)
            && let Err(why) = from.give_up_records(vec![(cell, epoch)]).await
        {
            tracing::warn!(%cell, %why, "records of a cell that went to another database stay until a node is started");
        }
        Ok(())
    }

    /// From now on the cell is in the other database.
    async fn switch(&self, cell: CellId, epoch: Epoch, from: DatabaseId, to: DatabaseId) -> Result<(), Error> {
        let switched = self.first.shared.with_control(|session| {
            Box::pin(async move {
                let (id, epoch, holder) = (i32::from(cell.0), epoch.0 as i64, session.holder());
                let all: [&(dyn ToSql + Sync); 5] = [&id, &epoch, &holder, &i32::from(from.0), &i32::from(to.0)];
                let switched = session.client().execute(SWITCH, &all).await?;
                session.certain(switched)
            })
        });
        let current = Epoch(epoch.0 + 1);
        if switched.await? == 1 { Ok(()) } else { Err(Fenced { cell, epoch, current }.into()) }
    }
}

impl DatabaseHandle {
    /// Carries epochs that the first database made into this one: for this journal, or for nobody.
    pub(super) async fn fence(
        &self,
        epochs: Vec<(CellId, Epoch)>,
        for_us: bool,
    ) -> Result<HashMap<CellId, Taken>, Error> {
        let fenced = |shared: Arc<Shared>| async move {
            let fenced = shared.with_control(|session| {
                let epochs = epochs.clone();
                Box::pin(async move { session.fence(&epochs, for_us).await })
            });
            fenced.await
        };
        self.on(fenced).await
    }

    /// Of cells whose tails are elsewhere nothing is wanted here, unless they have come back since, at newer epochs than these. Not
    /// for the first database.
    pub(super) async fn give_up_records(&self, cells: Vec<(CellId, Epoch)>) -> Result<(), Error> {
        let (ids, epochs): (Vec<i32>, Vec<i64>) =
            cells.iter().map(|(cell, epoch)| (i32::from(cell.0), epoch.0 as i64)).unzip();
        let given_up = |shared: Arc<Shared>| async move {
            let given_up = shared.with_control(|session| {
                let (ids, epochs) = (ids.clone(), epochs.clone());
                Box::pin(async move {
                    let given_up = session.client().execute(GIVE_UP, &[&ids, &epochs]).await?;
                    session.certain(given_up)
                })
            });
            given_up.await
        };
        self.on(given_up).await.map(drop)
    }

    /// All records of a cell that may be wanted, verified.
    async fn stored(&self, retired: Taken) -> Result<Vec<Stored>, Error> {
        let stored = |shared: Arc<Shared>| async move {
            shared.with_control(|session| Box::pin(stored(session, retired))).await
        };
        self.on(stored).await
    }

    /// Takes a tail in, whole, that nobody owns here yet.
    async fn take_in(&self, moving: Moving, first: bool) -> Result<(), Error> {
        let taken_in = |shared: Arc<Shared>| async move {
            shared.with_control(|session| Box::pin(take_in(session, moving.clone(), first))).await
        };
        self.on(taken_in).await
    }
}

async fn stored(session: &mut Session, retired: Taken) -> Result<Vec<Stored>, Trouble> {
    let Taken { cell, floor, last, .. } = retired;
    let rows = session.client().query(STORED, &[&i32::from(cell.0), &(floor.0 as i64), &(last.0 as i64)]).await?;
    let mut expected = floor;
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let (seq, epoch): (i64, i64) = (row.get(0), row.get(1));
        let record =
            Stored { seq, epoch, holder: row.get(2), crc: row.get(3), bytes: Bytes::copy_from_slice(row.get(4)) };
        expected = expected.next();
        if expected != Seq(seq as u64) {
            return Err(damaged(cell, expected, "it is missing, and was not given up").into());
        }
        if crc(cell, Epoch(epoch as u64), expected, &record.bytes) != record.crc {
            return Err(damaged(cell, expected, "its checksum does not match").into());
        }
        records.push(record);
    }
    if expected < last {
        return Err(damaged(cell, expected.next(), "it is missing, and was not given up").into());
    }
    Ok(records)
}

async fn take_in(session: &mut Session, moving: Moving, first: bool) -> Result<(), Trouble> {
    let Moving { cell, epoch, floor, last, records } = moving;
    let (id, number, holder) = (i32::from(cell.0), epoch.0 as i64, session.holder());
    let transaction = session.client().transaction().await?;
    transaction.batch_execute(STAND_STILL_MAX).await?;
    let may_come = if first {
        transaction.query_opt(MAY_COME_FIRST, &[&id, &number, &holder]).await?
    } else {
        transaction.query_opt(MAY_COME, &[&id, &number]).await?
    };
    if may_come.is_none() {
        return Err(Error::from(Fenced { cell, epoch, current: Epoch(epoch.0 + 1) }).into());
    }
    // What is left of a time when the cell was here, or of a copy that was not switched to.
    transaction.execute("DELETE FROM stride.records WHERE cell = $1", &[&id]).await?;
    let slot: i32 = transaction.query_one("SELECT slot FROM stride.meta", &[]).await?.get(0);
    let insert = transaction
        .prepare(&format!(
            "INSERT INTO stride.records_{slot} (slot, cell, seq, epoch, holder, crc, bytes)
             SELECT {slot}, $1::int4, r.* FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::int4[], $6::bytea[]) AS r"
        ))
        .await?;
    let mut left = &records[..];
    while !left.is_empty() {
        let mut bytes = 0;
        let fits = |record: &&Stored| {
            bytes += record.bytes.len();
            bytes <= BATCH_BYTES_MAX
        };
        // A single record may be longer.
        let (part, rest) = left.split_at(left.iter().take_while(fits).count().max(1));
        let seqs: Vec<i64> = part.iter().map(|record| record.seq).collect();
        let epochs: Vec<i64> = part.iter().map(|record| record.epoch).collect();
        let holders: Vec<i64> = part.iter().map(|record| record.holder).collect();
        let crcs: Vec<i32> = part.iter().map(|record| record.crc).collect();
        let all_bytes: Vec<&[u8]> = part.iter().map(|record| &record.bytes[..]).collect();
        transaction.execute(&insert, &[&id, &seqs, &epochs, &holders, &crcs, &all_bytes]).await?;
        left = rest;
    }
    let come = if first { COME_FIRST } else { COME };
    transaction.execute(come, &[&id, &number, &(last.0 as i64), &(floor.0 as i64)]).await?;
    transaction.commit().await?;
    session.certain(())
}
