//! Cells that come to this engine and leave it.
//!
//! Always true: an engine serves a cell only after it has fenced whoever had it before and has replayed everything durable;
//! after it gave one up, nothing that it did not make durable is left of it, in memory or in the store.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use stride_ids::{CellId, Epoch, Failure, Seq};

use crate::{
    cell::Cell,
    engine::{Engine, journal_failure},
    recover::{OpenError, take_up},
};

/// How long turns that run may hold up that their cell leaves. Over that they are cut off, uncommitted.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How many cells are brought up to the end of the journal at the same time.
const RECOVERED_AT_ONCE: usize = 8;
/// So many records behind the store a cell is brought up to date before it is fenced, so that its pause is short.
const TAIL_MAX: u64 = 1_000;

impl Engine {
    /// Brings what the store holds of a cell as far as its newest snapshot, so that taking it over later is quick.
    ///
    /// # Errors
    /// The snapshot cannot be had; taking over tries again.
    pub async fn prepare(&self, id: CellId) -> Result<(), Failure> {
        match &self.cluster {
            Some(cluster) if self.cells.get(id).is_none() => {
                self.store.unstage(id);
                cluster.snapshots.restore(id).await
            }
            _ => Ok(()),
        }
    }

    /// Takes cells over that still have these epochs; each serves as soon as it is brought up to the end of the journal.
    /// Those that somebody else has taken meanwhile are passed over, and those that are here stay as they are.
    ///
    /// # Errors
    /// Why the first of those that could not be taken over could not; the others are here.
    pub async fn acquire(self: &Arc<Self>, cells: Vec<(CellId, Epoch)>) -> Result<(), OpenError> {
        let asked: Vec<_> = cells.into_iter().filter(|(id, _)| self.cells.get(*id).is_none()).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let began = self.clock.now();
        let (journal, cells) = (self.journal.clone(), asked.clone());
        let opened = self.tasks.blocking(move || journal.open_at(&cells)).await?;
        if let Some(cluster) = &self.cluster {
            // Now that nobody adds to them: whoever did may have known of types that this node has not heard of.
            cluster.elsewhere.learn().await.map_err(OpenError::Types)?;
        }
        let ours = asked.into_iter().zip(opened).filter_map(|((id, _), opened)| Some((id, opened?)));
        let taken = stream::iter(ours).map(async |(id, opened)| {
            let mut cell = self.recover(id, opened.epoch, opened.last).await?;
            cell.recovered_in = self.clock.now() - began;
            let cell = Arc::new(cell);
            self.count_rows(id)?;
            self.cells.put(cell.clone());
            self.go_on(&cell);
            Ok(())
        });
        let outcomes: Vec<Result<(), OpenError>> = taken.buffer_unordered(RECOVERED_AT_ONCE).collect().await;
        outcomes.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// Brings a cell that was fenced up to the end of the journal; from a snapshot if the store has too little of it.
    async fn recover(self: &Arc<Self>, id: CellId, epoch: Epoch, last: Seq) -> Result<Cell, OpenError> {
        // What is staged from an earlier ownership is durable, so the journal or a snapshot has it. Were it left, older rows would
        // be staged over it while the journal is replayed from what is materialised.
        self.store.unstage(id);
        match self.take_up(id, epoch, last).await {
            Err(OpenError::Journal(stride_journal::Error::Gap { .. })) => {}
            outcome => return outcome,
        }
        if let Some(cluster) = &self.cluster {
            cluster.snapshots.restore(id).await.map_err(|why| OpenError::Snapshot { cell: id, why })?;
        }
        self.take_up(id, epoch, last).await
    }

    async fn take_up(self: &Arc<Self>, id: CellId, epoch: Epoch, last: Seq) -> Result<Cell, OpenError> {
        let engine = self.clone();
        let receipt = self.journal.settled(id, epoch, last).await?;
        let taken = self.tasks.blocking(move || take_up(&*engine.journal, &engine.store, id, receipt));
        Ok(taken.await?.0)
    }

    /// Makes ready that a cell leaves: what the next owner has to replay is short then.
    ///
    /// # Errors
    /// The snapshot cannot be kept. The cell may leave all the same.
    pub async fn prepare_release(self: &Arc<Self>, id: CellId) -> Result<(), Failure> {
        let (Some(cluster), Some(cell)) = (&self.cluster, self.cells.get(id)) else { return Ok(()) };
        if cell.unkept() <= TAIL_MAX {
            return Ok(());
        }
        self.materialise().await?;
        self.keep(cluster, &cell).await
    }

    /// Gives a cell up in good order: what has begun ends, everything becomes durable, and nobody owns it then. Requests
    /// wait meanwhile.
    ///
    /// # Errors
    /// Not everything could become durable. The cell is gone from here all the same; its next owner has what was durable.
    pub async fn release(self: &Arc<Self>, id: CellId) -> Result<(), Failure> {
        let Some(cell) = self.cells.get(id) else { return Ok(()) };
        cell.gate.shut();
        if self.clock.timeout(DRAIN_MAX, cell.gate.emptied()).await.is_err() {
            tracing::warn!(cell = %id, "turns did not end within {DRAIN_MAX:?} and are cut off; nothing of them is committed");
        }
        self.forget_delivered(&cell);
        let last = {
            let mut tail = cell.tail.lock();
            tail.closed = true;
            tail.last
        };
        let settled = cell.settled(&*self.journal, last).await;
        self.conclude(&cell, settled.is_ok());
        self.give_up(&cell, settled.is_ok());
        settled.map_err(|e| journal_failure(&e))?;
        let (journal, epoch) = (self.journal.clone(), cell.epoch);
        self.tasks.blocking(move || journal.release(id, epoch)).await.map_err(|e| journal_failure(&e))
    }

    /// Drops a cell that somebody else owns now, or may own any moment: nobody is told anything more from it.
    pub fn lose(self: &Arc<Self>, id: CellId) {
        if let Some(cell) = self.cells.get(id) {
            self.lose_cell(&cell);
        }
    }

    /// The same if this engine still believes to own it with the epoch that was found to be fenced, or an older one. If it
    /// has come back meanwhile, it stays.
    pub fn lose_fenced(self: &Arc<Self>, id: CellId, epoch: Epoch) {
        if let Some(cell) = self.cells.get(id).filter(|cell| cell.epoch <= epoch) {
            self.lose_cell(&cell);
        }
    }

    /// The same for a cell that was found to be fenced. It may have come back meanwhile, in another epoch: that one stays.
    pub(crate) fn lose_cell(self: &Arc<Self>, cell: &Arc<Cell>) {
        tracing::warn!(cell = %cell.id, epoch = %cell.epoch, "another node has this cell now; what was under way in it is cut off");
        cell.gate.shut();
        cell.tail.lock().closed = true;
        self.conclude(cell, false);
        self.give_up(cell, false);
    }

    /// Forgets a cell that is closed.
    fn give_up(&self, cell: &Arc<Cell>, durable: bool) {
        // Whoever comes second waits here and finds it gone. Otherwise it could be back meanwhile, in another epoch, and what is
        // staged of that one would be dropped.
        let _leaving = cell.leaving.lock();
        if self.cells.get(cell.id).is_none_or(|owned| !Arc::ptr_eq(&owned, cell)) {
            return;
        }
        self.discount_rows(cell.id);
        if !durable {
            // What the journal did not take must not be taken for state. Before the cell is gone from the list: what is staged
            // of cells that are not in it is held to be durable.
            self.store.unstage(cell.id);
        }
        self.cells.remove(cell.id);
        cell.forget_all();
    }

    /// No longer counts what is in a cell.
    fn discount_rows(&self, id: CellId) {
        // Counts are reports: what cannot be read is left in them.
        if let Ok(counted) = self.counted_rows(id) {
            self.gauges.parked.sub(counted.parked);
            self.gauges.timers.sub(counted.timers);
            for (agent, refused) in counted.refused {
                self.refusals.remove(&agent, &refused);
            }
        }
    }
}
