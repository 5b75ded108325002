//! The door of the crate: maps of a node.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use stride_agents::{Engine, native::ask};
use stride_data::Objects;
use stride_ids::{Address, Code, Failure, Name};
use stride_sim::{Chance, Clock, Tasks};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::{
    caller::Caller,
    drive::drive,
    id::MapId,
    message::{END, EndAsked, STATUS},
    results,
    row::{Run, State},
    run::{Signal, Status},
    stats::{Counters, MapStats},
};

/// In what the room for inputs is counted, in bytes.
const ROOM_UNIT: usize = 1 << 10;

/// The bounds of a node's maps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many bytes a part has, about, if objects are split.
    pub part_len: u64,
    /// How many maps may run at the same time.
    pub running_max: usize,
    /// How many maps of a tenant are kept after their end. The oldest goes first, with its results.
    pub kept_max: usize,
    /// How many bytes of inputs are in memory at the same time.
    pub input_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { part_len: 1 << 20, running_max: 16, kept_max: 32, input_bytes: 64 << 20 }
    }
}

/// The maps of a node.
pub struct Maps(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) settings: Settings,
    /// The maps on which nobody has to work in this life of the node, mostly because they have ended.
    settled: Mutex<HashSet<Address>>,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) tasks: Tasks,
    room: Semaphore,
    pub(crate) counters: Counters,
    /// Held by whoever begins a map under a key, so that of two at once the second finds the first.
    pub(crate) beginning: tokio::sync::Mutex<()>,
    /// The maps that somebody works on.
    active: Mutex<HashMap<Address, Arc<Signal>>>,
    /// How many those are, for whoever waits for them.
    count: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

impl Maps {
    /// Maps over `objects` that call functions through `caller`. The agents of `engine` keep them, [`crate::MAPS`]
    /// among those.
    pub fn new(
        engine: Arc<Engine>,
        objects: Arc<Objects>,
        caller: Arc<dyn Caller>,
        settings: Settings,
        (clock, chance, tasks): (Clock, Chance, Tasks),
    ) -> Self {
        let room = Semaphore::new(settings.input_bytes / ROOM_UNIT);
        let (active, settled, counters, beginning) = Default::default();
        let (count, stopping) = (watch::Sender::new(0), watch::Sender::new(false));
        let inner = Inner {
            engine,
            objects,
            caller,
            settings,
            settled,
            clock,
            chance,
            tasks,
            room,
            counters,
            beginning,
            active,
            count,
            stopping,
        };
        Self(Arc::new(inner))
    }

    /// Counts what has been done.
    pub fn stats(&self) -> MapStats {
        self.0.counters.stats(*self.0.count.borrow())
    }

    /// Works on the maps of these tenants that have not ended and that nobody works on: those from before the node started, and those that
    /// agents have begun. To be called again and again; it does the same thing every time.
    ///
    /// # Errors
    /// If they cannot be found.
    pub async fn take_up(&self, tenants: impl IntoIterator<Item = Name>) -> Result<(), Failure> {
        let inner = &self.0;
        inner.leave_those_elsewhere();
        let mut there = HashSet::new();
        for tenant in tenants {
            for address in inner.addresses_here(&tenant)? {
                if inner.signal(&address).is_none() && !inner.settled.lock().contains(&address) {
                    match ask_of(inner, &address).await {
                        Ok(Run { state: State::Running, .. }) => match Working::begin(inner, &address) {
                            Ok(working) => working.go_on(),
                            // The others wait until one of those that run has ended.
                            Err(_) => return Ok(()),
                        },
                        // It has gone meanwhile.
                        Err(Failure { code: Code::NotFound, .. }) => continue,
                        Err(failure) => {
                            tracing::error!(map = %address.key, %failure, "a map cannot be read; it is tried again when the node starts");
                            inner.settle(&address);
                        }
                        Ok(_) => inner.settle(&address),
                    }
                }
                there.insert(address);
            }
        }
        inner.settled.lock().retain(|address| there.contains(address));
        Ok(())
    }

    /// Looks at a map.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn status(&self, tenant: &Name, id: &MapId) -> Result<Status, Failure> {
        let run = ask(&self.0.engine, &id.address(tenant), STATUS, &()).await?;
        Ok(Status::new(id.clone(), run))
    }

    /// The maps of a tenant that run or are kept, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn list(&self, tenant: &Name) -> Result<Vec<Status>, Failure> {
        let mut all = Vec::new();
        for address in self.0.addresses(tenant).await? {
            match self.status(tenant, &MapId::of(&address)).await {
                Ok(status) => all.push(status),
                // It has gone to make room meanwhile.
                Err(failure) if failure.code == Code::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(all)
    }

    /// The results of a map as lines of JSON, in the order of its items, as they come. The stream ends when the map does.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn results(
        &self,
        tenant: &Name,
        id: &MapId,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + use<>, Failure> {
        self.status(tenant, id).await?;
        Ok(results::lines(self.0.clone(), id.address(tenant)))
    }

    /// Cancels a map: nothing new begins, and what has begun is finished. One that has ended is removed with its results.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn cancel(&self, tenant: &Name, id: &MapId) -> Result<(), Failure> {
        let address = id.address(tenant);
        let inner = &self.0;
        let signal = inner.signal(&address);
        let run: Run = ask(&inner.engine, &address, STATUS, &()).await?;
        match signal {
            None if run.state != State::Running => inner.engine.remove(&address).await,
            _ => self.call_off(tenant, id).await,
        }
    }

    /// Cancels a map. One that has ended stays as it is.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn call_off(&self, tenant: &Name, id: &MapId) -> Result<(), Failure> {
        let (inner, address) = (&self.0, id.address(tenant));
        let signal = inner.signal(&address);
        let asked = EndAsked { state: State::Cancelled, at: inner.clock.timestamp(), reduced: None };
        ask::<Run>(&inner.engine, &address, END, &asked).await?;
        signal.iter().for_each(|signal| signal.stop());
        Ok(())
    }

    /// Begins nothing new and ends all streams of results. Maps that run go on when the node starts again.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
        self.0.active.lock().values().for_each(|signal| signal.stop());
    }

    /// Waits until what had begun is finished and recorded.
    pub async fn stopped(&self) {
        // The sender is part of this, so it cannot be gone.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Inner {
    /// What tells those who work on a map; none if nobody does.
    pub(crate) fn signal(&self, address: &Address) -> Option<Arc<Signal>> {
        self.active.lock().get(address).cloned()
    }

    /// Nobody has to work on a map any more.
    fn settle(&self, address: &Address) {
        self.settled.lock().insert(address.clone());
    }

    /// Room for an input. What is larger than all the room takes all of it.
    pub(crate) async fn room(&self, bytes: usize) -> SemaphorePermit<'_> {
        let units = (bytes.div_ceil(ROOM_UNIT) + 1).min(self.settings.input_bytes / ROOM_UNIT);
        let permit = self.room.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await;
        permit.expect("the room is never closed")
    }

    /// Stops work on the maps whose agents have moved: the nodes that have them now go on.
    fn leave_those_elsewhere(&self) {
        for (address, signal) in self.active.lock().iter() {
            if !self.engine.is_here(address) {
                signal.stop();
            }
        }
    }

    /// Waits until the node stops.
    pub(crate) async fn stopped(&self) {
        // The sender is part of this, so it cannot be gone.
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    /// Removes the oldest maps that have ended, so that as many are left as are kept.
    async fn forget(&self, tenant: &Name) -> Result<(), Failure> {
        let ended: Vec<_> =
            self.addresses(tenant).await?.into_iter().filter(|one| self.signal(one).is_none()).collect();
        let too_many = ended.len().saturating_sub(self.settings.kept_max);
        for address in ended.iter().take(too_many) {
            let run: Run = ask_of(self, address).await?;
            if run.state != State::Running {
                self.engine.remove(address).await?;
            }
        }
        Ok(())
    }
}

pub(crate) async fn ask_of(inner: &Inner, address: &Address) -> Result<Run, Failure> {
    ask(&inner.engine, address, STATUS, &()).await
}

/// A place among those that run. Nobody else works on the map while there is one.
pub(crate) struct Working {
    inner: Arc<Inner>,
    address: Address,
    signal: Arc<Signal>,
}

impl Working {
    pub(crate) fn begin(inner: &Arc<Inner>, address: &Address) -> Result<Self, Failure> {
        let refuse = |message: String| Err(Failure::new(Code::Overloaded, message));
        let mut active = inner.active.lock();
        if *inner.stopping.borrow() {
            return refuse("the node stops; try again elsewhere or later".into());
        }
        let max = inner.settings.running_max;
        if active.len() >= max {
            return refuse(format!("{max} maps run already; try again"));
        }
        let signal = Arc::new(Signal::new());
        active.insert(address.clone(), signal.clone());
        inner.count.send_replace(active.len());
        Ok(Self { inner: inner.clone(), address: address.clone(), signal })
    }

    /// Works on the map, beside the caller.
    pub(crate) fn go_on(self) {
        let tasks = self.inner.tasks.clone();
        tasks.spawn(async move {
            drive(&self.inner, &self.address, &self.signal).await;
            self.inner.settle(&self.address);
            let Self { inner, address, .. } = &self;
            let (inner, tenant) = (inner.clone(), address.tenant.clone());
            drop(self);
            if let Err(failure) = inner.forget(&tenant).await {
                tracing::warn!(%failure, "maps that have ended cannot be removed; the next one that ends tries again");
            }
        });
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut active = self.inner.active.lock();
        active.remove(&self.address);
        self.inner.count.send_replace(active.len());
        drop(active);
        self.signal.note();
    }
}
