//! Agent types that the platform serves itself: plain Rust in the place of a component. What they keep is durable,
//! recovered, moved and fenced exactly as that of every other agent, so there is no second database that could disagree with
//! the first.
//!
//! Always true: their names are reserved ([`Name::is_reserved`]), so nothing that is deployed takes the place of one; a body
//! knows nothing, all that counts is in the turn.
//! Not here: what any of them does (see `data` and `maps`), and who refuses reserved names of others (see `runtime`).

mod events;
mod message;
mod schema;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use stride_ids::{Address, Failure, Name, Payload};

pub use self::{
    events::{BOUND, Bound, EVENT},
    message::{Asked, answer, ask},
    schema::Schema,
};
use crate::{
    body::{Bodies, Body, Kind, Method},
    turn::Turn,
};

/// How long an agent that nobody uses stays in memory. There is next to nothing to keep, nor to bring back.
const IDLE: Duration = Duration::from_secs(60);

/// What an agent does with one message.
pub type Handle = fn(&mut Turn, Asked<'_>) -> Result<Payload, Failure>;

/// An agent type that the platform serves itself.
#[derive(Clone, Copy)]
pub struct NativeType {
    /// Its name, which is reserved.
    pub name: &'static str,
    /// What can be asked, and whether that only reads.
    pub methods: &'static [(&'static str, bool)],
    /// Handles what is asked.
    pub handle: Handle,
}

impl NativeType {
    /// Its name.
    pub fn name(&self) -> Name {
        Name::new(self.name).expect("the name follows the rule")
    }

    fn kind(&self) -> Kind {
        let methods = self.methods.iter().map(|(name, read_only)| ((*name).into(), Method { read_only: *read_only }));
        // Rows carry their schema and are read as they are, so there is only this version.
        let (name, version) = (self.name(), "1".into());
        Kind { component: name.clone(), version, name, methods: methods.collect(), idle: IDLE }
    }
}

/// Serves such types, and leaves all others to somebody else.
pub struct NativeTypes {
    served: BTreeMap<Name, (Arc<Kind>, Handle)>,
    others: Option<Arc<dyn Bodies>>,
}

impl NativeTypes {
    /// Serves these and no others.
    pub fn new(types: impl IntoIterator<Item = NativeType>) -> Self {
        let served = types.into_iter().map(|one| (one.name(), (Arc::new(one.kind()), one.handle)));
        let served: BTreeMap<_, _> = served.collect();
        assert!(served.keys().all(Name::is_reserved), "what the platform serves has a reserved name");
        Self { served, others: None }
    }

    /// Leaves all others to `others`.
    pub fn beside(self, others: Arc<dyn Bodies>) -> Self {
        Self { others: Some(others), ..self }
    }
}

impl Bodies for NativeTypes {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        match self.served.get(name) {
            Some((kind, _)) => Some(kind.clone()),
            None => self.others.as_ref()?.kind(tenant, name),
        }
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        match self.served.get(name) {
            Some(_) => None,
            None => self.others.as_ref()?.kind_of_version(tenant, name, version),
        }
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        self.others.as_ref()?.nearest_kind(tenant, name)
    }

    fn is_crowded(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.is_crowded())
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        match (self.served.get(&kind.name), &self.others) {
            (Some((_, handle)), _) => Box::pin(async { Ok(Box::new(Native(*handle)) as Box<dyn Body>) }),
            (None, Some(others)) => others.start(kind, address),
            (None, None) => Box::pin(async { Err(Failure::not_found("agent type", kind.name.as_str(), None)) }),
        }
    }
}

/// The body of such an agent.
struct Native(Handle);

impl Body for Native {
    fn migrate<'a>(&'a mut self, turn: Turn, _: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        Box::pin(async { Ok(turn) })
    }

    fn turn<'a>(
        &'a mut self,
        mut turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let answer = (self.0)(&mut turn, Asked { method, input: &input })?;
            Ok((turn, answer))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(_: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
        Err(asked.unknown("test"))
    }

    const TEST: NativeType =
        NativeType { name: "stride-test", methods: &[("look", true), ("change", false)], handle: echo };

    #[test]
    fn a_native_type_is_served_in_every_tenant_and_no_other_is() {
        let natives = NativeTypes::new([TEST]);
        for tenant in [Name::default_tenant(), Name::new("other").unwrap()] {
            let kind = natives.kind(&tenant, &TEST.name()).unwrap();
            assert!(kind.methods["look"].read_only && !kind.methods["change"].read_only);
            assert!(natives.kind(&tenant, &Name::new("stride-tests").unwrap()).is_none());
            assert!(natives.kind_of_version(&tenant, &TEST.name(), "0").is_none());
        }
    }

    #[test]
    #[should_panic(expected = "reserved name")]
    fn a_name_that_others_could_take_is_refused() {
        NativeTypes::new([NativeType { name: "counter", ..TEST }]);
    }
}
