//! Which chunks are in use by a transfer, so that a sweep leaves them.
//!
//! Always true: between the first and the last moment of a pin its chunk is not removed. A sweep that has begun remembers
//! every chunk that was pinned since, because it may have read the index before that chunk was named there.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::chunk::ChunkId;

#[derive(Default)]
pub(crate) struct Pins {
    state: Mutex<State>,
    /// Told when a chunk has been removed.
    removed: Notify,
}

#[derive(Default)]
struct State {
    held: HashMap<ChunkId, u32>,
    /// What was pinned since the sweep that runs has begun; none if no sweep runs.
    since: Option<HashSet<ChunkId>>,
    /// The one chunk that is being removed.
    removing: Option<ChunkId>,
}

impl Pins {
    /// Holds a chunk. Waits while it is being removed: after that it is plain that it is gone.
    pub(crate) async fn pin(self: &Arc<Self>, id: ChunkId) -> Pin {
        loop {
            let removed = self.removed.notified();
            {
                let mut state = self.state.lock();
                if state.removing.as_ref() != Some(&id) {
                    if let Some(since) = &mut state.since {
                        since.insert(id.clone());
                    }
                    *state.held.entry(id.clone()).or_default() += 1;
                    return Pin { pins: self.clone(), id };
                }
            }
            removed.await;
        }
    }

    /// Begins a sweep: from now on every chunk that is pinned stays until it ends.
    pub(crate) fn begin_sweep(self: &Arc<Self>) -> Sweeping {
        let mut state = self.state.lock();
        state.since = Some(state.held.keys().cloned().collect());
        Sweeping(self.clone())
    }
}

/// A chunk that is held until this is dropped.
pub(crate) struct Pin {
    pins: Arc<Pins>,
    pub(crate) id: ChunkId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.state.lock();
        if let Some(count) = state.held.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.id);
            }
        }
    }
}

/// A sweep that runs.
pub(crate) struct Sweeping(Arc<Pins>);

impl Sweeping {
    /// Whether a chunk was held at some time since the sweep began.
    pub(crate) fn is_held(&self, id: &ChunkId) -> bool {
        self.0.state.lock().since.as_ref().is_none_or(|since| since.contains(id))
    }

    /// Takes a chunk for removal, unless it was held at some time since the sweep began.
    pub(crate) fn take(&self, id: &ChunkId) -> Option<Removing<'_>> {
        let mut state = self.0.state.lock();
        if state.since.as_ref().is_none_or(|since| since.contains(id)) {
            return None;
        }
        state.removing = Some(id.clone());
        Some(Removing(&self.0))
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.state.lock().since = None;
    }
}

/// A chunk that nobody can pin until this is dropped.
pub(crate) struct Removing<'a>(&'a Pins);

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().removing = None;
        self.0.removed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use stride_ids::Name;

    use super::*;
    use crate::chunk::ChunkHash;

    fn id(bytes: &[u8]) -> ChunkId {
        ChunkId { tenant: Name::default_tenant(), hash: ChunkHash::of(bytes) }
    }

    #[tokio::test]
    async fn a_chunk_that_was_held_at_any_time_since_a_sweep_began_stays_and_goes_with_the_next() {
        let pins = Arc::new(Pins::default());
        let before = pins.pin(id(b"before")).await;
        let sweep = pins.begin_sweep();
        drop(before);
        drop(pins.pin(id(b"meanwhile")).await);
        assert!(sweep.take(&id(b"before")).is_none() && sweep.take(&id(b"meanwhile")).is_none());
        assert!(sweep.take(&id(b"nobody's")).is_some());
        drop(sweep);
        assert!(pins.begin_sweep().take(&id(b"before")).is_some());
    }

    #[tokio::test]
    async fn a_chunk_is_held_until_the_last_of_its_pins_is_dropped() {
        let pins = Arc::new(Pins::default());
        let (first, second) = (pins.pin(id(b"a")).await, pins.pin(id(b"a")).await);
        drop(first);
        assert!(pins.begin_sweep().take(&id(b"a")).is_none());
        drop(second);
        assert!(pins.begin_sweep().take(&id(b"a")).is_some());
    }

    #[tokio::test]
    async fn who_pins_a_chunk_that_is_being_removed_waits_until_it_is_gone() {
        let pins = Arc::new(Pins::default());
        let sweep = pins.begin_sweep();
        let removing = sweep.take(&id(b"a")).unwrap();
        let mut pin = Box::pin(pins.pin(id(b"a")));
        assert!((&mut pin).now_or_never().is_none());
        assert!(pins.pin(id(b"b")).now_or_never().is_some());
        drop(removing);
        assert!(pin.now_or_never().is_some());
    }
}
