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
