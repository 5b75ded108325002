//! Deploying: check, compile, keep, put in force; and going back.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_gateway::{ControlPlane, DeployedAgent, DeployedMethod, Deployment};
use stride_ids::{Code, Declared, Failure, Layout, Name};
use stride_runtime::{Component, Host, Registry, content_hash};
use stride_sim::{Chance, Clock, Timestamp};
use stride_triggers::{Declared as DeclaredTriggers, InForce, TriggerSpec};

use crate::{
    catalog::{Catalog, Entry},
    cluster::Rollout,
    manifest::Manifest,
    targets::Targets,
};

/// Manages the deployments of one node.
pub(crate) struct Control {
    pub(crate) host: Arc<Host>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) catalog: Catalog,
    /// Which agent types there are, and what their agents are close to.
    layout: Layout,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    /// The other nodes, which deploy the same; none if there are none.
    rollout: Option<Arc<Rollout>>,
    /// One deployment at a time, so that disk and memory agree on which came last.
    deploying: tokio::sync::Mutex<()>,
    in_force: Mutex<Vec<(Name, Deployment)>>,
    /// The triggers of what is in force.
    pub(crate) triggers: Arc<DeclaredTriggers>,
}

impl Control {
    pub(crate) fn new(
        host: Arc<Host>,
        registry: Arc<Registry>,
        catalog: Catalog,
        layout: Layout,
        rollout: Option<Arc<Rollout>>,
        (clock, chance): (&Clock, &Chance),
    ) -> Self {
        Self {
            host,
            registry,
            catalog,
            layout,
            clock: clock.clone(),
            chance: chance.clone(),
            rollout,
            deploying: tokio::sync::Mutex::default(),
            in_force: Mutex::default(),
            triggers: Arc::default(),
        }
    }

    /// Puts in force again what was deployed before the node ended, each on top of the version before it.
    pub(crate) async fn restore(&self) -> Result<(), Failure> {
        let broken = |e: std::io::Error| Failure::new(Code::Internal, format!("a deployment cannot be restored: {e}"));
        for history in self.catalog.histories().map_err(broken)? {
            if let Some(before) = history.version_before()
                && let Err(failure) = self.restore_one(&history.tenant, before).await
            {
                let Deployment { component, version, .. } = &before.deployment;
                tracing::warn!(%component, version, %failure, "the version before cannot be restored; agents that stayed with it try the one in force");
            }
            let triggers = self.restore_one(&history.tenant, &history.in_force).await?;
            self.note(history.tenant, history.in_force.deployment, triggers);
        }
        Ok(())
    }

    /// Whose components are deployed.
    pub(crate) fn tenants(&self) -> BTreeSet<Name> {
        self.in_force.lock().iter().map(|(tenant, _)| tenant.clone()).collect()
    }

    async fn restore_one(&self, tenant: &Name, entry: &Entry) -> Result<Vec<TriggerSpec>, Failure> {
        let wasm = self.catalog.component(entry).map_err(|e| {
            let what = format!("deployment {} of {}", entry.deployment.id, entry.deployment.component);
            Failure::new(Code::Internal, format!("{what} cannot be restored: {e}"))
        })?;
        let (component, triggers) = self.load(tenant.clone(), &entry.manifest, wasm).await?;
        self.registry.install(component)?;
        Ok(triggers)
    }

    /// A version of a component, from disk. It is not put in force.
    ///
    /// # Errors
    /// `not_found` if it is not kept any more.
    pub(crate) async fn version(&self, tenant: &Name, name: &Name, version: &str) -> Result<Arc<Component>, Failure> {
        let broken = |e: std::io::Error| Failure::new(Code::Internal, format!("the deployments cannot be read: {e}"));
        let histories = self.catalog.histories().map_err(broken)?;
        let of_component = histories
            .iter()
            .filter(|history| history.tenant == *tenant && history.in_force.deployment.component == *name);
        let Some(entry) = of_component.filter_map(|history| history.of_version(version)).next() else {
            let message = format!("version {version} of component `{name}` is not kept any more");
            return Err(Failure::new(Code::NotFound, message));
        };
        let wasm = self.catalog.component(entry).map_err(broken)?;
        Ok(Arc::new(self.load(tenant.clone(), &entry.manifest, wasm).await?.0))
    }

    async fn load(&self, tenant: Name, manifest: &str, wasm: Bytes) -> Result<(Component, Vec<TriggerSpec>), Failure> {
        // Agents in memory keep their limits and capabilities, so another manifest is another version.
        let version = content_hash(&[manifest.as_bytes(), &wasm].concat())[..12].into();
        let manifest = Manifest::parse(manifest).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
        let spec = manifest.spec();
        let component = Component::load(&self.host, tenant, manifest.name, version, spec, wasm).await?;
        Ok((component, manifest.triggers))
    }

    async fn try_deploy(&self, tenant: Name, manifest: String, wasm: Bytes) -> Result<Deployment, Failure> {
        let _one = self.deploying.lock().await;
        let deployment = self.put_in_force(tenant.clone(), manifest, wasm).await?;
        let Deployment { id, component, version, .. } = &deployment;
        tracing::info!(target: "stride::audit", %tenant, %component, version, id, "deployed");
        Ok(deployment)
    }

    async fn try_roll_back(&self, tenant: Name, id: &str) -> Result<Deployment, Failure> {
        let _one = self.deploying.lock().await;
        let broken = |e: std::io::Error| Failure::new(Code::Internal, format!("the deployments cannot be read: {e}"));
        let histories = self.catalog.histories().map_err(broken)?;
        let history = histories.into_iter().find(|history| history.tenant == tenant && history.has(id));
        let history = history.ok_or_else(|| {
            let message = format!("there is no deployment `{id}`; GET /v1/deployments lists those in force");
            Failure::new(Code::NotFound, message)
        })?;
        let Deployment { id: in_force, component, .. } = &history.in_force.deployment;
        if in_force != id {
            let message = format!(
                "deployment {id} is not in force any more; to go back from what is, roll back {in_force} of {component}"
            );
            return Err(Failure::new(Code::Conflict, message));
        }
        let before = history.before().ok_or_else(|| {
            let message =
                format!("there is no deployment of {component} before {id}; deploy the version that you want instead");
            Failure::new(Code::NotFound, message)
        })?;
        let wasm = self.catalog.component(before).map_err(broken)?;
        let deployment = self.put_in_force(tenant.clone(), before.manifest.clone(), wasm).await?;
        let version = &deployment.version;
        tracing::info!(target: "stride::audit", %tenant, %component, version, id = deployment.id, instead_of = id, "rolled back");
        Ok(deployment)
    }

    /// To be called with `deploying` held.
    async fn put_in_force(&self, tenant: Name, manifest: String, wasm: Bytes) -> Result<Deployment, Failure> {
        let (component, triggers) = self.load(tenant.clone(), &manifest, wasm.clone()).await?;
        self.registry.check(&component)?;
        self.check_triggers(&tenant, &component, &triggers)?;
        let deployment = Deployment {
            id: format!("dep-{:016x}", self.chance.next_u64()),
            component: component.name.clone(),
            version: component.version.to_string(),
            functions: component.exports.functions.clone(),
            agents: component.exports.agents.iter().map(deployed).collect(),
            created_at: self.time_after(&tenant, &component.name),
            replaced: None,
        };
        let entry = Entry { deployment, manifest, content: content_hash(&wasm) };
        if let Some(rollout) = &self.rollout {
            rollout.learn().await?;
        }
        self.layout.check(&tenant, &declared_by(&entry)?)?;
        let Some(rollout) = &self.rollout else { return self.keep(tenant, entry, (component, triggers), &wasm) };
        let id = entry.deployment.id.clone();
        let number = rollout.publish(&tenant, &entry, wasm).await?;
        rollout.catch_up(self).await?;
        rollout.everywhere(number).await;
        let deployed = self.in_force.lock().iter().find(|(_, one)| one.id == id).map(|(_, one)| one.clone());
        deployed.ok_or_else(|| Failure::new(Code::Conflict, "another deployment of this component came right after"))
    }

    /// Whether what the triggers of a component start is there, and whether they take nothing that others have.
    fn check_triggers(&self, tenant: &Name, component: &Component, triggers: &[TriggerSpec]) -> Result<(), Failure> {
        self.triggers.check(tenant, &component.name, triggers)?;
        let exports = Some(&component.exports);
        let targets = Targets { registry: &self.registry, tenant, component: &component.name, exports };
        triggers.iter().try_for_each(|trigger| {
            let explain = |failure: Failure| {
                let message = format!("trigger `{}`: {}", trigger.name, failure.message);
                Failure { message, ..failure }
            };
            targets.check(&trigger.target).map_err(explain)
        })
    }

    /// The time of a deployment: after that of the one before it, whatever the clock of the node says that took that one. Of the two that
    /// nodes of a cluster may know, the later one is the newer.
    fn time_after(&self, tenant: &Name, component: &Name) -> Timestamp {
        let in_force = self.in_force.lock();
        let before = in_force.iter().find(|(owner, one)| (owner, &one.component) == (tenant, component));
        self.clock.timestamp().max(before.map_or(0, |(_, before)| before.created_at + 1))
    }

    /// Whether a deployment is on disk.
    pub(crate) fn knows(&self, tenant: &Name, id: &str) -> Result<bool, Failure> {
        let broken = |e: std::io::Error| Failure::new(Code::Internal, format!("the deployments cannot be read: {e}"));
        let histories = self.catalog.histories().map_err(broken)?;
        Ok(histories.iter().any(|history| history.tenant == *tenant && history.has(id)))
    }

    /// Puts in force what another node was asked to deploy.
    pub(crate) async fn take(&self, tenant: Name, entry: Entry, wasm: Bytes) -> Result<(), Failure> {
        let loaded = self.load(tenant.clone(), &entry.manifest, wasm.clone()).await?;
        self.keep(tenant, entry, loaded, &wasm).map(drop)
    }

    fn keep(
        &self,
        tenant: Name,
        entry: Entry,
        (component, triggers): (Component, Vec<TriggerSpec>),
        wasm: &[u8],
    ) -> Result<Deployment, Failure> {
        let declared = declared_by(&entry)?;
        // On disk before in force: what answers now also answers after a crash.
        let deployment = self.catalog.put(tenant.clone(), entry, wasm).map_err(|e| {
            let message = format!("the deployment cannot be stored, so nothing has changed: {e}");
            Failure::new(Code::Unavailable, message)
        })?;
        // Before the first turn of an agent, which is then where it stays.
        self.layout.declare(&tenant, &declared);
        self.registry.install(component)?;
        self.note(tenant, deployment.clone(), triggers);
        Ok(deployment)
    }

    fn note(&self, tenant: Name, deployment: Deployment, triggers: Vec<TriggerSpec>) {
        let in_force = InForce { since: deployment.created_at, triggers: triggers.into_iter().map(Arc::new).collect() };
        self.triggers.put(&tenant, &deployment.component, in_force);
        let mut in_force = self.in_force.lock();
        in_force.retain(|(owner, other)| (owner, &other.component) != (&tenant, &deployment.component));
        in_force.push((tenant, deployment));
        in_force.sort_by(|(_, a), (_, b)| a.component.cmp(&b.component));
    }
}

/// The agent types of a deployment, with what their agents are close to.
pub(crate) fn declared_by(entry: &Entry) -> Result<Declared, Failure> {
    entry.declared().map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))
}

fn deployed(agent: &stride_runtime::ExportedAgent) -> DeployedAgent {
    let methods = agent.methods.iter().map(|m| DeployedMethod { name: m.name.clone(), read_only: m.read_only });
    DeployedAgent { kind: agent.kind.clone(), methods: methods.collect() }
}

impl ControlPlane for Control {
    fn deploy(&self, tenant: Name, manifest: String, component: Bytes) -> BoxFuture<'_, Result<Deployment, Failure>> {
        Box::pin(self.try_deploy(tenant, manifest, component))
    }

    fn roll_back(&self, tenant: Name, id: String) -> BoxFuture<'_, Result<Deployment, Failure>> {
        Box::pin(async move { self.try_roll_back(tenant, &id).await })
    }

    fn deployments(&self, tenant: &Name) -> Vec<Deployment> {
        let in_force = self.in_force.lock();
        in_force.iter().filter(|(owner, _)| owner == tenant).map(|(_, deployment)| deployment.clone()).collect()
    }
}
