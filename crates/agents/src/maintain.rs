//! What an engine does beside its turns: state goes from memory to the store, idle bodies leave memory.
//!
//! Every pass takes no input, looks at what is there and does the same thing; a pass too many is harmless.

use std::{sync::atomic::Ordering, time::Duration};

use stride_ids::{Address, Failure};

use crate::{
    engine::{Engine, journal_failure, stamp, store_failure},
    residency::{Stamp, Verdict},
};

impl Engine {
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
        let written = tokio::task::spawn_blocking(move || store.materialise()).await;
        written.map_err(task_failure)?.map_err(|e| store_failure(&e))
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
        tokio::task::spawn_blocking(checkpoint).await.map_err(task_failure)?
    }

    /// Lets the bodies leave memory that have been idle for as long as their type allows.
    pub fn passivate_idle(&self) {
        let now = self.clock.now();
        let sweep = |address: &Address, known: Stamp| {
            let idle = self.bodies.kind(&address.tenant, &address.kind).map_or(Duration::ZERO, |kind| kind.idle);
            match now.checked_sub(idle).map(stamp) {
                Some(idle_since) if known <= idle_since => self.try_passivate(address, idle_since),
                _ => Verdict::UsedAt(known),
            }
        };
        self.residency.lock().sweep(sweep);
    }

    /// Lets the least recently used body leave memory; false if all are busy.
    pub(crate) fn passivate_one(&self) -> bool {
        self.residency.lock().evict_one(|address, known| self.try_passivate(address, known))
    }

    /// Lets a body leave if it is not busy and was not used after `unused_since`.
    fn try_passivate(&self, address: &Address, unused_since: Stamp) -> Verdict {
        let cell = self.cell_of(address);
        let Some(slot) = cell.find(address) else { return Verdict::Gone };
        let used_at = slot.used_at.load(Ordering::Relaxed);
        let Ok(mut resident) = slot.resident.try_lock() else { return Verdict::UsedAt(stamp(self.clock.now())) };
        if resident.body.is_none() {
            return Verdict::Gone;
        }
        if used_at > unused_since {
            return Verdict::UsedAt(used_at);
        }
        resident.body = None;
        self.counters.passivated.add_one();
        Verdict::Left
    }
}

fn task_failure(error: tokio::task::JoinError) -> Failure {
    Failure::new(stride_ids::Code::Internal, format!("a background task ended early: {error}"))
}
