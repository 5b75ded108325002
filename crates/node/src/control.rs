//! Deploying: check, compile, keep, put in force.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_gateway::{ControlPlane, DeployedAgent, DeployedMethod, Deployment};
use stride_ids::{Code, Failure, Name};
use stride_runtime::{Component, Host, Registry, content_hash};
use stride_sim::{Chance, Clock};

use crate::{
    catalog::{Catalog, Entry, FORMAT},
    manifest::Manifest,
};

/// Manages the deployments of one node.
pub(crate) struct Control {
    pub(crate) host: Arc<Host>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    /// One deployment at a time, so that disk and memory agree on which came last.
    deploying: tokio::sync::Mutex<()>,
    in_force: Mutex<Vec<(Name, Deployment)>>,
}

impl Control {
    pub(crate) fn new(
        host: Arc<Host>,
        registry: Arc<Registry>,
        catalog: Catalog,
        clock: Clock,
        chance: Chance,
    ) -> Self {
        Self {
            host,
            registry,
            catalog,
            clock,
            chance,
            deploying: tokio::sync::Mutex::default(),
            in_force: Mutex::default(),
        }
    }

    /// Puts in force again what was deployed before the node ended.
    pub(crate) async fn restore(&self) -> Result<(), Failure> {
        let broken = |e: std::io::Error| Failure::new(Code::Internal, format!("a deployment cannot be restored: {e}"));
        for (entry, wasm) in self.catalog.load().map_err(broken)? {
            let component = self.load(entry.tenant.clone(), &entry.manifest, wasm).await?;
            self.registry.install(component)?;
            self.note(entry.tenant, entry.deployment);
        }
        Ok(())
    }

    async fn load(&self, tenant: Name, manifest: &str, wasm: Bytes) -> Result<Component, Failure> {
        // Agents in memory keep their limits and capabilities, so another manifest is another version.
        let version = content_hash(&[manifest.as_bytes(), &wasm].concat())[..12].into();
        let manifest = Manifest::parse(manifest).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
        let spec = manifest.spec();
        Component::load(&self.host, tenant, manifest.name, version, spec, wasm).await
    }

    async fn try_deploy(&self, tenant: Name, manifest: String, wasm: Bytes) -> Result<Deployment, Failure> {
        let _one = self.deploying.lock().await;
        let component = self.load(tenant.clone(), &manifest, wasm.clone()).await?;
        self.registry.check(&component)?;
        let deployment = Deployment {
            id: format!("dep-{:016x}", self.chance.next_u64()),
            component: component.name.clone(),
            version: component.version.to_string(),
            functions: component.exports.functions.clone(),
            agents: component.exports.agents.iter().map(deployed).collect(),
            created_at: self.clock.timestamp(),
        };
        let content = content_hash(&wasm);
        let entry = Entry { format: FORMAT, tenant: tenant.clone(), deployment: deployment.clone(), manifest, content };
        // On disk before in force: what answers now also answers after a crash.
        self.catalog.put(&entry, &wasm).map_err(|e| {
            let message = format!("the deployment cannot be stored, so nothing has changed: {e}");
            Failure::new(Code::Unavailable, message)
        })?;
        self.registry.install(component)?;
        self.note(tenant, deployment.clone());
        tracing::info!(component = %deployment.component, version = deployment.version, "deployed");
        Ok(deployment)
    }

    fn note(&self, tenant: Name, deployment: Deployment) {
        let mut in_force = self.in_force.lock();
        in_force.retain(|(owner, other)| (owner, &other.component) != (&tenant, &deployment.component));
        in_force.push((tenant, deployment));
        in_force.sort_by(|(_, a), (_, b)| a.component.cmp(&b.component));
    }
}

fn deployed(agent: &stride_runtime::ExportedAgent) -> DeployedAgent {
    let methods = agent.methods.iter().map(|m| DeployedMethod { name: m.name.clone(), read_only: m.read_only });
    DeployedAgent { kind: agent.kind.clone(), methods: methods.collect() }
}

impl ControlPlane for Control {
    fn deploy(&self, tenant: Name, manifest: String, component: Bytes) -> BoxFuture<'_, Result<Deployment, Failure>> {
        Box::pin(self.try_deploy(tenant, manifest, component))
    }

    fn deployments(&self, tenant: &Name) -> Vec<Deployment> {
        let in_force = self.in_force.lock();
        in_force.iter().filter(|(owner, _)| owner == tenant).map(|(_, deployment)| deployment.clone()).collect()
    }
}
