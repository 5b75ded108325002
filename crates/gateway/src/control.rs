//! What the gateway needs from whoever manages deployments.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use stride_ids::{Failure, Name};
use stride_sim::Timestamp;

/// Takes deployments and tells what is deployed.
pub trait ControlPlane: Send + Sync + 'static {
    /// Deploys a component. Returns once it can be called.
    fn deploy(&self, tenant: Name, manifest: String, component: Bytes) -> BoxFuture<'_, Result<Deployment, Failure>>;

    /// Puts the deployment before `id` in force again, as a new deployment. Returns once it can be called.
    fn roll_back(&self, tenant: Name, id: String) -> BoxFuture<'_, Result<Deployment, Failure>>;

    /// What is deployed now, by component name.
    fn deployments(&self, tenant: &Name) -> Vec<Deployment>;
}

/// One deployed version of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id, `dep-` and 16 hex digits.
    pub id: String,
    /// The component's name.
    pub component: Name,
    /// The beginning of the hash of the component and its manifest.
    pub version: String,
    /// The functions that can be called.
    pub functions: Vec<String>,
    /// The agent types that can be asked.
    pub agents: Vec<DeployedAgent>,
    /// When it was deployed, in milliseconds since 1970.
    pub created_at: Timestamp,
    /// What it took the place of, and what a rollback puts in force again; none for a component's first deployment.
    #[serde(default)]
    pub replaced: Option<Replaced>,
}

/// The deployment that was in force before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// An agent type of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedAgent {
    /// The agent type.
    pub kind: Name,
    /// What can be asked.
    pub methods: Vec<DeployedMethod>,
}

/// A method of an agent type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedMethod {
    /// Its name.
    pub name: String,
    /// It changes nothing.
    pub read_only: bool,
}
