//! What flows of a tenant may refer to.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::Value;
use stride_flows::{Function, Problems, Signature, plan::Hardware};
use stride_ids::{Code, Failure, Name, ObjectName};

/// What is wrong with a flow, where, and what to do.
pub type WrongAt = stride_flows::Problem;

/// What is deployed, as flows see it.
pub trait Catalog: Send + Sync + 'static {
    /// The function `component/function`, and which version of its component is in force.
    fn function(&self, tenant: &Name, name: &str) -> Option<(Function, String)>;
    /// A method of the agents of this type.
    fn agent(&self, tenant: &Name, agent: &str, method: &str) -> Option<Signature>;
    /// The classes of hardware that some nodes have and others do not, and the plain node. Empty: there is nothing to choose.
    fn hardware(&self) -> Vec<Hardware>;
    /// The nodes, and what they hold of these objects, for steps that say what they are close to. `None`: nothing is known of nodes.
    ///
    /// # Errors
    /// If it cannot be looked at.
    fn nodes<'a>(
        &'a self,
        objects: &'a [ObjectName],
    ) -> BoxFuture<'a, Result<Option<stride_placement::Input>, Failure>>;
    /// The names of all functions, and of the methods of agents as `type/method`.
    fn names(&self, tenant: &Name) -> Vec<String>;
}

/// Why a flow is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something is wrong with it.
    #[error("the flow cannot be taken:\n{0}")]
    Problems(Problems),
    /// It could not be looked at.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<Problems> for Refused {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Problems(_) => Self::new(Code::InvalidRequest, refused.to_string()),
            Refused::Failed(failure) => failure,
        }
    }
}

/// A catalog together with the other flows that a draft names.
pub(crate) struct Seen<'a> {
    pub(crate) tenant: &'a Name,
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) flows: BTreeMap<String, Signature>,
}

impl stride_flows::Catalog for Seen<'_> {
    fn function(&self, name: &str) -> Option<Function> {
        self.catalog.function(self.tenant, name).map(|(function, _)| function)
    }

    fn agent(&self, agent: &str, method: &str) -> Option<Signature> {
        self.catalog.agent(self.tenant, agent, method)
    }

    fn flow(&self, name: &str) -> Option<Signature> {
        self.flows.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.catalog.names(self.tenant);
        names.extend(self.flows.keys().cloned());
        names
    }
}

/// The names behind `{"KEY": {"FIELD": name}}`, wherever that is in an artefact.
pub(crate) fn named<'a>(artefact: &'a Value, key: &str, field: &str) -> Vec<&'a str> {
    let (mut found, mut left) = (Vec::new(), vec![artefact]);
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                let name = fields.get(key).and_then(|inner| inner.get(field)).and_then(Value::as_str);
                found.extend(name);
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// All texts that stand under this field, wherever that is in an artefact.
pub(crate) fn texts<'a>(artefact: &'a Value, field: &str) -> Vec<&'a str> {
    let (mut found, mut left) = (Vec::new(), vec![artefact]);
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get(field).and_then(Value::as_str));
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
