//! Which triggers there should be: what the deployments in force say, in memory on every node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::RwLock;
use stride_ids::{Code, Failure, Name};
use stride_sim::Timestamp;

use crate::{
    route::{self, Method, Routed},
    spec::{Source, TriggerSpec},
};

/// The triggers of a component, and since when its deployment is in force.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// When the deployment came. Of two the later one counts.
    pub since: Timestamp,
    /// Its triggers.
    pub triggers: Vec<Arc<TriggerSpec>>,
}

/// The triggers that deployments have.
#[derive(Debug, Default)]
pub struct Declared(RwLock<BTreeMap<Name, BTreeMap<Name, InForce>>>);

impl Declared {
    /// Whether a component can have these triggers.
    ///
    /// # Errors
    /// `invalid_request` if two have one name, `conflict` if two take the same requests.
    pub fn check(&self, tenant: &Name, component: &Name, triggers: &[TriggerSpec]) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        if let Some(twice) = triggers.iter().find(|trigger| !names.insert(&trigger.name)) {
            let message = format!("two triggers are called `{}`", twice.name);
            return Err(Failure::new(Code::InvalidRequest, message));
        }
        let all = self.0.read();
        let others = all.get(tenant).into_iter().flatten().filter(|(other, _)| *other != component);
        let others = others.flat_map(|(other, of)| of.triggers.iter().map(move |trigger| (other, &**trigger)));
        let mut taken = BTreeMap::new();
        for (owner, trigger) in others.chain(triggers.iter().map(|trigger| (component, trigger))) {
            let Source::Http(route) = &trigger.source else { continue };
            if let Some((other, before)) = taken.insert(route.shape(), (owner, &trigger.name)) {
                let message = format!("`{route}` is taken by trigger `{before}` of component `{other}`");
                return Err(Failure::new(Code::Conflict, message));
            }
        }
        Ok(())
    }

    /// Takes note of what a deployment says that came into force.
    pub fn put(&self, tenant: &Name, component: &Name, in_force: InForce) {
        self.0.write().entry(tenant.clone()).or_default().insert(component.clone(), in_force);
    }

    /// All of a tenant, by component.
    pub(crate) fn of(&self, tenant: &Name) -> BTreeMap<Name, InForce> {
        self.0.read().get(tenant).cloned().unwrap_or_default()
    }

    /// One of them.
    pub(crate) fn find(&self, tenant: &Name, component: &Name, trigger: &Name) -> Option<Arc<TriggerSpec>> {
        let all = self.0.read();
        all.get(tenant)?.get(component)?.triggers.iter().find(|spec| spec.name == *trigger).cloned()
    }

    /// The trigger that takes a request: of several the one that says more words.
    ///
    /// # Errors
    /// `not_found`, and `invalid_request` if the path takes other methods only.
    pub(crate) fn route(
        &self,
        tenant: &Name,
        method: &str,
        path: &str,
    ) -> Result<(Name, Arc<TriggerSpec>, Routed), Failure> {
        let parts = route::parts(path)?;
        let asked: Option<Method> = method.parse().ok();
        let all = self.0.read();
        let components = all.get(tenant).into_iter().flatten();
        let triggers = components.flat_map(|(component, of)| of.triggers.iter().map(move |spec| (component, spec)));
        let matching = triggers.filter_map(|(component, spec)| match &spec.source {
            Source::Http(route) => Some((route, component, spec, route.matches(&parts)?)),
            _ => None,
        });
        let (meant, others): (Vec<_>, Vec<_>) = matching.partition(|(route, ..)| Some(route.method) == asked);
        if let Some((_, component, spec, routed)) = meant.into_iter().min_by_key(|(route, ..)| route.generality()) {
            return Ok((component.clone(), spec.clone(), routed));
        }
        if others.is_empty() {
            let message = format!("no trigger has a route for `{method} {path}`; `stride triggers ls` lists them");
            return Err(Failure::new(Code::NotFound, message));
        }
        let others: Vec<_> = others.iter().map(|(route, ..)| route.to_string()).collect();
        let message = format!("there is no `{method} {path}`; there is {}", others.join(" and "));
        Err(Failure::new(Code::InvalidRequest, message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Typed;

    fn route(name: &str, route: &str) -> TriggerSpec {
        let typed: Typed = serde_json::from_value(json!({"name": name, "http": route, "function": "f"})).unwrap();
        TriggerSpec::try_from(typed).unwrap()
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_request_goes_to_the_route_that_says_more_and_a_wrong_method_is_told_the_right_ones() {
        let (tenant, declared) = (Name::default_tenant(), Declared::default());
        let triggers =
            [route("one", "GET /orders/{id}"), route("new", "GET /orders/new"), route("add", "POST /orders")];
        let triggers = triggers.into_iter().map(Arc::new).collect();
        declared.put(&tenant, &name("shop"), InForce { since: 1, triggers });
        let of =
            |method: &str, path: &str| declared.route(&tenant, method, path).map(|(_, spec, _)| spec.name.to_string());
        assert_eq!(of("GET", "/orders/new").unwrap(), "new");
        assert_eq!(of("GET", "/orders/7").unwrap(), "one");
        let failure = of("DELETE", "/orders").unwrap_err();
        assert!(failure.code == Code::InvalidRequest && failure.message.contains("POST /orders"), "{failure}");
        assert_eq!(of("GET", "/none").unwrap_err().code, Code::NotFound);
        assert_eq!(declared.route(&name("other"), "GET", "/orders/7").unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn two_triggers_of_one_name_or_one_route_are_refused() {
        let (tenant, declared, shop) = (Name::default_tenant(), Declared::default(), name("shop"));
        let first = vec![Arc::new(route("one", "GET /orders/{id}"))];
        declared.put(&tenant, &shop, InForce { since: 1, triggers: first });
        let twice = [route("one", "GET /a"), route("one", "GET /b")];
        assert_eq!(declared.check(&tenant, &shop, &twice).unwrap_err().code, Code::InvalidRequest);
        let same = [route("other", "GET /orders/{key}")];
        let failure = declared.check(&tenant, &name("desk"), &same).unwrap_err();
        assert!(failure.code == Code::Conflict && failure.message.contains("component `shop`"), "{failure}");
        declared.check(&tenant, &shop, &same).unwrap();
        declared.check(&name("other"), &name("desk"), &same).unwrap();
    }
}
