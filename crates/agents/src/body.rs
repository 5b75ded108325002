//! What the engine needs from whatever runs user code.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use stride_ids::{Address, Failure, Name, Payload};

use crate::turn::Turn;

/// One method of an agent type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// It changes nothing, so it commits nothing. The host enforces it.
    pub read_only: bool,
}

/// An agent type as the deployment that serves it now declares it.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The component that serves it.
    pub component: Name,
    /// Which version of the component. A live body of another version is replaced at the next turn.
    pub version: Arc<str>,
    /// The agent type.
    pub name: Name,
    /// What can be asked.
    pub methods: BTreeMap<String, Method>,
    /// How long a body may do nothing before it leaves memory.
    pub idle: Duration,
}

/// Where agent types and their bodies come from.
pub trait Bodies: Send + Sync + 'static {
    /// The type of that name in a tenant, if anything deployed serves it.
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>>;

    /// The type as an earlier version of its component declares it, if that version can still run.
    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>>;

    /// The agent type whose name is nearest to `name`, for the error message.
    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String>;

    /// Whether the bodies in memory hold more of it than they may.
    fn is_crowded(&self) -> bool {
        false
    }

    /// Brings the body of one agent into memory, with the version of the code that `kind` is of.
    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>>;
}

/// User code of one agent in memory. It may keep what it likes between turns; what counts is what the turn wrote.
pub trait Body: Send {
    /// Changes state that another version of the code left, before the first turn of this one and within it. A failure
    /// fails the turn.
    fn migrate<'a>(&'a mut self, turn: Turn, from_version: &'a str) -> BoxFuture<'a, Result<Turn, Failure>>;

    /// Runs one turn. After a failure the engine drops the body and the turn's writes.
    fn turn<'a>(
        &'a mut self,
        turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>>;

    /// How much memory it holds that comes back when it leaves, in bytes.
    fn held_bytes(&self) -> u64 {
        0
    }
}
