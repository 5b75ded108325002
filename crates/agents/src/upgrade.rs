//! Which version of its code takes an agent's next turn, and which versions agents refused.
//!
//! New code takes over at a turn's boundary. If its first turn of an agent ends in a trap, at a limit or in a failed
//! migration, the state is untouched, the version before takes that turn, and the agent stays with it until yet another
//! version is deployed.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use stride_ids::{Address, Failure, Name};

use crate::{
    body::Kind,
    cell::Cell,
    engine::Engine,
    record::{Header, Record, Refuse, Refused},
};

/// How agents fared with a version that they refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How many agents stay with the version before.
    pub agents: u64,
    /// One that did.
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
type Version = (Name, Name, String);

/// Which versions are refused, as the rows of the store say.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<Version, Refusal>>);

impl Refusals {
    /// Takes note of a row that is in the store.
    pub(crate) fn add(&self, agent: &Address, refused: Refused) {
        let Refused { component, version, cause } = refused;
        let mut refusals = self.0.lock();
        let refusal = refusals.entry((agent.tenant.clone(), component, version)).or_insert_with(|| Refusal {
            agents: 0,
            example: agent.clone(),
            cause,
        });
        refusal.agents += 1;
    }

    /// Takes note of a record.
    pub(crate) fn change(&self, Refuse { agent, component, before, now }: &Refuse) {
        if let Some(before) = before {
            self.subtract((agent.tenant.clone(), component.clone(), before.clone()));
        }
        if let Some(now) = now {
            self.add(agent, now.clone());
        }
    }

    /// No longer counts an agent of a cell that was given up.
    pub(crate) fn remove(&self, agent: &Address, refused: &Refused) {
        self.subtract((agent.tenant.clone(), refused.component.clone(), refused.version.clone()));
    }

    fn subtract(&self, version: (Name, Name, String)) {
        let mut refusals = self.0.lock();
        if let Some(refusal) = refusals.get_mut(&version) {
            refusal.agents -= 1;
            if refusal.agents == 0 {
                refusals.remove(&version);
            }
        }
    }
}

impl Engine {
    /// Whether agents refused a version of a component, and why.
    pub fn refusal(&self, tenant: &Name, component: &Name, version: &str) -> Option<Refusal> {
        let key = (tenant.clone(), component.clone(), version.to_owned());
        self.refusals.0.lock().get(&key).cloned()
    }

    /// Notes which version an agent refuses after a commit, if that is not what it refused before. It is a report and
    /// decides nothing, so nobody waits for it.
    pub(crate) fn note_refusal(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        agent: &Address,
        component: &Name,
        before: Option<String>,
        now: Option<(&Kind, &Failure)>,
    ) {
        let version = now.map(|(kind, _)| &*kind.version);
        if before.as_deref() == version {
            return;
        }
        if let Some((kind, failure)) = now {
            tracing::warn!(%agent, version = &*kind.version, %failure, "the agent stays with its old version");
        }
        let now = now.map(|(kind, cause)| Refused {
            component: component.clone(),
            version: kind.version.to_string(),
            cause: cause.clone(),
        });
        let refuse = Refuse { agent: agent.clone(), component: component.clone(), before, now };
        match self.append(cell, &Record::Refuse(refuse)) {
            Ok(pending) => pending.unhurried(),
            Err(failure) => tracing::warn!(%agent, %failure, "which version the agent refuses could not be noted"),
        }
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
