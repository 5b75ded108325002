//! Forgetting replies: how long an idempotency key holds, and how many do.
//!
//! A walk goes round all remembered replies, some rows a pass, and faster than new ones come. It forgets those that are over
//! their time and counts the others by age, which tells the next round what to forget if there are too many: the oldest.
//!
//! Always true: a reply that is younger than five minutes stays, however many there are, for a client that tries again does so
//! within that time. In memory there is one number per minute, never one per reply.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stride_ids::{CellId, Failure};
use stride_sim::Timestamp;
use stride_store::{RowKey, Rows};

use crate::{
    engine::{Engine, store_failure, unreadable},
    record::{Record, Reply},
};

/// How many rows are read at a time, and looked at by a pass if nothing new came.
const PAGE: usize = 500;

/// How many rows a pass looks at for each reply that is new: by the end of a round a quarter more may have come than it met.
const ROWS_PER_NEW: u64 = 4;

/// How long a reply stays even if there are too many.
const KEPT_AT_LEAST: Duration = Duration::from_secs(5 * 60);

const MINUTE: Timestamp = 60_000;

/// How far the walk has come.
#[derive(Default)]
pub(crate) struct Walk {
    cell: CellId,
    after: Option<RowKey>,
    met: Ages,
    /// Replies from before are too many, as the last round found.
    kept_since: Timestamp,
    /// How many replies had been remembered at the last pass.
    remembered: u64,
}

/// How many replies are from which minute.
#[derive(Default)]
struct Ages(BTreeMap<u64, u64>);

impl Ages {
    fn add(&mut self, at: Timestamp) {
        *self.0.entry(at / MINUTE).or_default() += 1;
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// From when on replies are kept if no more than `max` may remain.
    fn newest(&self, max: u64) -> Timestamp {
        let mut room = max;
        for (minute, count) in self.0.iter().rev() {
            match room.checked_sub(*count) {
                Some(left) => room = left,
                None => return (minute + 1) * MINUTE,
            }
        }
        0
    }
}

impl Engine {
    /// A pass: looks at some remembered replies, and forgets those that are over their time or too many.
    pub(crate) fn forget_replies(self: &Arc<Self>) -> Result<(), Failure> {
        let mut walk = self.walk.lock();
        let remembered = self.counters.remembered.get();
        let new = remembered - std::mem::replace(&mut walk.remembered, remembered);
        let pages = 1 + new * ROWS_PER_NEW / PAGE as u64;
        for _ in 0..pages {
            self.forget_page(&mut walk)?;
            if walk.after.is_some() {
                continue;
            }
            walk.cell = CellId((walk.cell.0 + 1) % self.settings.cells);
            if walk.cell.0 == 0 {
                let met = std::mem::take(&mut walk.met);
                self.gauges.replies.set(met.count());
                walk.kept_since = met.newest(self.settings.replies_max);
                break;
            }
        }
        Ok(())
    }

    fn forget_page(self: &Arc<Self>, walk: &mut Walk) -> Result<(), Failure> {
        // What the store still has of a cell that was given up is for its owner to forget.
        let Some(cell) = self.cells.get(walk.cell) else {
            walk.after = None;
            return Ok(());
        };
        let rows = self.store.rows(Rows::Replies(walk.cell), walk.after.as_ref(), PAGE);
        let rows = rows.map_err(|e| store_failure(&e))?;
        let may_go = self.clock.timestamp().saturating_sub(KEPT_AT_LEAST.as_millis() as Timestamp);
        let mut over = Vec::new();
        for (row, bytes) in &rows {
            let reply = Reply::decode(bytes).map_err(|e| unreadable(&e))?;
            let goes = self.is_over(&reply) || reply.at < walk.kept_since.min(may_go);
            match row {
                RowKey::Reply(agent, key) if goes => over.push((agent.clone(), key.clone())),
                _ => walk.met.add(reply.at),
            }
        }
        if !over.is_empty() {
            self.append(&cell, &Record::Forget(over))?.unhurried();
        }
        walk.after = rows.into_iter().last().map(|(row, _)| row);
        Ok(())
    }
}
