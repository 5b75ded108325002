//! One agent that is awake: its mailbox, and what is in memory of it.
//!
//! Always true: a turn that may change the agent runs alone, turns that only read run side by side, and all begin in the
//! order in which they came.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use stride_ids::Seq;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{body::Body, record::Header, residency::Stamp};

/// How many turns of one agent may read side by side. Each needs a body of its own, which takes the place of another agent's.
const READERS_MAX: u32 = 8;

/// An agent that is awake: in memory, or with somebody waiting for it.
pub(crate) struct Slot {
    /// The mailbox: a fair lock.
    resident: RwLock<Resident>,
    /// How many asks hold or wait for the lock.
    pub(crate) waiting: AtomicUsize,
    /// When it was last used.
    pub(crate) used_at: AtomicU64,
}

/// Access to an agent that is shared with others who only read.
pub(crate) enum Entered<'a> {
    Reading(RwLockReadGuard<'a, Resident>),
    Changing(RwLockWriteGuard<'a, Resident>),
}

/// What is in memory for one agent.
pub(crate) struct Resident {
    /// The bodies that run no turn. Several only if turns read side by side; all are of the state that was committed last.
    idle: Mutex<Vec<LiveBody>>,
    /// What the last turn left, once it was read from the store.
    header: Mutex<Option<Option<Header>>>,
    /// The last record that this agent's state depends on.
    last: AtomicU64,
}

/// User code in memory, and the version it is of.
pub(crate) struct LiveBody {
    pub(crate) version: Arc<str>,
    pub(crate) body: Box<dyn Body>,
    /// Counts it as live for as long as it exists.
    pub(crate) _place: Place,
}

/// One of the bounded number of live bodies.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(crate) fn take(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Self(live.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    pub(crate) fn new(resident: Resident) -> Self {
        Self {
            resident: RwLock::with_max_readers(resident, READERS_MAX),
            waiting: AtomicUsize::new(0),
            used_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn touch(&self, now: Stamp) {
        self.used_at.store(now, Ordering::Relaxed);
    }

    /// Waits for the turns that came before, as far as they would disturb this one.
    pub(crate) async fn enter(&self, read_only: bool) -> Entered<'_> {
        if read_only { Entered::Reading(self.resident.read().await) } else { Entered::Changing(self.change().await) }
    }

    /// Waits until nobody else is at work on the agent.
    pub(crate) async fn change(&self) -> RwLockWriteGuard<'_, Resident> {
        self.resident.write().await
    }

    /// The same if nobody is; none if somebody is.
    pub(crate) fn try_change(&self) -> Option<RwLockWriteGuard<'_, Resident>> {
        self.resident.try_write().ok()
    }
}

impl Deref for Entered<'_> {
    type Target = Resident;

    fn deref(&self) -> &Resident {
        match self {
            Self::Reading(resident) => resident,
            Self::Changing(resident) => resident,
        }
    }
}

impl Resident {
    /// Nothing is in memory, and what is stored may depend on this record.
    pub(crate) fn asleep_since(last: Seq) -> Self {
        Self { idle: Mutex::default(), header: Mutex::default(), last: AtomicU64::new(last.0) }
    }

    /// What the last turn left, if that is in memory.
    pub(crate) fn header(&self) -> Option<Option<Header>> {
        self.header.lock().clone()
    }

    /// Keeps in memory what was read.
    pub(crate) fn remember(&self, header: Option<Header>) {
        *self.header.lock() = Some(header);
    }

    /// From now on this is what the last turn left, with its record.
    pub(crate) fn committed(&self, header: Option<Header>, seq: Seq) {
        self.remember(header);
        self.last.store(seq.0, Ordering::Relaxed);
    }

    /// The last record that the agent's state depends on.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.last.load(Ordering::Relaxed))
    }

    /// Takes a body of that version out, for a turn. Those of other versions are dropped.
    pub(crate) fn take_body(&self, version: &str) -> Option<LiveBody> {
        let mut idle = self.idle.lock();
        idle.retain(|live| *live.version == *version);
        idle.pop()
    }

    /// Keeps a body that has read.
    pub(crate) fn keep_reader(&self, live: LiveBody) {
        self.idle.lock().push(live);
    }

    /// Keeps the body that made the last commit, and only that: what others have in memory is no longer true.
    pub(crate) fn keep_writer(&self, live: LiveBody) {
        let before = std::mem::replace(&mut *self.idle.lock(), vec![live]);
        drop(before);
    }

    /// Drops all bodies that run no turn.
    pub(crate) fn drop_bodies(&self) {
        let before = std::mem::take(&mut *self.idle.lock());
        drop(before);
    }

    pub(crate) fn has_bodies(&self) -> bool {
        !self.idle.lock().is_empty()
    }

    /// How much memory they hold that comes back when they leave, in bytes.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.idle.lock().iter().map(|live| live.body.held_bytes()).sum()
    }
}
