//! A map from where it is to its end: items, then the reduction.

use std::sync::Arc;

use stride_agents::native::ask;
use stride_ids::{Address, Code, Failure, Name, Payload};

use crate::{
    book::MAPS,
    caller::{Callee, Callees},
    folding::Folding,
    hedge::Hedge,
    mapping::{Mapping, put},
    maps::Inner,
    message::{END, EndAsked, FOLDED, FoldedAsked, STATUS},
    pool,
    row::{Output, Run, State},
    run::{Patience, Signal},
};

/// How many items are under way, however many calls a function takes at the same time: each holds a place of those who
/// read objects.
const WIDTH_MAX: usize = 128;

/// How many maps are listed at a time.
const PAGE: usize = 256;

/// Brings a map to its end, or until `signal` says stop.
pub(crate) async fn drive(inner: &Arc<Inner>, address: &Address, signal: &Arc<Signal>) {
    let driver = Driver { inner, address, signal };
    let state = match driver.run().await {
        Ok(None) => return,
        Ok(Some(reduced)) => driver.end(State::Done, reduced).await,
        // What is not worth trying again within minutes ends the map, with what it has.
        Err(failure) if !signal.is_stopped() => driver.end(State::Failed(failure), None).await,
        Err(failure) => Err(failure),
    };
    match state {
        Ok(()) => {}
        Err(failure) => {
            tracing::error!(map = %address.key, %failure, "a map cannot go on; it is tried again when the node starts");
        }
    }
}

struct Driver<'a> {
    inner: &'a Arc<Inner>,
    address: &'a Address,
    signal: &'a Arc<Signal>,
}

impl Driver<'_> {
    /// The reduced result if there is one; none at all if the map is stopped.
    async fn run(&self) -> Result<Option<Option<Output>>, Failure> {
        let Self { inner, address, signal } = *self;
        let asked = self.patience().retry(|| ask::<Run>(&inner.engine, address, STATUS, &())).await;
        let Some(run) = asked.transpose()? else { return Ok(None) };
        let Run { spec, versions, cursor, is_planned, state: State::Running, .. } = run else { return Ok(None) };
        // Held until the end, so that no deployment in the midst of the map takes them away.
        let callees = Callees::find(&*inner.caller, &address.tenant, &spec, &versions).await?;
        callees.place(&spec).await?;
        let width = callees.function.concurrency().min(WIDTH_MAX);
        let mapping = Mapping {
            inner: inner.clone(),
            calls: Hedge::new(callees.function.clone(), width, inner.clock.clone()),
            callees: callees.clone(),
            tenant: address.tenant.clone(),
            address: address.clone(),
            spec: spec.clone(),
            cursor,
            is_planned,
            patience: self.patience(),
        };
        pool::run(&Arc::new(mapping), width, signal, &inner.clock, &inner.tasks).await?;
        if signal.is_stopped() {
            return Ok(None);
        }
        let Some(reduce) = callees.reduce else { return Ok(Some(None)) };
        let Some(value) = self.reduce(&reduce).await? else { return Ok(None) };
        let place = spec.reduced_object(&address.tenant).map_err(|why| Failure::new(Code::InvalidRequest, why))?;
        let Some(value) = value else { return Ok(Some(None)) };
        match place {
            Some(name) => Ok(self.patience().retry(|| put(inner, &name, &value)).await.transpose()?.map(Some)),
            None => Ok(Some(Some(Output::Kept(value)))),
        }
    }

    /// What all results come to, which is nothing if there are none; none at all if the map is stopped.
    async fn reduce(&self, function: &Arc<dyn Callee>) -> Result<Option<Option<Payload>>, Failure> {
        let Self { inner, address, signal } = *self;
        let width = function.concurrency().min(WIDTH_MAX);
        for level in 0..u8::MAX {
            let folding = Folding {
                inner: inner.clone(),
                address: address.clone(),
                function: function.clone(),
                level,
                patience: self.patience(),
            };
            pool::run(&Arc::new(folding), width, signal, &inner.clock, &inner.tasks).await?;
            if signal.is_stopped() {
                return Ok(None);
            }
            let asked = FoldedAsked { level: level + 1, from: 0 };
            let asked = self.patience().retry(|| ask(&inner.engine, address, FOLDED, &asked)).await;
            let Some(values) = asked.transpose()? else { return Ok(None) };
            let mut values: Vec<(u64, Payload)> = values;
            if values.len() <= 1 {
                return Ok(Some(values.pop().map(|(_, value)| value)));
            }
        }
        Err(Failure::new(Code::Internal, "the reduction does not come to an end"))
    }

    async fn end(&self, state: State, reduced: Option<Output>) -> Result<(), Failure> {
        let asked = EndAsked { state, at: self.inner.clock.timestamp(), reduced };
        let ended = self.patience().retry(|| ask::<Run>(&self.inner.engine, self.address, END, &asked)).await;
        ended.transpose().map(drop)
    }

    fn patience(&self) -> Patience {
        self.inner.patience(self.signal)
    }
}

impl Inner {
    pub(crate) fn patience(&self, signal: &Arc<Signal>) -> Patience {
        Patience { clock: self.clock.clone(), chance: self.chance.clone(), signal: signal.clone() }
    }

    /// All maps of a tenant, oldest first.
    pub(crate) async fn addresses(&self, tenant: &Name) -> Result<Vec<Address>, Failure> {
        let mut all: Vec<Address> = Vec::new();
        loop {
            let after = all.last().map(|address| &address.key);
            let page = self.engine.list(tenant, &MAPS.name(), after, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Those that this node is to work on: where a map's agent is.
    pub(crate) fn addresses_here(&self, tenant: &Name) -> Result<Vec<Address>, Failure> {
        self.engine.list_here(tenant, &MAPS.name(), None, usize::MAX)
    }
}
