//! One instance as the host sees it: its limits, what it prints, and what it may reach right now.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use stride_agents::{Ask, Engine, Turn, TurnError};
use stride_ids::{Address, AgentKey, CallId, Code, Failure, Name, Payload};
use stride_sim::Clock;
use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::{
    bindings::stride::guest::{agents, state, types},
    component::Component,
    failure::{Ended, Refused, classify, to_guest},
    host::Host,
    logs::{Origin, Output, Stream},
};

/// The data that a Wasmtime store carries for a guest.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) memory: MemoryLimit,
    output: Output,
    reach: Reach,
}

/// What a guest may reach beyond its own memory.
pub(crate) enum Reach {
    /// Nothing: it is being described, waits for a call, or is between turns.
    Nothing,
    /// The state of the agent whose turn it is.
    Turn(Turn),
    /// The agents that the component's capabilities name.
    Agents { component: Arc<Component>, engine: Arc<Engine> },
}

impl Guest {
    /// A guest that can reach nothing.
    pub(crate) fn new(host: &Host, origin: Origin, memory_max: usize) -> Self {
        let output = Output::new(host.logs.clone(), origin);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.stream(Stream::Stdout))
            .stderr(output.stream(Stream::Stderr))
            .wall_clock(GuestClock(host.clock.clone()))
            .monotonic_clock(GuestClock(host.clock.clone()))
            .allow_tcp(false)
            .allow_udp(false);
        let memory = MemoryLimit { max: memory_max, refused: None };
        Self { wasi: wasi.build(), table: ResourceTable::new(), memory, output, reach: Reach::Nothing }
    }

    /// From now on the guest works for a call or a turn, and may reach this much.
    pub(crate) fn begin(&mut self, call: CallId, reach: Reach) {
        self.output.begin(call);
        self.reach = reach;
    }

    /// Takes the turn back, if the guest had one.
    pub(crate) fn end_turn(&mut self) -> Option<Turn> {
        self.output.end();
        match std::mem::replace(&mut self.reach, Reach::Nothing) {
            Reach::Turn(turn) => Some(turn),
            Reach::Nothing | Reach::Agents { .. } => None,
        }
    }

    /// What a run that ended in `error` looks like to its caller.
    pub(crate) fn failure_of(&self, error: &wasmtime::Error) -> Failure {
        self.output.end();
        classify(&Ended {
            error,
            memory_refused: self.memory.refused,
            memory_max: self.memory.max,
            stderr: self.output.explanation(),
        })
    }

    /// Ends the lines that the guest left open.
    pub(crate) fn end_output(&self) {
        self.output.end();
    }

    fn turn(&mut self) -> wasmtime::Result<&mut Turn> {
        match &mut self.reach {
            Reach::Turn(turn) => Ok(turn),
            Reach::Nothing | Reach::Agents { .. } => {
                let message = "only an agent has state, and only during a turn; a function can ask an agent";
                Err(Refused(Failure::new(Code::CapabilityDenied, message)).into())
            }
        }
    }
}

fn refused(error: TurnError) -> wasmtime::Error {
    let code = match &error {
        TurnError::ReadOnly => Code::CapabilityDenied,
        TurnError::TooLarge { .. } => Code::PayloadTooLarge,
        _ => Code::Internal,
    };
    Refused(Failure::new(code, error.to_string())).into()
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
        let Reach::Agents { component, engine } = &self.reach else {
            let message = "an agent cannot ask another agent during its turn yet; let a function ask both";
            return Ok(Err(to_guest(Failure::new(Code::CapabilityDenied, message))));
        };
        let answer = ask_for(component.clone(), engine.clone(), &kind, &key, method, from_wit(input)).await;
        Ok(answer.map(to_wit).map_err(to_guest))
    }
}

/// Asks an agent on behalf of a component, if its capabilities allow it.
async fn ask_for(
    component: Arc<Component>,
    engine: Arc<Engine>,
    kind: &str,
    key: &str,
    method: String,
    input: Payload,
) -> Result<Payload, Failure> {
    let invalid = |e: stride_ids::InvalidName| Failure::new(Code::InvalidRequest, e.to_string());
    let address = Address {
        tenant: component.tenant.clone(),
        kind: Name::new(kind).map_err(invalid)?,
        key: AgentKey::new(key).map_err(invalid)?,
    };
    if !component.spec.grants_ask(&component.tenant, &address) {
        let message = format!(
            "component `{}` may not ask `{kind}/{key}`; add agents = [\"{kind}/*\"] to [capabilities] in stride.toml",
            component.name
        );
        return Err(Failure::new(Code::CapabilityDenied, message));
    }
    let answer = engine.ask(Ask { address, method, input, idempotency_key: None, trace: None }).await?;
    Ok(answer.payload)
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

/// How much memory an instance may have, and whether it wanted more.
pub(crate) struct MemoryLimit {
    max: usize,
    refused: Option<usize>,
}

/// The most entries of all tables of an instance; toolchains need some thousands.
const TABLE_ELEMENTS_MAX: usize = 100_000;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.max;
        if !fits {
            self.refused = Some(desired);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
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
