//! What is deployed: which component answers to which name, and which serves which agent type.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::RwLock;
use stride_agents::{Kind, Method};
use stride_ids::{Code, Failure, Name};

use crate::{
    component::{Component, ExportedAgent, nearest},
    host::Host,
};

/// How many versions of a component stay loaded beside the one in force.
pub const VERSIONS_KEPT: usize = 4;

/// Everything that is deployed on a node. Reads are short and never wait for a deployment.
pub struct Registry {
    host: Arc<Host>,
    tenants: RwLock<HashMap<Name, Tenant>>,
}

#[derive(Default)]
struct Tenant {
    components: HashMap<Name, Arc<Component>>,
    kinds: HashMap<Name, Served>,
    /// The versions before the one in force, by component, newest first: agents that refuse newer ones stay with one of
    /// them.
    before: HashMap<Name, VecDeque<Arc<Component>>>,
}

/// A component and an agent type that it serves.
type Served = (Arc<Component>, Arc<Kind>);

impl Tenant {
    fn check(&self, component: &Component) -> Result<(), Failure> {
        for agent in &component.exports.agents {
            if let Some((other, _)) = self.kinds.get(&agent.kind).filter(|(other, _)| other.name != component.name) {
                let message = format!("agent type `{}` is served by component `{}` already", agent.kind, other.name);
                return Err(Failure::new(Code::Conflict, message));
            }
        }
        Ok(())
    }
}

impl Registry {
    /// Of a host on which nothing is deployed yet.
    pub fn new(host: Arc<Host>) -> Self {
        Self { host, tenants: RwLock::default() }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Whether a component could be installed.
    ///
    /// # Errors
    /// `conflict` if another component serves one of its agent types already, `invalid_request` for a type that belongs to
    /// the platform.
    pub fn check(&self, component: &Component) -> Result<(), Failure> {
        if let Some(agent) = component.exports.agents.iter().find(|agent| agent.kind.is_reserved()) {
            let message = format!(
                "agent type `{}` belongs to the platform, as `flow`, `topic` and all that begin with `stride-`; call it something else",
                agent.kind
            );
            return Err(Failure::new(Code::InvalidRequest, message));
        }
        match self.tenants.read().get(&component.tenant) {
            Some(tenant) => tenant.check(component),
            None => Ok(()),
        }
    }

    /// Puts a component in place of the one of the same name, if there is one.
    ///
    /// # Errors
    /// As [`Registry::check`].
    pub fn install(&self, component: Component) -> Result<(), Failure> {
        let component = Arc::new(component);
        let mut tenants = self.tenants.write();
        let tenant = tenants.entry(component.tenant.clone()).or_default();
        tenant.check(&component)?;
        tenant.kinds.retain(|_, (served_by, _)| served_by.name != component.name);
        for agent in &component.exports.agents {
            let kind = Arc::new(kind_of(&component, agent));
            tenant.kinds.insert(agent.kind.clone(), (component.clone(), kind));
        }
        if let Some(before) = tenant.components.insert(component.name.clone(), component.clone())
            && before.version != component.version
        {
            let versions = tenant.before.entry(component.name.clone()).or_default();
            versions.retain(|version| version.version != component.version);
            versions.push_front(before);
            versions.truncate(VERSIONS_KEPT);
        }
        Ok(())
    }

    /// The component of that name.
    pub fn component(&self, tenant: &Name, name: &Name) -> Result<Arc<Component>, Failure> {
        let tenants = self.tenants.read();
        let components = tenants.get(tenant).map(|tenant| &tenant.components);
        if let Some(component) = components.and_then(|components| components.get(name)) {
            return Ok(component.clone());
        }
        let known = components.into_iter().flat_map(|components| components.keys().map(Name::as_str));
        Err(Failure::not_found("component", name.as_str(), nearest(name.as_str(), known)))
    }

    /// All components of a tenant, each in the version that is in force.
    pub fn components(&self, tenant: &Name) -> Vec<Arc<Component>> {
        let tenants = self.tenants.read();
        tenants.get(tenant).into_iter().flat_map(|tenant| tenant.components.values().cloned()).collect()
    }

    /// The same in one version: the one in force or one of those before it.
    ///
    /// # Errors
    /// `not_found`; the version may be on disk still.
    pub(crate) fn component_of_version(
        &self,
        tenant: &Name,
        name: &Name,
        version: &str,
    ) -> Result<Arc<Component>, Failure> {
        let tenants = self.tenants.read();
        let of_tenant = tenants.get(tenant);
        let before = of_tenant.and_then(|tenant| tenant.before.get(name)).into_iter().flatten();
        let mut versions = of_tenant.and_then(|tenant| tenant.components.get(name)).into_iter().chain(before);
        let found = versions.find(|component| *component.version == *version);
        found.cloned().ok_or_else(|| Failure::not_found(&format!("version of component `{name}`:"), version, None))
    }

    /// The component that serves an agent type, and the type as it declares it.
    pub(crate) fn served(&self, tenant: &Name, kind: &Name) -> Option<Served> {
        self.tenants.read().get(tenant)?.kinds.get(kind).cloned()
    }

    /// The same for one version: the one in force or one of those before it.
    pub(crate) fn served_by_version(&self, tenant: &Name, kind: &Name, version: &str) -> Option<Served> {
        let tenants = self.tenants.read();
        let tenant = tenants.get(tenant)?;
        let (component, declared) = tenant.kinds.get(kind)?;
        if *component.version == *version {
            return Some((component.clone(), declared.clone()));
        }
        let before = tenant.before.get(&component.name)?.iter().find(|before| *before.version == *version)?;
        let agent = before.exports.agents.iter().find(|agent| agent.kind == *kind)?;
        Some((before.clone(), Arc::new(kind_of(before, agent))))
    }

    pub(crate) fn nearest_kind(&self, tenant: &Name, kind: &Name) -> Option<String> {
        let tenants = self.tenants.read();
        nearest(kind.as_str(), tenants.get(tenant)?.kinds.keys().map(Name::as_str)).map(str::to_owned)
    }
}

fn kind_of(component: &Component, agent: &ExportedAgent) -> Kind {
    let spec = component.spec.agents.get(agent.kind.as_str()).cloned().unwrap_or_default();
    let methods: BTreeMap<String, Method> =
        agent.methods.iter().map(|m| (m.name.clone(), Method { read_only: m.read_only })).collect();
    Kind {
        component: component.name.clone(),
        version: component.version.clone(),
        name: agent.kind.clone(),
        methods,
        idle: spec.idle,
    }
}
