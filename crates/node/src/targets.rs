//! Whether what a trigger starts is there: asked when it is deployed, and by whoever lists triggers.

use stride_agents::Bodies as _;
use stride_ids::{Failure, Name};
use stride_runtime::{Exports, Registry};
use stride_triggers::{PUBLISH, TOPICS, Target};

/// What there is in a tenant.
pub(crate) struct Targets<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) tenant: &'a Name,
    /// The component whose triggers are meant.
    pub(crate) component: &'a Name,
    /// What that one will have, if it is about to be deployed.
    pub(crate) exports: Option<&'a Exports>,
}

impl Targets<'_> {
    /// # Errors
    /// `not_found`, with the nearest name. Flows are only known when they are started.
    pub(crate) fn check(&self, target: &Target) -> Result<(), Failure> {
        match target {
            Target::Function { component, function } => {
                self.function(component.as_ref().unwrap_or(self.component), function.as_str())
            }
            Target::Agent { kind, method, .. } => self.method(kind, method.as_str()),
            Target::Flow(_) => Ok(()),
        }
    }

    fn function(&self, component: &Name, function: &str) -> Result<(), Failure> {
        let own = self.exports.filter(|_| component == self.component);
        match own {
            Some(exports) => among("function", function, &exports.functions, component),
            None => {
                let component = self.registry.component(self.tenant, component)?;
                among("function", function, &component.exports.functions, &component.name)
            }
        }
    }

    fn method(&self, kind: &Name, method: &str) -> Result<(), Failure> {
        let own = self.exports.and_then(|exports| exports.agents.iter().find(|agent| agent.kind == *kind));
        let methods: Vec<String> = match own {
            Some(agent) => agent.methods.iter().map(|method| method.name.clone()).collect(),
            None if *kind == TOPICS.name() => vec![PUBLISH.to_owned()],
            None if kind.as_str() == stride_runs::KIND => stride_runs::methods().map(str::to_owned).collect(),
            None => match self.registry.kind(self.tenant, kind) {
                Some(known) => known.methods.keys().cloned().collect(),
                None => {
                    let own = self.exports.into_iter().flat_map(|exports| &exports.agents);
                    let own = nearest(kind.as_str(), own.map(|agent| agent.kind.as_str()));
                    let near = own.map(str::to_owned).or_else(|| self.registry.nearest_kind(self.tenant, kind));
                    return Err(Failure::not_found("agent type", kind.as_str(), near.as_deref()));
                }
            },
        };
        among("method", method, &methods, kind)
    }
}

fn among(what: &str, name: &str, known: &[String], of: &Name) -> Result<(), Failure> {
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let near = nearest(name, known.iter().map(String::as_str));
    Err(Failure::not_found(&format!("{what} in `{of}`:"), name, near))
}

fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|name| strsim::damerau_levenshtein(typed, name))
}
