//! The door of the crate: maps of a node.

use std::{collections::HashMap, sync::Arc};

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
    message::{BEGIN, BeginAsked, END, EndAsked, STATUS},
    results,
    row::{Run, State},
    run::{Signal, Status},
    spec::Spec,
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
pub struct Maps(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) tasks: Tasks,
    room: Semaphore,
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
        let (active, count, stopping) = (Mutex::default(), watch::Sender::new(0), watch::Sender::new(false));
        Self(Arc::new(Inner { engine, objects, caller, settings, clock, chance, tasks, room, active, count, stopping }))
    }

    /// Begins a map. It is durable when this returns.
    ///
    /// # Errors
    /// `not_found` for a function or a bucket that is not there, `invalid_request` for results that would become inputs,
    /// `capability_denied` if the labels of its buckets do not allow it here,
    /// `overloaded` if as many maps run as may.
    pub async fn begin(&self, tenant: &Name, spec: Spec) -> Result<Status, Failure> {
        let inner = &self.0;
        for function in [Some(&spec.function), spec.reduce.as_ref()].into_iter().flatten() {
            inner.caller.find(tenant, function)?;
        }
        check(tenant, &spec)?;
        inner.place(tenant, &spec).await?;
        let (over, first) = (&spec.over, 1);
        inner.objects.list(tenant, &over.bucket, over.prefix.clone(), None, first).await?;
        let at = inner.clock.timestamp();
        let id = MapId::new(at, &inner.chance);
        let address = id.address(tenant);
        let working = Working::begin(inner, &address)?;
        ask::<()>(&inner.engine, &address, BEGIN, &BeginAsked { spec, at }).await?;
        let status = self.status(tenant, &id).await?;
        working.go_on();
        Ok(status)
    }

    /// Goes on with the maps of these tenants that had not ended when the node did.
    ///
    /// # Errors
    /// If they cannot be found.
    pub async fn resume(&self, tenants: impl IntoIterator<Item = Name>) -> Result<(), Failure> {
        for tenant in tenants {
            for address in self.0.addresses(&tenant)? {
                let run: Run = ask(&self.0.engine, &address, STATUS, &()).await?;
                if run.state == State::Running {
                    // A bound that is lower than it was lets the others wait for the next start.
                    match Working::begin(&self.0, &address) {
                        Ok(working) => working.go_on(),
                        Err(failure) => tracing::warn!(map = %address.key, %failure, "a map cannot go on now"),
                    }
                }
            }
        }
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
        for address in self.0.addresses(tenant)? {
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
            signal => {
                let asked = EndAsked { state: State::Cancelled, at: inner.clock.timestamp(), reduced: None };
                ask::<Run>(&inner.engine, &address, END, &asked).await?;
                signal.iter().for_each(|signal| signal.stop());
                Ok(())
            }
        }
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

/// Refuses what could not be or would not end.
fn check(tenant: &Name, spec: &Spec) -> Result<(), Failure> {
    let invalid = |message: String| Failure::new(Code::InvalidRequest, message);
    spec.reduced_object(tenant)
        .map_err(|why| invalid(format!("--out names the object of the reduced result: {why}")))?;
    if let Some(out) = &spec.out
        && out.bucket == spec.over.bucket
        && (out.prefix.starts_with(&spec.over.prefix) || spec.over.prefix.starts_with(&out.prefix))
    {
        return Err(invalid(format!("results under `{out}` would become inputs of the map over `{}`", spec.over)));
    }
    Ok(())
}

impl Inner {
    /// Whether this node takes the calls of a map, with what it reads and where its results go.
    pub(crate) async fn place(
        &self,
        tenant: &Name,
        Spec { function, reduce, over, out, .. }: &Spec,
    ) -> Result<(), Failure> {
        let buckets: Vec<_> =
            [Some(over), out.as_ref()].into_iter().flatten().map(|prefix| prefix.bucket.clone()).collect();
        for function in [Some(function), reduce.as_ref()].into_iter().flatten() {
            self.caller.place(tenant, function, &buckets).await?;
        }
        Ok(())
    }

    /// What tells those who work on a map; none if nobody does.
    pub(crate) fn signal(&self, address: &Address) -> Option<Arc<Signal>> {
        self.active.lock().get(address).cloned()
    }

    /// Room for an input. What is larger than all the room takes all of it.
    pub(crate) async fn room(&self, bytes: usize) -> SemaphorePermit<'_> {
        let units = (bytes.div_ceil(ROOM_UNIT) + 1).min(self.settings.input_bytes / ROOM_UNIT);
        let permit = self.room.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await;
        permit.expect("the room is never closed")
    }

    /// Waits until the node stops.
    pub(crate) async fn stopped(&self) {
        // The sender is part of this, so it cannot be gone.
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    /// Removes the oldest maps that have ended, so that as many are left as are kept.
    async fn forget(&self, tenant: &Name) -> Result<(), Failure> {
        let ended: Vec<_> = self.addresses(tenant)?.into_iter().filter(|one| self.signal(one).is_none()).collect();
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

async fn ask_of(inner: &Inner, address: &Address) -> Result<Run, Failure> {
    ask(&inner.engine, address, STATUS, &()).await
}

/// A place among those that run. Nobody else works on the map while there is one.
struct Working {
    inner: Arc<Inner>,
    address: Address,
    signal: Arc<Signal>,
}

impl Working {
    fn begin(inner: &Arc<Inner>, address: &Address) -> Result<Self, Failure> {
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
    fn go_on(self) {
        let tasks = self.inner.tasks.clone();
        tasks.spawn(async move {
            drive(&self.inner, &self.address, &self.signal).await;
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
