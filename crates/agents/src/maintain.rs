//! What an engine does beside its turns: state goes from memory to the store, idle bodies leave memory.
//!
//! Every pass takes no input, looks at what is there and does the same thing; a pass too many is harmless.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use stride_ids::{Address, CellId, Failure};
use stride_store::{RowKey, Rows};

use crate::{
    cell::{Cell, Kept},
    elsewhere::Cluster,
    engine::{Engine, journal_failure, stamp, store_failure},
    record::Refused,
    recover::{OpenError, for_each},
    residency::{Stamp, Verdict},
    slot::Resident,
};

/// After so many records a cell is kept in a snapshot: they are what another node would have to replay.
const KEPT_AFTER: u64 = 5_000;
/// After so long a cell that has changed is kept all the same, so that the journal's oldest part can go.
const KEPT_EVERY: Duration = Duration::from_secs(60);
/// How many cells are kept at the same time.
const KEPT_AT_ONCE: usize = 4;
/// How much memory bodies of an agent hold, in bytes, if it is worth that they leave.
const WORTH: u64 = 1 << 20;

/// What reports say of a cell.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) parked: u64,
    pub(crate) timers: u64,
    pub(crate) refused: Vec<(Address, Refused)>,
}

impl Engine {
    /// One pass: state goes to the store, messages that arrived elsewhere and replies that are over their time go.
    ///
    /// # Errors
    /// As [`Engine::materialise`].
    pub async fn maintain(self: &Arc<Self>) -> Result<(), Failure> {
        self.passivate_idle();
        self.passivate_crowding();
        self.confirm().await?;
        let engine = self.clone();
        self.tasks.blocking(move || engine.forget_replies()).await?;
        self.materialise().await
    }

    /// Brings what is staged into the store, once it is durable in the journal. Runs beside turns, not within them.
    ///
    /// # Errors
    /// The store could not write (a full disk, say): nothing is lost, the next pass tries again.
    pub async fn materialise(self: &Arc<Self>) -> Result<(), Failure> {
        if let Some(frozen) = self.store.freeze() {
            for (id, seq) in frozen {
                // What is still here of a cell that was given up is durable, or it would have been taken out.
                let Some(cell) = self.cells.get(id) else { continue };
                match cell.settled(&*self.journal, seq).await {
                    Err(stride_journal::Error::Fenced { .. }) => self.lose_cell(&cell),
                    settled => drop(settled.map_err(|e| journal_failure(&e))?),
                }
            }
        }
        let store = self.store.clone();
        self.tasks.blocking(move || store.materialise()).await.map_err(|e| store_failure(&e))
    }

    /// Makes the store survive a power loss, and lets the journal go of what it no longer has to hold: in a cluster, what
    /// snapshots have.
    ///
    /// # Errors
    /// As [`Engine::materialise`].
    pub async fn checkpoint(self: &Arc<Self>) -> Result<(), Failure> {
        if let Some(cluster) = &self.cluster {
            return self.keep_what_is_due(cluster).await;
        }
        let store = self.store.clone();
        let journal = self.journal.clone();
        let checkpoint = move || -> Result<(), Failure> {
            for (cell, seq) in store.persist().map_err(|e| store_failure(&e))? {
                journal.truncate(cell, seq).map_err(|e| journal_failure(&e))?;
            }
            Ok(())
        };
        self.tasks.blocking(checkpoint).await
    }

    /// Keeps snapshots of the cells that have changed much, or a while ago.
    async fn keep_what_is_due(self: &Arc<Self>, cluster: &Cluster) -> Result<(), Failure> {
        let now = self.clock.now();
        let is_due = |cell: &Arc<Cell>| {
            let unkept = cell.unkept();
            unkept > KEPT_AFTER || (unkept > 0 && now.saturating_sub(cell.kept.lock().at) > KEPT_EVERY)
        };
        let due = self.cells.owned().into_iter().filter(is_due);
        let kept = stream::iter(due).map(async |cell| self.keep(cluster, &cell).await);
        let outcomes: Vec<Result<(), Failure>> = kept.buffer_unordered(KEPT_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    /// Keeps a snapshot of a cell, and lets the journal go of what it has.
    pub(crate) async fn keep(&self, cluster: &Cluster, cell: &Cell) -> Result<(), Failure> {
        let seq = cluster.snapshots.keep(cell.id, cell.epoch).await?;
        *cell.kept.lock() = Kept { seq, at: self.clock.now() };
        self.journal.truncate(cell.id, seq).map_err(|e| journal_failure(&e))
    }

    /// Waits until the messages that are being handled are done, and starts no others. They wait for the next owner.
    pub async fn stop_handling(&self) {
        let all = u32::try_from(self.settings.handled_max).unwrap_or(u32::MAX);
        // Only closing it, which is what follows, makes this an error.
        let _all = self.handling.acquire_many(all).await;
        self.handling.close();
    }

    /// Counts what is in a cell that is taken over.
    pub(crate) fn count_rows(&self, id: CellId) -> Result<(), OpenError> {
        let counted = self.counted_rows(id)?;
        self.gauges.parked.add(counted.parked);
        self.gauges.timers.add(counted.timers);
        for (agent, refused) in counted.refused {
            self.refusals.add(&agent, refused);
        }
        Ok(())
    }

    pub(crate) fn counted_rows(&self, id: CellId) -> Result<Counted, OpenError> {
        let mut counted = Counted::default();
        for_each(&self.store, Rows::Parked(id), |_, _| {
            counted.parked += 1;
            Ok(())
        })?;
        for_each(&self.store, Rows::Due(id), |_, _| {
            counted.timers += 1;
            Ok(())
        })?;
        for_each(&self.store, Rows::Refused(id), |row, bytes| {
            if let RowKey::Refused(agent) = row {
                counted.refused.push((agent, Refused::decode(bytes)?));
            }
            Ok(())
        })?;
        Ok(counted)
    }

    /// Lets the bodies leave memory that have been idle for as long as their type allows.
    pub fn passivate_idle(&self) {
        let now = self.clock.now();
        let sweep = |address: &Address, known: Stamp| {
            let idle = self.bodies.kind(&address.tenant, &address.kind).map_or(Duration::ZERO, |kind| kind.idle);
            match now.checked_sub(idle).map(stamp) {
                Some(idle_since) if known <= idle_since => self.try_passivate(address, idle_since, |_| true),
                _ => Verdict::UsedAt(known),
            }
        };
        self.residency.lock().sweep(sweep);
    }

    /// Lets the least recently used body leave memory; false if all are busy.
    pub(crate) fn passivate_one(&self) -> bool {
        self.residency.lock().evict_one(|address, known| self.try_passivate(address, known, |_| true))
    }

    /// Lets bodies leave that hold much memory, the least recently used first, as long as all together hold too much.
    fn passivate_crowding(&self) {
        let is_crowded = || self.bodies.is_crowded();
        if is_crowded() {
            let leave =
                |address: &Address, known| self.try_passivate(address, known, |agent| agent.held_bytes() >= WORTH);
            self.residency.lock().evict_while(is_crowded, leave);
        }
    }

    /// Lets a body leave if it is not busy, was not used after `unused_since`, and is `wanted`.
    fn try_passivate(&self, address: &Address, unused_since: Stamp, wanted: impl Fn(&Resident) -> bool) -> Verdict {
        let Some(cell) = self.cell_of(address) else { return Verdict::Gone };
        let Some(slot) = cell.find(address) else { return Verdict::Gone };
        let used_at = slot.used_at.load(Ordering::Relaxed);
        let Some(resident) = slot.try_change() else { return Verdict::UsedAt(stamp(self.clock.now())) };
        if !resident.has_bodies() {
            return Verdict::Gone;
        }
        if used_at > unused_since || !wanted(&resident) {
            return Verdict::UsedAt(used_at);
        }
        resident.drop_bodies();
        self.counters.passivated.add_one();
        Verdict::Left
    }
}
