//! Agent bodies: an instance that serves one agent, turn after turn.

use std::sync::Arc;

use futures::future::BoxFuture;
use stride_agents::{Bodies, Body, Kind, Turn};
use stride_ids::{Address, CallId, Code, Failure, Name, Payload};
use stride_sim::Elapsed;
use wasmtime::Store;

use crate::{
    bindings::{Guest as Bindings, stride::guest::types},
    component::{Component, Prepared},
    failure::{from_guest, out_of_time},
    guest::{Guest, Reach, from_wit, to_wit},
    registers::with_clean,
    registry::Registry,
    spec::AgentSpec,
};

impl Bodies for Registry {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        self.served(tenant, name).map(|(_, kind)| kind)
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        self.served_by_version(tenant, name, version).map(|(_, kind)| kind)
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        Self::nearest_kind(self, tenant, name)
    }

    fn is_crowded(&self) -> bool {
        self.host().memory.is_crowded()
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        Box::pin(async move {
            let gone = || Failure::not_found("agent type", kind.name.as_str(), None);
            let served = self.served_by_version(&address.tenant, &kind.name, &kind.version);
            let (component, _) = served.ok_or_else(gone)?;
            let spec = component.spec.agents.get(kind.name.as_str()).cloned().unwrap_or_default();
            let Prepared { store, instance } = *component.prepare(spec.memory_bytes).await?;
            let body: Box<dyn Body> = Box::new(Instance { component, spec, store, instance });
            Ok(body)
        })
    }
}

struct Instance {
    component: Arc<Component>,
    spec: AgentSpec,
    store: Store<Guest>,
    instance: Bindings,
}

impl Body for Instance {
    fn migrate<'a>(&'a mut self, turn: Turn, from_version: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        Box::pin(async move {
            let address = self.begin(turn);
            let (kind, key) = (address.kind.as_str(), address.key.as_str());
            let handler = self.instance.stride_guest_handler();
            let run = handler.call_migrate(&mut self.store, kind, key, from_version);
            let outcome = self.component.host.clock.timeout(self.spec.timeout, with_clean(run)).await;
            let (turn, ()) = self.end(outcome)?;
            Ok(turn)
        })
    }

    fn turn<'a>(
        &'a mut self,
        turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let address = self.begin(turn);
            let (kind, key, input) = (address.kind.as_str(), address.key.as_str(), to_wit(input));
            let handler = self.instance.stride_guest_handler();
            let run = handler.call_turn(&mut self.store, kind, key, method, &input);
            let outcome = self.component.host.clock.timeout(self.spec.timeout, with_clean(run)).await;
            let (turn, payload) = self.end(outcome)?;
            Ok((turn, from_wit(payload)))
        })
    }

    fn held_bytes(&self) -> u64 {
        self.store.data().memory.taken()
    }
}

impl Instance {
    /// Gives the guest a turn to work on. Whose it is.
    fn begin(&mut self, turn: Turn) -> Address {
        let address = turn.address().clone();
        let call = CallId(self.component.host.chance.next_u64());
        let component = self.component.clone();
        self.store.data_mut().begin(call, Reach::Turn { turn, component });
        address
    }

    /// Takes the turn back from the guest, with what it answered.
    fn end<T>(&mut self, outcome: Result<GuestOutcome<T>, Elapsed>) -> Result<(Turn, T), Failure> {
        let outcome = outcome.map_err(|_| out_of_time(self.spec.timeout))?;
        let answer = outcome.map_err(|e| self.store.data().failure_of(&e))?;
        let turn = self.store.data_mut().end_turn();
        let answer = answer.map_err(from_guest)?;
        let turn = turn.ok_or_else(|| Failure::new(Code::Internal, "the turn was lost while it ran"))?;
        Ok((turn, answer))
    }
}

/// What a guest answered, or what ended it.
type GuestOutcome<T> = wasmtime::Result<Result<T, types::Failure>>;
