//! What an engine does beside its turns: state goes from memory to the store, idle bodies leave memory.
//!
//! Every pass takes no input, looks at what is there and does the same thing; a pass too many is harmless.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use stride_ids::{Address, Failure};
use stride_store::{RowKey, Rows};

use crate::{
    engine::{Engine, journal_failure, stamp, store_failure},
    record::Refused,
    recover::{OpenError, for_each},
    residency::{Stamp, Verdict},
    slot::Resident,
};

/// How much memory bodies of an agent hold, in bytes, if it is worth that they leave.
const WORTH: u64 = 1 << 20;

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
    pub async fn materialise(&self) -> Result<(), Failure> {
        if let Some(frozen) = self.store.freeze() {
            for (id, seq) in frozen {
                let cell = &self.cells[usize::from(id.0)];
                cell.settled(&*self.journal, seq).await.map_err(|e| journal_failure(&e))?;
            }
        }
        let store = self.store.clone();
        self.tasks.blocking(move || store.materialise()).await.map_err(|e| store_failure(&e))
    }

    /// Makes the store survive a power loss, and lets the journal go of what it no longer has to hold.
    ///
    /// # Errors
    /// As [`Engine::materialise`].
    pub async fn checkpoint(&self) -> Result<(), Failure> {
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

    /// Waits until the messages that are being handled are done, and starts no others. They wait for the next owner.
    pub async fn stop_handling(&self) {
        let all = u32::try_from(self.settings.handled_max).unwrap_or(u32::MAX);
        // Only closing it, which is what follows, makes this an error.
        let _all = self.handling.acquire_many(all).await;
        self.handling.close();
    }

    /// Counts what is there when the engine opens.
    pub(crate) fn count_rows(&self) -> Result<(), OpenError> {
        let (mut parked, mut timers) = (0, 0);
        for cell in &self.cells {
            for_each(&self.store, Rows::Parked(cell.id), |_, _| {
                parked += 1;
                Ok(())
            })?;
            for_each(&self.store, Rows::Due(cell.id), |_, _| {
                timers += 1;
                Ok(())
            })?;
            for_each(&self.store, Rows::Refused(cell.id), |row, bytes| {
                if let RowKey::Refused(agent) = row {
                    self.refusals.add(&agent, Refused::decode(bytes)?);
                }
                Ok(())
            })?;
        }
        self.gauges.parked.set(parked);
        self.gauges.timers.set(timers);
        Ok(())
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
        let cell = self.cell_of(address);
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
