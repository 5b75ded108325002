//! What a deployment asks for: limits, bounds and capabilities. Plain data, with the defaults.

use std::{collections::BTreeMap, time::Duration};

use stride_ids::{Address, Affinity, BucketName, Name, ObjectName};

use crate::grant::{ObjectGrant, Right};

/// What one function may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// The most memory one call may have, in bytes.
    pub memory_bytes: usize,
    /// The longest one call may take.
    pub timeout: Duration,
    /// How many calls run at the same time.
    pub concurrency: usize,
    /// How many more calls may wait; the next one is refused with `overloaded`.
    pub queue: usize,
    /// Its answers may be kept and given again for the same input. Only a pure function may ask for this.
    pub memoise: bool,
    /// A call leaves nothing in memory for which a later one would answer differently, so neighbours in a chain may share an
    /// instance. Only a pure function may ask for this: it is what the platform cannot prove of it.
    pub reuse: bool,
}

impl Default for FunctionSpec {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            timeout: Duration::from_secs(30),
            concurrency: 64,
            queue: 1024,
            memoise: false,
            reuse: false,
        }
    }
}

/// What the agents of one type may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSpec {
    /// The most memory one agent may have, in bytes.
    pub memory_bytes: usize,
    /// The longest one turn may take.
    pub timeout: Duration,
    /// How long an agent may do nothing before it leaves memory.
    pub idle: Duration,
    /// What an agent is close to: it is where that is.
    pub affinity: Option<Affinity>,
}

impl Default for AgentSpec {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            timeout: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            affinity: None,
        }
    }
}

/// What a component asks for as a whole. A function or agent that is not named gets the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentSpec {
    /// By function name.
    pub functions: BTreeMap<String, FunctionSpec>,
    /// By agent type.
    pub agents: BTreeMap<String, AgentSpec>,
    /// Which agents its functions and agents may ask and tell: `type/key`, where a trailing `*` stands for any rest.
    pub may_reach: Vec<String>,
    /// Which objects its functions and agents may read and write.
    pub objects: Vec<ObjectGrant>,
    /// Which functions they may map over objects: `component/function`, where a trailing `*` stands for any rest.
    pub may_map: Vec<String>,
}

impl ComponentSpec {
    /// Whether the capabilities name this agent of the same tenant.
    pub(crate) fn grants_agent(&self, tenant: &Name, address: &Address) -> bool {
        let target = format!("{}/{}", address.kind, address.key);
        *tenant == address.tenant && matches(&self.may_reach, &target)
    }

    /// Whether the capabilities name this function, `component/function`, of the component's tenant.
    pub(crate) fn grants_map(&self, function: &str) -> bool {
        matches(&self.may_map, function)
    }

    /// Whether there is any object that the capabilities allow to read.
    pub fn reads_objects(&self) -> bool {
        self.objects.iter().any(|grant| grant.has(Right::Read))
    }

    /// Whether there is any object that the capabilities allow to change.
    pub fn writes_objects(&self) -> bool {
        self.objects.iter().any(|grant| grant.has(Right::Write))
    }

    /// Whether the capabilities name this object of the component's tenant.
    pub(crate) fn grants_object(&self, object: &ObjectName, right: Right) -> bool {
        self.objects.iter().any(|grant| grant.covers(object, right))
    }

    /// Whether the capabilities name all objects of the bucket with that prefix.
    pub(crate) fn grants_all(&self, bucket: &BucketName, prefix: &str, right: Right) -> bool {
        self.objects.iter().any(|grant| grant.covers_all(bucket, prefix, right))
    }
}

/// Whether one of the patterns is this text, or begins it if it ends with `*`.
fn matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => text == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use stride_ids::AgentKey;

    use super::*;

    #[test]
    fn a_capability_names_agents_exactly_or_by_prefix_within_the_tenant() {
        let spec = ComponentSpec { may_reach: vec!["crate/*".into(), "log/main".into()], ..Default::default() };
        let tenant = Name::default_tenant();
        let agent = |kind: &str, key: &str| Address {
            tenant: tenant.clone(),
            kind: Name::new(kind).unwrap(),
            key: AgentKey::new(key).unwrap(),
        };
        assert!(spec.grants_agent(&tenant, &agent("crate", "serde")));
        assert!(spec.grants_agent(&tenant, &agent("log", "main")));
        assert!(!spec.grants_agent(&tenant, &agent("log", "main2")));
        assert!(!spec.grants_agent(&tenant, &agent("crates", "serde")));
        assert!(!spec.grants_agent(&Name::new("other").unwrap(), &agent("crate", "serde")));
    }
}
