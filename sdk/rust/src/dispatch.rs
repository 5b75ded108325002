//! What the attributes registered, and how the host's calls find it.
//!
//! Always true: the struct of an agent stays in memory only after a turn that succeeded. Whatever fails drops it, as the
//! host drops the turn's writes, and the next turn loads what was last committed.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

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
    /// Changes the stored state to what this version of the agent works with.
    pub migrate: fn() -> Result<(), Failure>,
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

/// Everything that can be called, by name: the order of registration is the linker's. Panics, and so fails the
/// deployment, if one name means two things.
pub(crate) fn describe() -> handler::Exports {
    let mut functions = BTreeSet::new();
    for FunctionExport { name, .. } in inventory::iter::<FunctionExport> {
        assert!(functions.insert(*name), "two functions are called `{name}`");
    }
    let mut kinds = BTreeMap::new();
    for AgentExport { kind, methods, .. } in inventory::iter::<AgentExport> {
        let twice = kinds.insert(*kind, *methods).is_some();
        assert!(!twice, "two #[stride::agent] blocks are for the agent type `{kind}`; put its methods into one");
    }
    let method = |m: &MethodExport| handler::Method { name: m.name.to_owned(), read_only: m.read_only };
    let agent = |(kind, methods): (&str, &[MethodExport])| handler::Agent {
        kind: kind.to_owned(),
        methods: methods.iter().map(method).collect(),
    };
    handler::Exports {
        functions: functions.into_iter().map(str::to_owned).collect(),
        agents: kinds.into_iter().map(agent).collect(),
    }
}

pub(crate) fn call(name: &str, input: Payload) -> Result<Payload, Failure> {
    let mut functions = inventory::iter::<FunctionExport>();
    let function = functions.find(|function| function.name == name);
    let function = function.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no function `{name}`")))?;
    (function.call)(input)
}

fn agent_type(kind: &str) -> Result<&'static AgentExport, Failure> {
    let mut agents = inventory::iter::<AgentExport>();
    let found = agents.find(|agent| agent.kind == kind);
    found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no agent type `{kind}`")))
}

pub(crate) fn turn(kind: &str, key: &str, method: &str, input: Payload) -> Result<Payload, Failure> {
    let found = agent_type(kind)?;
    set_current(agent(kind, key));
    let mut served = SERVED.take();
    let answer = (found.serve)(&mut served, method, input)?;
    SERVED.set(served);
    Ok(answer)
}

pub(crate) fn migrate(kind: &str, key: &str) -> Result<(), Failure> {
    let found = agent_type(kind)?;
    set_current(agent(kind, key));
    // What is in memory, if anything is, was made from the state before.
    SERVED.set(None);
    (found.migrate)()
}

/// Leaves the stored state as it is: for an agent type that has no migration.
pub fn keep_state() -> Result<(), Failure> {
    Ok(())
}

/// Changes the stored state with a function from the old struct to the new one.
pub fn change_state<Old, New, E>(change: fn(Old) -> Result<New, E>) -> Result<(), Failure>
where
    Old: DeserializeOwned,
    New: Serialize,
    E: std::fmt::Display,
{
    let Some(bytes) = state::load() else { return Ok(()) };
    let failed = |why: String| Failure::new(Code::Internal, format!("the state cannot be migrated: {why}"));
    let old = serde_json::from_slice(&bytes).map_err(|e| failed(format!("it is not what the migration takes: {e}")))?;
    let new = change(old).map_err(|e| failed(e.to_string()))?;
    state::save(&serde_json::to_vec(&new).map_err(|e| failed(e.to_string()))?);
    Ok(())
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
            "the stored state has another shape than this version of the agent: {e}. Give new fields #[serde(default)], or migrate it with #[stride::agent(migrate = ...)]"
        );
        Failure::new(Code::Internal, message)
    })
}

/// The failure for a method that is not there.
pub fn no_method(name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no method `{name}`"))
}
