//! Functions: every call gets an instance of its own, which is gone when the call is over.
//!
//! Making an instance and clearing away a used one take longer than most calls, and both can happen while the caller reads
//! its reply: after a call, the next one's instance is made ahead. It is still used once.
//!
//! The exception is a [`Chain`]: functions of one component that one caller calls one after the other, if their author says
//! that an instance may be used again.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use stride_agents::Engine;
use stride_ids::{CallId, Failure, Name, ObjectName, Payload};
use stride_maps::Input;
use stride_placement::Load;
use tokio::sync::Semaphore;

use crate::{
    chain::Chain,
    component::{Component, nearest},
    copies::{Copies, Reads},
    failure::{from_guest, out_of_time},
    gate::Gate,
    guest::{Reach, from_wit, to_wit},
    memo::{Memo, MemoKey},
    others::Others,
    placing::Job,
    purity::Purity,
    registry::Registry,
    spares::SPARES_MAX,
    spec::FunctionSpec,
    warming::Warming,
};

/// What a function is to do.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose function.
    pub tenant: Name,
    /// In which component.
    pub component: Name,
    /// Which function.
    pub function: String,
    /// What it gets.
    pub input: Payload,
    /// Objects that it will read, so that it can run where they are.
    pub data: Vec<ObjectName>,
    /// The trace that the call is part of, as a `traceparent`.
    pub trace: Option<String>,
}

/// A function of one version of a component. It can be called as long as this is held, whatever is deployed meanwhile.
#[derive(Clone)]
pub struct Function {
    pub(crate) component: Arc<Component>,
    pub(crate) name: String,
}

impl Function {
    /// The function of that name.
    ///
    /// # Errors
    /// `not_found`, with the nearest name.
    pub fn of(component: Arc<Component>, name: &str) -> Result<Self, Failure> {
        let names = || component.exports.functions.iter().map(String::as_str);
        if names().any(|known| known == name) {
            return Ok(Self { component, name: name.to_owned() });
        }
        let near = nearest(name, names());
        Err(Failure::not_found(&format!("function in `{}`:", component.name), name, near))
    }

    /// Of which version of its component it is.
    pub fn version(&self) -> &str {
        &self.component.version
    }

    /// Whether it is pure.
    pub fn purity(&self) -> &Purity {
        &self.component.purity
    }

    /// Its component and its name.
    pub(crate) fn names(&self) -> (&Component, &str) {
        (&self.component, &self.name)
    }

    /// Whether its answers are kept.
    fn is_memoised(&self) -> bool {
        self.component.spec.functions.get(&self.name).is_some_and(|spec| spec.memoise)
    }

    /// What it may use: what it asks for, or the defaults.
    pub fn spec(&self) -> FunctionSpec {
        self.component.spec.functions.get(&self.name).cloned().unwrap_or_default()
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component.name, self.name)
    }
}

/// A finished call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Called {
    /// Its id, the same as in its log lines.
    pub call: CallId,
    /// The reply.
    pub payload: Payload,
    /// Waiting for a place to run.
    pub queue: Duration,
    /// Making the instance; next to nothing if it was made ahead.
    pub start: Duration,
    /// Running user code.
    pub run: Duration,
    /// The reply was known from an earlier call, so nothing has run.
    pub is_memoised: bool,
    /// The node where it ran; none if that is this one.
    pub node: Option<Name>,
}

/// How a call on this node ended without an answer.
pub(crate) enum Ended {
    /// Nothing has begun.
    NotBegun(Failure),
    /// It has, and this is what came of it.
    Failed(Failure),
}

impl Ended {
    fn into_failure(self) -> Failure {
        let (Self::NotBegun(failure) | Self::Failed(failure)) = self;
        failure
    }
}

/// What has been called since the node started, and what runs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionStats {
    /// Calls that answered.
    pub succeeded: u64,
    /// Calls that failed in any way.
    pub failed: u64,
    /// Calls that are running.
    pub running: u64,
    /// Calls that wait for one that is running to end.
    pub waiting: u64,
    /// How much memory guests, agents included, have taken beyond what they started with, in bytes.
    pub guest_memory_bytes: u64,
    /// Calls of memoised functions whose answer was known. They count as succeeded as well.
    pub memo_hits: u64,
    /// Calls of memoised functions whose answer was not known.
    pub memo_misses: u64,
    /// How many bytes of answers are kept.
    pub memo_bytes: u64,
    /// Copies of objects that other nodes were asked to make, because much work waits for them here.
    pub copies_ordered: u64,
    /// How many bytes were fetched before anybody asked for them here.
    pub ahead_bytes: u64,
    /// Chunks that were to be fetched so and were not: labels do not allow it, there was no room, or they are gone.
    pub ahead_dropped: u64,
}

/// Calls functions.
pub struct Functions {
    pub(crate) registry: Arc<Registry>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) gates: RwLock<HashMap<GateKey, Arc<Gate>>>,
    spares: Arc<Semaphore>,
    memo: Memo,
    /// The other nodes, in a cluster.
    pub(crate) others: OnceLock<Others>,
    /// What was ordered of them.
    pub(crate) copies: Copies,
    /// What they ordered here.
    pub(crate) warming: Warming,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// A function in one version: tenant, component and function, and the version.
type GateKey = ((Name, Name, String), Arc<str>);

impl Functions {
    /// Calls the functions of a registry; `engine` is where their asks go.
    pub fn new(registry: Arc<Registry>, engine: Arc<Engine>) -> Self {
        Self {
            registry,
            engine,
            gates: RwLock::default(),
            spares: Arc::new(Semaphore::new(SPARES_MAX as usize)),
            memo: Memo::new(),
            others: OnceLock::new(),
            copies: Copies::default(),
            warming: Warming::new(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Calls a function once.
    pub async fn call(&self, call: Call) -> Result<Called, Failure> {
        let Call { tenant, component, function, input, data, trace } = call;
        match self.find(&tenant, &component, &function, None) {
            Ok(function) => self.call_found(&function, Job { data, ..Job::of(input, trace) }).await,
            Err(failure) => self.counted(Err(failure)),
        }
    }

    /// Calls a function that was found before, once, on the node that placement chooses.
    pub async fn call_found(&self, function: &Function, job: Job) -> Result<Called, Failure> {
        let gate = self.gate(function);
        if self.is_placed(function, &job) {
            // On the heap, so that calls without data do not carry it.
            return Box::pin(self.place_and_call(function, &gate, job)).await;
        }
        let ended = self.call_here(function, &gate, job.input, job.trace, &Reads::default()).await;
        self.counted(ended.map_err(Ended::into_failure))
    }

    /// Calls a pure function as the next of a chain, on this node.
    pub async fn call_next(&self, function: &Function, input: Payload, chain: &mut Chain) -> Result<Called, Failure> {
        let gate = self.gate(function);
        let ended = self.call_in(function, &gate, input, None, &Reads::default(), chain).await;
        self.counted(ended.map_err(Ended::into_failure))
    }

    /// Gives the answer that is known, or runs the function.
    pub(crate) async fn call_here(
        &self,
        function: &Function,
        gate: &Arc<Gate>,
        input: Input,
        trace: Option<String>,
        reads: &Reads,
    ) -> Result<Called, Ended> {
        let input = match input {
            Input::Payload(payload) => payload,
            part @ Input::Part(_) => Box::pin(self.read(function, part)).await.map_err(Ended::Failed)?,
        };
        self.call_in(function, gate, input, trace, reads, &mut Chain::default()).await
    }

    async fn call_in(
        &self,
        function: &Function,
        gate: &Arc<Gate>,
        input: Payload,
        trace: Option<String>,
        reads: &Reads,
        chain: &mut Chain,
    ) -> Result<Called, Ended> {
        input.check_size("request").map_err(Ended::NotBegun)?;
        if !function.is_memoised() {
            return self.run_in_turn(function, gate, input, trace, reads, chain).await;
        }
        let key = MemoKey::of(function, &input);
        if let Some(payload) = self.memo.get(&key) {
            let call = CallId(function.component.host.chance.next_u64());
            let (queue, start, run) = Default::default();
            return Ok(Called { call, payload, queue, start, run, is_memoised: true, node: None });
        }
        let called = self.run_in_turn(function, gate, input, trace, reads, chain).await?;
        self.memo.keep(key, &called.payload);
        Ok(called)
    }

    async fn read(&self, function: &Function, input: Input) -> Result<Payload, Failure> {
        input.read(&function.component.host.here()?.objects).await
    }

    pub(crate) fn counted(&self, outcome: Result<Called, Failure>) -> Result<Called, Failure> {
        let counter = if outcome.is_ok() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Counts what has been called.
    pub fn stats(&self) -> FunctionStats {
        let gates = self.gates.read();
        let count = |counted: fn(&Gate) -> usize| gates.values().map(|gate| counted(gate)).sum::<usize>() as u64;
        let (memo_hits, memo_misses, memo_bytes) = self.memo.stats();
        let (ahead_bytes, ahead_dropped) = self.warming.stats();
        FunctionStats {
            memo_hits,
            memo_misses,
            memo_bytes,
            copies_ordered: self.copies.ordered(),
            ahead_bytes,
            ahead_dropped,
            guest_memory_bytes: self.registry.host().memory_taken(),
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            running: count(Gate::running),
            waiting: count(Gate::waiting),
        }
    }

    /// A function in one version, or in the one that is in force.
    ///
    /// # Errors
    /// `not_found`, with the nearest name, or because the version is not in memory any more.
    pub fn find(
        &self,
        tenant: &Name,
        component: &Name,
        function: &str,
        version: Option<&str>,
    ) -> Result<Function, Failure> {
        let component = match version {
            Some(version) => self.registry.component_of_version(tenant, component, version)?,
            None => self.registry.component(tenant, component)?,
        };
        Function::of(component, function)
    }

    /// Whether the functions of a component are pure.
    ///
    /// # Errors
    /// `not_found`, with the nearest name.
    pub fn purity(&self, tenant: &Name, component: &Name) -> Result<Purity, Failure> {
        Ok(self.registry.component(tenant, component)?.purity.clone())
    }

    /// What the functions of this node have accepted, and how much they accept at most.
    pub(crate) fn load(&self) -> (Load, u32) {
        let (mut load, mut accepted_max) = (Load::default(), 0_usize);
        for gate in self.gates.read().values() {
            let accepted = u32::try_from(gate.running() + gate.waiting()).unwrap_or(u32::MAX);
            load.accepted = load.accepted.saturating_add(accepted);
            load.work = load.work.saturating_add(gate.mean_run().saturating_mul(accepted));
            accepted_max = accepted_max.saturating_add(gate.spec.concurrency).saturating_add(gate.spec.queue);
        }
        (load, u32::try_from(accepted_max).unwrap_or(u32::MAX))
    }

    /// Waits for a place, and runs.
    async fn run_in_turn(
        &self,
        function: &Function,
        gate: &Arc<Gate>,
        input: Payload,
        trace: Option<String>,
        reads: &Reads,
        chain: &mut Chain,
    ) -> Result<Called, Ended> {
        let clock = &function.component.host.clock;
        let began = clock.now();
        let _place = gate.enter(&function.name, reads).await.map_err(Ended::NotBegun)?;
        let queue = clock.now() - began;
        let run = self.run(function, gate, input, trace, chain);
        match clock.timeout(gate.spec.timeout, run).await {
            Ok(Ok(called)) => Ok(Called { queue, ..called }),
            Ok(Err(failure)) => Err(Ended::Failed(failure)),
            Err(_) => Err(Ended::Failed(out_of_time(gate.spec.timeout))),
        }
    }

    async fn run(
        &self,
        Function { component, name }: &Function,
        gate: &Arc<Gate>,
        input: Payload,
        trace: Option<String>,
        chain: &mut Chain,
    ) -> Result<Called, Failure> {
        let host = component.host.clone();
        let call = CallId(host.chance.next_u64());
        let began = host.clock.now();
        let mut prepared = match chain.take(component, gate).or_else(|| gate.spares.take(component)) {
            Some(prepared) => prepared,
            None => component.prepare(gate.spec.memory_bytes).await?,
        };
        let reach = Reach::Agents { component: component.clone(), engine: self.engine.clone(), trace };
        prepared.begin_call(call, reach);
        let started = host.clock.now();
        let answer = prepared.call(name, &to_wit(input)).await?;
        let payload = from_wit(answer.map_err(from_guest)?);
        payload.check_size("reply")?;
        let run = host.clock.now() - started;
        gate.note_own_run(run);
        chain.keep(component, gate, prepared);
        Ok(Called { call, payload, queue: Duration::ZERO, start: started - began, run, is_memoised: false, node: None })
    }

    /// Gives back the instances made ahead for functions that nobody called for a while. To be called now and then.
    pub fn release_idle(&self) {
        for gate in self.gates.read().values() {
            gate.spares.release_idle();
        }
    }

    /// The gate of a function.
    pub(crate) fn gate(&self, function: &Function) -> Arc<Gate> {
        let Component { tenant, name, version, .. } = &*function.component;
        let key: GateKey = ((tenant.clone(), name.clone(), function.name.clone()), version.clone());
        if let Some(gate) = self.gates.read().get(&key) {
            return gate.clone();
        }
        let mut gates = self.gates.write();
        // Of other versions those are left that somebody still calls.
        gates.retain(|other, gate| other.0 != key.0 || Arc::strong_count(gate) > 1);
        gates.entry(key).or_insert_with(|| Arc::new(Gate::new(function.spec(), self.spares.clone()))).clone()
    }
}
