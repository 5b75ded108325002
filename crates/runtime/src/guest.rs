//! One instance as the host sees it: its limits, what it prints, and what it may reach right now.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use stride_agents::{Ask, Engine, Firing, Schedule, Tell, TimerStatus, Turn, TurnError};
use stride_ids::{Address, AgentKey, CallId, CellId, Code, Failure, Name, Payload, is_private_method};
use stride_sim::Clock;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::{
    bindings::stride::guest::{agents, memory, state, timers, types},
    component::Component,
    failure::{Ended, Refused, classify, to_guest},
    host::Host,
    logs::{Origin, Output, Stream},
    memory::MemoryLimit,
    objects::OpenObjects,
};

/// The data that a Wasmtime store carries for a guest.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) memory: MemoryLimit,
    pub(crate) objects: OpenObjects,
    output: Output,
    reach: Reach,
    clock: Clock,
}

/// What a guest may reach beyond its own memory.
#[expect(clippy::large_enum_variant, reason = "there is one per instance, and a box would be an allocation per turn")]
pub(crate) enum Reach {
    /// Nothing: it is being described, waits for a call, or is between turns.
    Nothing,
    /// The state and the timers of the agent whose turn it is, and the agents that the component's capabilities name.
    Turn { turn: Turn, component: Arc<Component> },
    /// The agents that the component's capabilities name. Like a turn, it can reach the objects that they name as well.
    Agents { component: Arc<Component>, engine: Arc<Engine>, trace: Option<String> },
}

impl Guest {
    /// A guest that can reach nothing. With a `seed`, its hash maps have the same order every time.
    pub(crate) fn new(host: &Host, origin: Origin, memory_max: usize, seed: Option<u128>) -> Self {
        let output = Output::new(host.logs.clone(), origin);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.stream(Stream::Stdout))
            .stderr(output.stream(Stream::Stderr))
            .wall_clock(GuestClock(host.clock.clone()))
            .monotonic_clock(GuestClock(host.clock.clone()))
            .allow_tcp(false)
            .allow_udp(false);
        if let Some(seed) = seed {
            wasi.insecure_random_seed(seed);
        }
        let memory = MemoryLimit::new(memory_max, host.memory.clone());
        Self {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            memory,
            objects: OpenObjects::default(),
            output,
            reach: Reach::Nothing,
            clock: host.clock.clone(),
        }
    }

    /// From now on the guest works for a call or a turn, and may reach this much.
    pub(crate) fn begin(&mut self, call: CallId, reach: Reach) {
        self.output.begin(call, reach.trace().map(str::to_owned));
        self.reach = reach;
    }

    /// Takes the turn back, if the guest had one.
    pub(crate) fn end_turn(&mut self) -> Option<Turn> {
        self.output.end();
        self.objects.let_go();
        match std::mem::replace(&mut self.reach, Reach::Nothing) {
            Reach::Turn { turn, .. } => Some(turn),
            Reach::Nothing | Reach::Agents { .. } => None,
        }
    }

    /// What a run that ended in `error` looks like to its caller.
    pub(crate) fn failure_of(&self, error: &wasmtime::Error) -> Failure {
        self.output.end();
        classify(&Ended {
            error,
            memory_refused: self.memory.refused(),
            memory_max: self.memory.max(),
            stderr: self.output.explanation(),
        })
    }

    /// Ends the lines that the guest left open.
    pub(crate) fn end_output(&self) {
        self.output.end();
    }

    fn turn(&mut self) -> wasmtime::Result<&mut Turn> {
        match &mut self.reach {
            Reach::Turn { turn, .. } => Ok(turn),
            Reach::Nothing | Reach::Agents { .. } => {
                let message = "only an agent has state and timers, and only during a turn; a function can ask an agent";
                Err(Refused(Failure::new(Code::CapabilityDenied, message)).into())
            }
        }
    }
}

/// What it takes to reach objects.
impl Guest {
    /// The component that works, and whose capabilities say what it may reach.
    pub(crate) fn working(&self) -> Result<&Arc<Component>, Failure> {
        match &self.reach {
            Reach::Turn { component, .. } | Reach::Agents { component, .. } => Ok(component),
            Reach::Nothing => {
                let message = "objects can be reached only during a call or a turn";
                Err(Failure::new(Code::CapabilityDenied, message))
            }
        }
    }

    /// The cell of the agent whose turn it is; none outside of a turn.
    pub(crate) fn cell(&self) -> Option<CellId> {
        match &self.reach {
            Reach::Turn { turn, .. } => Some(turn.cell()),
            Reach::Nothing | Reach::Agents { .. } => None,
        }
    }

    /// Ends the run if it is a turn that must not change anything.
    pub(crate) fn check_may_write(&self) -> wasmtime::Result<()> {
        match &self.reach {
            Reach::Turn { turn, .. } if turn.is_read_only() => Err(refused(TurnError::ReadOnly)),
            _ => Ok(()),
        }
    }
}

impl Guest {
    /// What the guest may reach right now.
    pub(crate) fn reach_mut(&mut self) -> &mut Reach {
        &mut self.reach
    }
}

/// Ends the run with what was refused.
fn refused(error: TurnError) -> wasmtime::Error {
    Refused(error.into()).into()
}

impl types::Host for Guest {}

impl state::Host for Guest {
    fn load(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.turn()?.load().map(Vec::from))
    }

    fn save(&mut self, bytes: Vec<u8>) -> wasmtime::Result<()> {
        self.turn()?.save(bytes.into()).map_err(refused)
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.turn()?.get(&key).map_err(refused)?.map(Vec::from))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<()> {
        self.turn()?.set(key, value.into()).map_err(refused)
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.turn()?.delete(key).map_err(refused)
    }

    fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        /// However much a guest asks for, a page has no more entries than this.
        const PAGE_MAX: usize = 1_000;
        let limit = usize::try_from(limit).map_or(PAGE_MAX, |limit| limit.min(PAGE_MAX));
        let page = self.turn()?.scan(&prefix, after.as_deref(), limit).map_err(refused)?;
        Ok(page.into_iter().map(|(key, value)| (key, Vec::from(value))).collect())
    }
}

impl agents::Host for Guest {
    async fn ask(
        &mut self,
        kind: String,
        key: String,
        method: String,
        input: types::Payload,
    ) -> wasmtime::Result<Result<types::Payload, types::Failure>> {
        let answer = self.reach.ask(&kind, &key, method, from_wit(input)).await;
        Ok(answer.map(to_wit).map_err(to_guest))
    }

    async fn tell(
        &mut self,
        kind: String,
        key: String,
        method: String,
        input: types::Payload,
    ) -> wasmtime::Result<Result<(), types::Failure>> {
        self.reach.tell(&kind, &key, method, from_wit(input)).await
    }

    fn attempts_key(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(match &self.reach {
            Reach::Turn { turn, .. } => turn.attempts_key().map(str::to_owned),
            Reach::Nothing | Reach::Agents { .. } => None,
        })
    }
}

impl Reach {
    /// The trace that the run is part of.
    fn trace(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Turn { turn, .. } => turn.trace(),
            Self::Agents { trace, .. } => trace.as_deref(),
        }
    }

    /// Asks an agent, if the component's capabilities allow it.
    async fn ask(&mut self, kind: &str, key: &str, method: String, input: Payload) -> Result<Payload, Failure> {
        match self {
            Self::Nothing => Err(no_agents()),
            Self::Turn { turn, component } => turn.ask(target(component, kind, key, &method)?, method, input).await,
            Self::Agents { component, engine, trace } => {
                let (address, trace) = (target(component, kind, key, &method)?, trace.clone());
                let answer = engine.ask(Ask { address, method, input, idempotency_key: None, trace }).await?;
                Ok(answer.payload)
            }
        }
    }

    /// Tells an agent, if the component's capabilities allow it. What a read-only turn must not do ends the run.
    async fn tell(
        &mut self,
        kind: &str,
        key: &str,
        method: String,
        input: Payload,
    ) -> wasmtime::Result<Result<(), types::Failure>> {
        let told = match self {
            Self::Nothing => Err(no_agents()),
            Self::Turn { turn, component } => match allowed(component, kind, key, &method, &input) {
                Ok(address) => match turn.tell(address, method, input) {
                    Err(error @ TurnError::ReadOnly) => return Err(refused(error)),
                    told => told.map_err(Failure::from),
                },
                Err(failure) => Err(failure),
            },
            Self::Agents { component, engine, trace } => match target(component, kind, key, &method) {
                Ok(address) => {
                    let tell = Tell { address, method, input, idempotency_key: None, trace: trace.clone() };
                    engine.tell(tell).await.map(drop)
                }
                Err(failure) => Err(failure),
            },
        };
        Ok(told.map_err(to_guest))
    }
}

fn no_agents() -> Failure {
    Failure::new(Code::CapabilityDenied, "agents can be reached only during a call or a turn")
}

fn allowed(component: &Component, kind: &str, key: &str, method: &str, input: &Payload) -> Result<Address, Failure> {
    input.check_size("message")?;
    target(component, kind, key, method)
}

/// The agent of that name, if the component's capabilities allow to reach it.
fn target(component: &Component, kind: &str, key: &str, method: &str) -> Result<Address, Failure> {
    let invalid = |e: stride_ids::InvalidName| Failure::new(Code::InvalidRequest, e.to_string());
    let address = Address {
        tenant: component.tenant.clone(),
        kind: Name::new(kind).map_err(invalid)?,
        key: AgentKey::new(key).map_err(invalid)?,
    };
    if address.kind.is_private() {
        let message = format!("agent type `{kind}` belongs to the platform, as all that begin with `stride-`");
        return Err(Failure::new(Code::CapabilityDenied, message));
    }
    if is_private_method(method) {
        let message = format!("method `{method}` belongs to the platform, as all that begin with `stride-`");
        return Err(Failure::new(Code::CapabilityDenied, message));
    }
    if component.spec.grants_agent(&component.tenant, &address) {
        return Ok(address);
    }
    let message = format!(
        "component `{}` may not reach `{kind}/{key}`; add agents = [\"{kind}/*\"] to [capabilities] in stride.toml",
        component.name
    );
    Err(Failure::new(Code::CapabilityDenied, message))
}

impl timers::Host for Guest {
    fn set(
        &mut self,
        name: String,
        when: timers::Schedule,
        method: String,
        input: types::Payload,
    ) -> wasmtime::Result<Result<(), types::Failure>> {
        let input = from_wit(input);
        if let Err(failure) = input.check_size("message") {
            return Ok(Err(to_guest(failure)));
        }
        let schedule = match when {
            timers::Schedule::At(at) => Schedule::At(at),
            timers::Schedule::After(wait) => Schedule::At(self.clock.timestamp().saturating_add(wait)),
            timers::Schedule::Every(period) => Schedule::Every(period),
            timers::Schedule::Cron(expression) => Schedule::Cron(expression),
        };
        match self.turn()?.set_timer(name, schedule, method, input) {
            Err(error @ TurnError::ReadOnly) => Err(refused(error)),
            set => Ok(set.map_err(|error| to_guest(error.into()))),
        }
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<bool> {
        self.turn()?.cancel_timer(&name).map_err(refused)
    }

    fn list(&mut self) -> wasmtime::Result<Vec<timers::Timer>> {
        let set = self.turn()?.timers().map_err(refused)?;
        Ok(set.into_iter().map(|TimerStatus { name, due, method, .. }| timers::Timer { name, due, method }).collect())
    }

    fn current(&mut self) -> wasmtime::Result<Option<timers::Firing>> {
        let firing = self.turn()?.firing().cloned();
        Ok(firing.map(|Firing { name, due, missed }| timers::Firing { name, due, missed }))
    }
}

impl memory::Host for Guest {
    fn is_scarce(&mut self) -> wasmtime::Result<bool> {
        Ok(self.memory.is_scarce())
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

pub(crate) fn from_wit(payload: types::Payload) -> Payload {
    Payload { content_type: payload.content_type, body: Bytes::from(payload.body) }
}

pub(crate) fn to_wit(payload: Payload) -> types::Payload {
    types::Payload { content_type: payload.content_type, body: payload.body.into() }
}

/// The node's clock as WASI sees it.
struct GuestClock(Clock);

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.timestamp())
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.now().as_nanos()).unwrap_or(u64::MAX)
    }
}
