//! What the attributes registered, and how the host's calls find it.
//!
//! Always true: the struct of an agent stays in memory only after a turn that succeeded. Whatever fails drops it, as the
//! host drops the turn's writes, and the next turn loads what was last committed.

use std::{any::Any, cell::RefCell, collections::BTreeSet};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    agent::{agent, set_current},
    bindings::{exports::stride::guest::handler, stride::guest::state},
    failure::{Code, Failure},
    payload::Payload,
};

/// A function as `#[stride::function]` registers it.
pub struct FunctionExport {
    /// What it is called by.
    pub name: &'static str,
    /// Decodes, runs and encodes.
    pub call: fn(Payload) -> Result<Payload, Failure>,
}

/// Serves one message to the agent that is in memory, if there is one.
pub(crate) type Serve = fn(&mut Option<Box<dyn Any>>, &str, Payload) -> Result<Payload, Failure>;

/// An agent type as `#[stride::agent]` registers it.
pub struct AgentExport {
    /// The agent type.
    pub kind: &'static str,
    /// What can be asked.
    pub methods: &'static [MethodExport],
    /// Serves one message to the agent that is in memory, if there is one.
    pub serve: Serve,
}

/// A method of an agent type.
pub struct MethodExport {
    /// What it is asked by.
    pub name: &'static str,
    /// It takes `&self`.
    pub read_only: bool,
}

/// The agent that is in memory, as whichever type it is.
pub type Served = Option<Box<dyn Any>>;

inventory::collect!(FunctionExport);
inventory::collect!(AgentExport);

thread_local! {
    /// The agent that this instance serves, once it has been loaded.
    static SERVED: RefCell<Served> = const { RefCell::new(None) };
}

/// Everything that can be called. Panics, and so fails the deployment, if one name means two things.
pub(crate) fn describe() -> handler::Exports {
    let functions: Vec<_> = inventory::iter::<FunctionExport>().map(|function| function.name.to_owned()).collect();
    let method = |m: &MethodExport| handler::Method { name: m.name.to_owned(), read_only: m.read_only };
    let agent = |agent: &AgentExport| handler::Agent {
        kind: agent.kind.to_owned(),
        methods: agent.methods.iter().map(method).collect(),
    };
    let agents: Vec<_> = inventory::iter::<AgentExport>().map(agent).collect();
    if let Some(twice) = repeated(functions.iter().map(String::as_str)) {
        panic!("two functions are called `{twice}`");
    }
    if let Some(twice) = repeated(agents.iter().map(|agent| agent.kind.as_str())) {
        panic!("two #[stride::agent] blocks are for the agent type `{twice}`; put its methods into one");
    }
    handler::Exports { functions, agents }
}

fn repeated<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}

pub(crate) fn call(name: &str, input: Payload) -> Result<Payload, Failure> {
    let mut functions = inventory::iter::<FunctionExport>();
    let function = functions.find(|function| function.name == name);
    let function = function.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no function `{name}`")))?;
    (function.call)(input)
}

pub(crate) fn turn(kind: &str, key: &str, method: &str, input: Payload) -> Result<Payload, Failure> {
    let mut agents = inventory::iter::<AgentExport>();
    let found = agents.find(|agent| agent.kind == kind);
    let found = found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no agent type `{kind}`")))?;
    set_current(agent(kind, key));
    let mut served = SERVED.take();
    let answer = (found.serve)(&mut served, method, input)?;
    SERVED.set(served);
    Ok(answer)
}

/// Serves one message to an agent: loads it if need be, runs the method, saves it after a method that may change it.
pub fn serve_agent<T: Default + Serialize + DeserializeOwned + 'static>(
    served: &mut Served,
    read_only: bool,
    run: impl FnOnce(&mut T) -> Result<Payload, Failure>,
) -> Result<Payload, Failure> {
    let mut agent = match served.take().map(Box::<dyn Any>::downcast::<T>) {
        Some(Ok(agent)) => agent,
        _ => Box::new(load()?),
    };
    let answer = run(&mut agent)?;
    if !read_only {
        let bytes = serde_json::to_vec(&*agent)
            .map_err(|e| Failure::new(Code::Internal, format!("the agent's state is not JSON: {e}")))?;
        state::save(&bytes);
    }
    *served = Some(agent);
    Ok(answer)
}

fn load<T: Default + DeserializeOwned>() -> Result<T, Failure> {
    let Some(bytes) = state::load() else { return Ok(T::default()) };
    serde_json::from_slice(&bytes).map_err(|e| {
        let message = format!(
            "the stored state has another shape than this version of the agent: {e}. Give new fields #[serde(default)]"
        );
        Failure::new(Code::Internal, message)
    })
}

/// The failure for a method that is not there.
pub fn no_method(name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no method `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_two_things_is_found() {
        assert_eq!(repeated(["a", "b", "a", "b"].into_iter()), Some("a"));
        assert_eq!(repeated(["a", "b"].into_iter()), None);
    }
}
