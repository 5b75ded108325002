//! Functions: every call gets an instance of its own, which is gone when the call is over.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use stride_agents::Engine;
use stride_ids::{CallId, Code, Failure, Name, Payload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    component::{Component, nearest},
    failure::{from_guest, out_of_time},
    guest::{Reach, from_wit, to_wit},
    registry::Registry,
    spec::FunctionSpec,
};

/// A finished call.
#[derive(Clone, Debug)]
pub struct Called {
    /// Its id, the same as in its log lines.
    pub call: CallId,
    /// The reply.
    pub payload: Payload,
    /// Waiting for a place to run.
    pub queue: Duration,
    /// Making the instance.
    pub start: Duration,
    /// Running user code.
    pub run: Duration,
}

/// What has been called since the node started, and what runs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionStats {
    /// Calls that answered.
    pub succeeded: u64,
    /// Calls that failed in any way.
    pub failed: u64,
    /// Calls that are running or waiting.
    pub active: u64,
}

/// Calls functions.
pub struct Functions {
    registry: Arc<Registry>,
    engine: Arc<Engine>,
    gates: RwLock<HashMap<GateKey, Arc<Gate>>>,
    succeeded: AtomicU64,
    failed: AtomicU64,
    active: AtomicU64,
}

type GateKey = (Name, Name, String);

/// The bound on the calls of one function: so many run, so many more wait, the next is refused.
struct Gate {
    spec: FunctionSpec,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Functions {
    /// Calls the functions of a registry; `engine` is where their asks go.
    pub fn new(registry: Arc<Registry>, engine: Arc<Engine>) -> Self {
        Self {
            registry,
            engine,
            gates: RwLock::default(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            active: AtomicU64::new(0),
        }
    }

    /// Calls a function once.
    pub async fn call(
        &self,
        tenant: &Name,
        component: &Name,
        function: &str,
        input: Payload,
    ) -> Result<Called, Failure> {
        let _active = Active::enter(&self.active);
        let outcome = self.try_call(tenant, component, function, input).await;
        let counter = if outcome.is_ok() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Counts what has been called.
    pub fn stats(&self) -> FunctionStats {
        FunctionStats {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            active: self.active.load(Ordering::Relaxed),
        }
    }

    async fn try_call(
        &self,
        tenant: &Name,
        component: &Name,
        function: &str,
        input: Payload,
    ) -> Result<Called, Failure> {
        let component = self.registry.component(tenant, component)?;
        if !component.exports.functions.iter().any(|name| name == function) {
            let near = nearest(function, component.exports.functions.iter().map(String::as_str));
            return Err(Failure::not_found(&format!("function in `{}`:", component.name), function, near));
        }
        input.check_size("request")?;
        let clock = &component.host.clock;
        let began = clock.now();
        let gate = self.gate(&component, function);
        let _place = gate.enter(function).await?;
        let queue = clock.now() - began;
        let run = self.run(component.clone(), &gate.spec, function, input);
        let mut called = match clock.timeout(gate.spec.timeout, run).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(out_of_time(gate.spec.timeout)),
        };
        called.queue = queue;
        Ok(called)
    }

    async fn run(
        &self,
        component: Arc<Component>,
        spec: &FunctionSpec,
        function: &str,
        input: Payload,
    ) -> Result<Called, Failure> {
        let host = component.host.clone();
        let call = CallId(host.chance.next_u64());
        let began = host.clock.now();
        let reach = Reach::Agents { component: component.clone(), engine: self.engine.clone() };
        let (mut store, instance) = component.instantiate(call, spec.memory_bytes, reach).await?;
        let started = host.clock.now();
        let outcome = instance.stride_guest_handler().call_call(&mut store, function, &to_wit(input)).await;
        let answer = outcome.map_err(|e| store.data().failure_of(&e))?;
        store.data().end_output();
        let payload = from_wit(answer.map_err(from_guest)?);
        payload.check_size("reply")?;
        let run = host.clock.now() - started;
        Ok(Called { call, payload, queue: Duration::ZERO, start: started - began, run })
    }

    /// The gate of a function; a new one if the function's spec has changed.
    fn gate(&self, component: &Component, function: &str) -> Arc<Gate> {
        let spec = component.spec.functions.get(function).cloned().unwrap_or_default();
        let key = (component.tenant.clone(), component.name.clone(), function.to_owned());
        if let Some(gate) = self.gates.read().get(&key).filter(|gate| gate.spec == spec) {
            return gate.clone();
        }
        let gate =
            Arc::new(Gate { places: Arc::new(Semaphore::new(spec.concurrency)), waiting: AtomicUsize::new(0), spec });
        self.gates.write().insert(key, gate.clone());
        gate
    }
}

impl Gate {
    async fn enter(&self, function: &str) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.spec.queue {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let FunctionSpec { concurrency, queue, .. } = self.spec;
            let message = format!("`{function}` has {concurrency} calls running and {queue} waiting; try again");
            return Err(Failure::new(Code::Overloaded, message));
        }
        let _waiting = LeaveOnDrop(&self.waiting);
        let place = self.places.clone().acquire_owned().await;
        Ok(place.expect("a gate's places are never closed"))
    }
}

struct LeaveOnDrop<'a>(&'a AtomicUsize);

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a call for as long as it lasts, also when its caller goes away.
struct Active<'a>(&'a AtomicU64);

impl<'a> Active<'a> {
    fn enter(active: &'a AtomicU64) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        Self(active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
