//! What is deployed, as flows see it: functions with all that they may do, and the methods of agents.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use stride_agents::Bodies;
use stride_flows::{Effect, Function, Signature, plan::Hardware};
use stride_ids::{Failure, Name, ObjectName, is_private_method};
use stride_placement::Input;
use stride_runs::Catalog;
use stride_runtime::{Component, Functions, Registry};

/// What is deployed on this node.
pub(crate) struct Deployed {
    pub(crate) registry: Arc<Registry>,
    pub(crate) functions: Arc<Functions>,
    /// All agents that there are, those of the platform as well.
    pub(crate) bodies: Arc<dyn Bodies>,
}

impl Catalog for Deployed {
    fn function(&self, tenant: &Name, name: &str) -> Option<(Function, String)> {
        let (name, function) = name.split_once('/')?;
        let name = Name::new(name).ok()?;
        let component = self.registry.component(tenant, &name).ok()?;
        let found = self.functions.find(tenant, &name, function, None).ok()?;
        let micros = |run: Duration| u64::try_from(run.as_micros()).unwrap_or(u64::MAX).max(1);
        let runs = self.functions.runs_by_class(&found).into_iter().map(|(class, run)| (class, micros(run)));
        let function = Function { effects: effects(&component), micros: runs.collect(), ..Function::default() };
        Some((function, component.version.to_string()))
    }

    fn agent(&self, tenant: &Name, agent: &str, method: &str) -> Option<Signature> {
        let kind = self.bodies.kind(tenant, &Name::new(agent).ok()?)?;
        let is_there = !kind.name.is_private() && !is_private_method(method) && kind.methods.contains_key(method);
        is_there.then(Signature::default)
    }

    fn hardware(&self) -> Vec<Hardware> {
        let classes = self.functions.classes().into_iter();
        classes.map(|(class, price)| Hardware { class, price: price.0 }).collect()
    }

    fn nodes<'a>(&'a self, objects: &'a [ObjectName]) -> BoxFuture<'a, Result<Option<Input>, Failure>> {
        Box::pin(async { self.functions.surroundings(objects).await.map(Some) })
    }

    fn names(&self, tenant: &Name) -> Vec<String> {
        let of = |component: Arc<Component>| {
            let functions = component.exports.functions.iter().map(|function| format!("{}/{function}", component.name));
            let agents = component.exports.agents.iter();
            let methods =
                agents.flat_map(|agent| agent.methods.iter().map(|method| format!("{}/{}", agent.kind, method.name)));
            functions.chain(methods).collect::<Vec<_>>()
        };
        self.registry.components(tenant).into_iter().flat_map(of).collect()
    }
}

/// All that the functions of a component may do beside computing: what its manifest asks for, and what its imports can observe.
fn effects(component: &Component) -> BTreeSet<Effect> {
    let spec = &component.spec;
    let granted = [
        (Effect::Message, !spec.may_reach.is_empty() || !spec.may_map.is_empty()),
        (Effect::ReadObjects, spec.reads_objects()),
        (Effect::WriteObjects, spec.writes_objects()),
        (Effect::Observe, component.observes),
    ];
    granted.into_iter().filter(|(_, is_granted)| *is_granted).map(|(effect, _)| effect).collect()
}
