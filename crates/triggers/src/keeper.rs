//! What triggers should be and what they are: makes the agents that are here agree with the deployments, and has somebody call
//! functions for what waits.

use std::{collections::BTreeMap, sync::Arc};

use stride_agents::native::ask;
use stride_ids::{Address, Code, Failure, Name};

use crate::{
    declared::InForce,
    drive::drive,
    message::{SET, SetAsked, UNSET, UnsetAsked},
    row::Standing,
    spec::{Source, Target, TriggerSpec},
    trigger,
    triggers::Inner,
};

pub(crate) type Wanted = Option<(u64, Arc<TriggerSpec>)>;

/// The agents of the triggers that deployments have, with what they are to be.
pub(crate) fn wanted(tenant: &Name, components: &BTreeMap<Name, InForce>) -> BTreeMap<Address, Wanted> {
    let mut wanted = BTreeMap::new();
    for (component, InForce { since, triggers }) in components {
        for spec in triggers.iter().filter(|spec| !matches!(spec.source, Source::Http(_))) {
            wanted.insert(trigger::address(tenant, component, &spec.name), Some((*since, spec.clone())));
        }
    }
    wanted
}

impl Inner {
    pub(crate) async fn look_after(
        self: &Arc<Self>,
        address: &Address,
        wanted: Option<&(u64, Arc<TriggerSpec>)>,
        components: &BTreeMap<Name, InForce>,
    ) -> Result<(), Failure> {
        let standing = self.standing(address).await?;
        let Some((since, spec)) = wanted else { return self.see_off(address, &standing, components).await };
        // A node that is behind would ask in vain.
        if standing.spec.as_deref() != Some(spec.written()) && *since >= standing.since {
            self.set(address, *since, spec).await?;
        }
        let calls = matches!(spec.target, Target::Function { .. });
        if calls && standing.waiting > 0 && standing.paused.is_none() {
            self.drive(address);
        }
        Ok(())
    }

    /// What no deployment has any more. One of a component that this node does not know is left alone: others may know it.
    async fn see_off(
        &self,
        address: &Address,
        standing: &Standing,
        components: &BTreeMap<Name, InForce>,
    ) -> Result<(), Failure> {
        let in_force = trigger::named(address).and_then(|(component, _)| components.get(&component));
        if standing.spec.is_some() {
            let newer = in_force.filter(|in_force| in_force.since >= standing.since);
            return match newer {
                Some(InForce { since, .. }) => ask(&self.engine, address, UNSET, &UnsetAsked { since: *since }).await,
                None => Ok(()),
            };
        }
        if standing.dead == 0 && standing.waiting == 0 {
            return match self.engine.remove(address).await {
                Err(Failure { code: Code::NotFound, .. }) => Ok(()),
                outcome => outcome,
            };
        }
        Ok(())
    }

    pub(crate) async fn set(&self, address: &Address, since: u64, spec: &TriggerSpec) -> Result<(), Failure> {
        ask(&self.engine, address, SET, &SetAsked { spec: spec.written().to_owned(), since }).await
    }

    /// Works on a trigger, beside the caller, unless somebody does.
    fn drive(self: &Arc<Self>, address: &Address) {
        let Some(driving) = Driving::begin(self, address) else { return };
        self.tasks.spawn(async move {
            let Driving { inner, address } = &driving;
            if let Err(failure) = drive(inner, address).await {
                tracing::warn!(trigger = %address.key, %failure, "a trigger's function could not be called for what waits; it is tried again");
            }
        });
    }
}

/// Nobody else works on the trigger while there is one.
struct Driving {
    inner: Arc<Inner>,
    address: Address,
}

impl Driving {
    fn begin(inner: &Arc<Inner>, address: &Address) -> Option<Self> {
        let mut driven = inner.driven.lock();
        if inner.is_stopping() || !driven.insert(address.clone()) {
            return None;
        }
        inner.count.send_replace(driven.len());
        Some(Self { inner: inner.clone(), address: address.clone() })
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        let mut driven = self.inner.driven.lock();
        driven.remove(&self.address);
        self.inner.count.send_replace(driven.len());
    }
}
