//! From the host's bytes to a user's function or method, and back.

use std::{any::Any, cell::RefCell, fmt::Display};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bindings::{
        exports::stride::guest::handler,
        stride::guest::{agents, state},
    },
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

/// An agent type as `#[stride::agent]` registers it.
pub struct AgentExport {
    /// The agent type.
    pub kind: &'static str,
    /// What can be asked.
    pub methods: &'static [MethodExport],
    /// Serves one message to the agent that is in memory, if there is one.
    pub serve: fn(&mut Option<Box<dyn Any>>, &str, Payload) -> Result<Payload, Failure>,
}

/// A method of an agent type.
pub struct MethodExport {
    /// What it is asked by.
    pub name: &'static str,
    /// It takes `&self`.
    pub read_only: bool,
}

inventory::collect!(FunctionExport);
inventory::collect!(AgentExport);

thread_local! {
    /// The agent that this instance serves, once it has been loaded.
    static SERVED: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

pub(crate) fn describe() -> handler::Exports {
    let functions = inventory::iter::<FunctionExport>().map(|function| function.name.to_owned()).collect();
    let method = |m: &MethodExport| handler::Method { name: m.name.to_owned(), read_only: m.read_only };
    let agent = |agent: &AgentExport| handler::Agent {
        kind: agent.kind.to_owned(),
        methods: agent.methods.iter().map(method).collect(),
    };
    handler::Exports { functions, agents: inventory::iter::<AgentExport>().map(agent).collect() }
}

pub(crate) fn call(name: &str, input: Payload) -> Result<Payload, Failure> {
    let mut functions = inventory::iter::<FunctionExport>();
    let function = functions.find(|function| function.name == name);
    let function = function.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no function `{name}`")))?;
    (function.call)(input)
}

pub(crate) fn turn(kind: &str, key: &str, method: &str, input: Payload) -> Result<Payload, Failure> {
    let mut agents = inventory::iter::<AgentExport>();
    let agent = agents.find(|agent| agent.kind == kind);
    let agent = agent.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no agent type `{kind}`")))?;
    CURRENT.set(Some((kind.to_owned(), key.to_owned())));
    // Taken out while it is used: what fails is not put back, and the next turn loads what was last committed.
    let mut served = SERVED.take();
    let answer = (agent.serve)(&mut served, method, input)?;
    SERVED.set(served);
    Ok(answer)
}

thread_local! {
    static CURRENT: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// The type and key of the agent whose turn this is; none in a function.
pub(crate) fn current() -> Option<(String, String)> {
    CURRENT.with_borrow(Clone::clone)
}

/// Another agent, by its address within the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    kind: String,
    key: String,
}

/// The agent `kind/key`.
///
/// ```no_run
/// # fn example() -> Result<(), stride::Failure> {
/// let total: u64 = stride::agent("counter", "alice").ask("add", &5)?;
/// # Ok(())
/// # }
/// ```
pub fn agent(kind: impl Into<String>, key: impl Into<String>) -> Agent {
    Agent { kind: kind.into(), key: key.into() }
}

impl Agent {
    /// The agent whose turn this is; none in a function.
    pub fn current() -> Option<Self> {
        current().map(|(kind, key)| Self { kind, key })
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Asks and waits for the durable answer. `arguments` is what the method takes: `&()` for none, the value for one,
    /// a tuple for several. Needs the capability `agents` in stride.toml.
    ///
    /// # Errors
    /// Whatever the agent or the platform answered, with its code.
    pub fn ask<R: DeserializeOwned>(&self, method: &str, arguments: &impl Serialize) -> Result<R, Failure> {
        let body = serde_json::to_vec(arguments).map_err(|e| {
            Failure::new(Code::InvalidRequest, format!("the arguments of `{method}` are not JSON: {e}"))
        })?;
        let answer = agents::ask(&self.kind, &self.key, method, &Payload::json(body).into())?;
        serde_json::from_slice(&answer.body).map_err(|e| {
            let message =
                format!("`{}/{}` answered `{method}` with something else than expected: {e}", self.kind, self.key);
            Failure::new(Code::InvalidRequest, message)
        })
    }
}

/// Serves one message to an agent: loads it if need be, runs the method, saves it after a method that may change it.
pub fn serve_agent<T: Default + Serialize + DeserializeOwned + 'static>(
    served: &mut Option<Box<dyn Any>>,
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

/// Checks nothing: whoever takes no arguments does not mind a body.
pub fn no_arguments(_: &Payload) {}

/// Decodes the one argument of a function from the body.
pub fn one_argument<T: DeserializeOwned>(input: &Payload, name: &str) -> Result<T, Failure> {
    serde_json::from_slice(&input.body).map_err(|e| invalid_argument(input, name, &e))
}

/// Decodes several arguments from a JSON array.
pub fn arguments<T: DeserializeOwned>(input: &Payload, names: &str) -> Result<T, Failure> {
    serde_json::from_slice(&input.body).map_err(|e| {
        let message = format!("the body has to be a JSON array of the arguments [{names}]: {e}");
        Failure::new(Code::InvalidRequest, message)
    })
}

fn invalid_argument(input: &Payload, name: &str, error: &serde_json::Error) -> Failure {
    let hint = if input.body.is_empty() {
        " (the body is empty)"
    } else if error.is_syntax() {
        " (a text needs quotes: \"...\")"
    } else {
        ""
    };
    let message = format!("the body has to be JSON for the argument `{name}`: {error}{hint}");
    Failure::new(Code::InvalidRequest, message)
}

/// What a function's result becomes. The attributes choose the conversion by the form of the result's type.
pub trait Reply {
    /// The payload that goes out.
    fn reply(self) -> Result<Payload, Failure>;
}

impl<T: Serialize> Reply for T {
    fn reply(self) -> Result<Payload, Failure> {
        let bytes = serde_json::to_vec(&self)
            .map_err(|e| Failure::new(Code::Internal, format!("the reply is not JSON: {e}")))?;
        Ok(Payload::json(bytes))
    }
}

/// An error of any type as a failure: a [`Failure`] stays what it is, everything else is the guest's own error.
pub struct Erased;

impl Erased {
    /// Converts.
    pub fn failure<E: Display + 'static>(error: E) -> Failure {
        let boxed: Box<dyn Any> = Box::new(error);
        match boxed.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(other) => {
                let error = other.downcast::<E>().expect("it was put in as an E");
                Failure::new(Code::GuestError, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Payload {
        Payload::json(text)
    }

    #[test]
    fn arguments_that_do_not_fit_say_what_would() {
        let error = one_argument::<String>(&body("hello"), "text").unwrap_err();
        assert!(matches!(error.code, Code::InvalidRequest));
        assert!(error.message.contains("`text`") && error.message.contains("needs quotes"), "{error}");
        let error = one_argument::<u64>(&body(""), "n").unwrap_err();
        assert!(error.message.contains("the body is empty"), "{error}");
        let error = arguments::<(u64, u64)>(&body("[1]"), "from, to").unwrap_err();
        assert!(error.message.contains("[from, to]"), "{error}");
        assert_eq!(arguments::<(u64, String)>(&body("[1, \"a\"]"), "n, s").unwrap(), (1, "a".into()));
    }

    #[test]
    fn a_failure_keeps_its_code_and_other_errors_become_guest_errors() {
        let denied = Erased::failure(Failure::new(Code::CapabilityDenied, "no"));
        assert!(matches!(denied.code, Code::CapabilityDenied));
        let own = Erased::failure("out of luck");
        assert!(matches!(own.code, Code::GuestError));
        assert_eq!(own.message, "out of luck");
    }
}
