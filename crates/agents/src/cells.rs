//! Which cells an engine owns, and who may still begin something in one of them.
//!
//! Always true: a cell that is not in here has nothing in memory; a cell that is closed orders no record any more; and before
//! it is closed, whoever began something in it has ended, or has been told that it does not count.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::RwLock;
use stride_ids::CellId;
use tokio::sync::Notify;

use crate::cell::Cell;

/// The cells of an engine, by their ids.
pub(crate) struct Cells(Vec<RwLock<Option<Arc<Cell>>>>);

impl Cells {
    /// Room for so many cells, of which none is owned.
    pub(crate) fn none_of(count: u16) -> Self {
        Self((0..count).map(|_| RwLock::default()).collect())
    }

    /// The cell if it is owned.
    pub(crate) fn get(&self, id: CellId) -> Option<Arc<Cell>> {
        self.0.get(usize::from(id.0))?.read().clone()
    }

    /// Those that are owned, in their order.
    pub(crate) fn owned(&self) -> Vec<Arc<Cell>> {
        self.0.iter().filter_map(|cell| cell.read().clone()).collect()
    }

    /// From now on the cell is owned.
    pub(crate) fn put(&self, cell: Arc<Cell>) {
        let id = cell.id;
        *self.0[usize::from(id.0)].write() = Some(cell);
    }

    /// From now on the cell is not owned.
    pub(crate) fn remove(&self, id: CellId) {
        *self.0[usize::from(id.0)].write() = None;
    }
}

/// In the count of a gate: nobody from outside may enter.
const SHUT: usize = 1 << (usize::BITS - 1);

/// Lets work into a cell, and tells when it has ended.
#[derive(Default)]
pub(crate) struct Gate {
    /// How many are inside, and whether it is shut.
    inside: AtomicUsize,
    left: Notify,
}

/// Somebody is at work in a cell for as long as this lives.
pub(crate) struct Inside(Arc<Cell>);

impl Inside {
    /// Enters a cell; none if its gate is shut. Work that others inside some cell wait for enters all the same: what
    /// they wait for must be able to end.
    pub(crate) fn enter(cell: Arc<Cell>, awaited: bool) -> Option<Self> {
        let before = cell.gate.inside.fetch_add(1, Ordering::AcqRel);
        // Made in any case: dropping it leaves again.
        let inside = Self(cell);
        (before & SHUT == 0 || awaited).then_some(inside)
    }
}

impl std::ops::Deref for Inside {
    type Target = Arc<Cell>;

    fn deref(&self) -> &Arc<Cell> {
        &self.0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let before = self.0.gate.inside.fetch_sub(1, Ordering::AcqRel);
        if before == SHUT + 1 {
            self.0.gate.left.notify_waiters();
        }
    }
}

impl Gate {
    /// Lets nobody in any more.
    pub(crate) fn shut(&self) {
        self.inside.fetch_or(SHUT, Ordering::AcqRel);
    }

    /// Waits until nobody is inside.
    pub(crate) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the count is looked at, so that the last one to leave is not missed.
            left.as_mut().enable();
            if self.inside.load(Ordering::Acquire) & !SHUT == 0 {
                return;
            }
            left.await;
        }
    }
}
