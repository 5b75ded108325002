//! Instances made ahead of the calls that will use them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::component::{Component, Prepared};

/// How many spare instances a host has room for, all functions together.
pub(crate) const SPARES_MAX: u32 = 256;

/// The spare instances of one function: one per CPU at most, because no more calls can start at the same time.
pub(crate) struct Spares {
    max: usize,
    room: Arc<Semaphore>,
    kept: Mutex<Vec<Spare>>,
    used: AtomicBool,
}

struct Spare {
    component: Arc<Component>,
    prepared: Box<Prepared>,
    _place: OwnedSemaphorePermit,
}

impl Spares {
    /// No spares yet. All functions of a host share the room.
    pub(crate) fn new(room: Arc<Semaphore>) -> Self {
        let max = available_parallelism().map_or(1, usize::from);
        Self { max, room, kept: Mutex::default(), used: AtomicBool::new(false) }
    }

    /// A spare instance of exactly this component. Those of a version that was replaced are dropped.
    pub(crate) fn take(&self, component: &Arc<Component>) -> Option<Box<Prepared>> {
        self.used.store(true, Ordering::Relaxed);
        let mut kept = self.kept.lock();
        while let Some(spare) = kept.pop() {
            if Arc::ptr_eq(&spare.component, component) {
                return Some(spare.prepared);
            }
        }
        None
    }

    /// Makes a spare if one is missing and there is room.
    pub(crate) async fn refill(&self, component: Arc<Component>, memory_max: usize) {
        if self.kept.lock().len() >= self.max {
            return;
        }
        let Ok(place) = self.room.clone().try_acquire_owned() else { return };
        // If this fails, it fails again for the next call, which has somebody to tell.
        let Ok(prepared) = component.prepare(memory_max).await else { return };
        let mut kept = self.kept.lock();
        if kept.len() < self.max {
            kept.push(Spare { component, prepared, _place: place });
        }
    }

    /// Drops all spares if none was asked for since this was called last.
    pub(crate) fn release_idle(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            let idle = std::mem::take(&mut *self.kept.lock());
            drop(idle);
        }
    }
}
