//! Which version of its code takes an agent's next turn, and which versions agents refused.
//!
//! New code takes over at a turn's boundary. If its first turn of an agent ends in a trap, at a limit or in a failed
//! migration, the state is untouched, the version before takes that turn, and the agent stays with it until yet another
//! version is deployed.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use stride_ids::{Address, Failure, Name};

use crate::{body::Kind, engine::Engine, record::Header};

/// How agents fared with a version that they refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How many agents stay with the version before, of those that took a turn since the node started.
    pub agents: u64,
    /// One of them.
    pub example: Address,
    /// Why it did not take the new version.
    pub cause: Failure,
}

/// Which version takes a turn.
pub(crate) struct Chosen {
    pub(crate) kind: Arc<Kind>,
    /// The version that the agent refused before and still does.
    pub(crate) refused: Option<String>,
    /// The version to fall back to, if this is the agent's first turn on `kind`.
    pub(crate) fallback: Option<Arc<Kind>>,
}

/// A tenant, a component of it, and a version of that.
type Version = (Name, Name, Arc<str>);

/// The refusals since the engine was opened.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<Version, Refusal>>);

impl Refusals {
    pub(crate) fn note(&self, kind: &Kind, agent: &Address, cause: &Failure) {
        let key = (agent.tenant.clone(), kind.component.clone(), kind.version.clone());
        let mut refusals = self.0.lock();
        let refusal =
            refusals.entry(key).or_insert_with(|| Refusal { agents: 0, example: agent.clone(), cause: cause.clone() });
        refusal.agents += 1;
    }
}

impl Engine {
    /// Whether agents refused a version of a component, and why.
    pub fn refusal(&self, tenant: &Name, component: &Name, version: &str) -> Option<Refusal> {
        let key = (tenant.clone(), component.clone(), Arc::from(version));
        self.refusals.0.lock().get(&key).cloned()
    }

    /// The version that takes the next turn of an agent.
    pub(crate) fn choose(&self, current: &Arc<Kind>, header: Option<&Header>, agent: &Address) -> Chosen {
        let current = current.clone();
        let last = header.and_then(|header| header.version.as_deref());
        let Some(last) = last.filter(|last| **last != *current.version) else {
            return Chosen { kind: current, refused: None, fallback: None };
        };
        let older = self.bodies.kind_of_version(&agent.tenant, &agent.kind, last);
        let refused = header.and_then(|header| header.refused.clone());
        match older {
            Some(older) if refused.as_deref() == Some(&*current.version) => {
                Chosen { kind: older, refused, fallback: None }
            }
            fallback => Chosen { kind: current, refused: None, fallback },
        }
    }
}
