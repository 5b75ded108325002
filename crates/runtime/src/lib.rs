//! The Wasmtime host: turns a component into functions that can be called and agent bodies that can take turns.
//!
//! ```text
//! bytes ─ code (compile once, cache) ─► component (pre-linked, described) ─ registry ─► functions: a fresh instance a call (spares: made ahead)
//!                                                                                   └─► bodies: an instance an agent
//! ```
//! Always true: a guest reaches nothing that its spec does not name or that may not be on this node, every run has a memory and a time limit, and no
//! guest can bring down the host: whatever it does ends as a [`Failure`](stride_ids::Failure).
//! Not here: what a turn means (see `agents`), manifests and files of deployments (see `node`).
#![deny(missing_docs)]

mod bindings;
mod bodies;
mod chain;
mod classes;
mod code;
mod component;
mod copies;
mod explain;
mod failure;
mod functions;
mod gate;
mod grant;
mod guest;
mod here;
mod host;
mod logs;
mod maps;
mod memo;
mod memory;
mod objects;
mod others;
mod placing;
mod purity;
mod registers;
mod registry;
mod spares;
mod spec;
mod warming;

pub use chain::Chain;
pub use code::content_hash;
pub use component::{Component, ExportedAgent, ExportedMethod, Exports};
pub use explain::{DataName, Datum, Explained, Work};
pub use functions::{Call, Called, Function, FunctionStats, Functions};
pub use grant::ObjectGrant;
pub use here::Site;
pub use host::{Host, Settings};
pub use logs::{LogLine, Logs, Stream};
pub use others::{Elsewhere, Errand, Ran, Report};
pub use placing::Job;
pub use purity::{Cause, Purity};
pub use registry::{Registry, VERSIONS_KEPT};
pub use spec::{AgentSpec, ComponentSpec, FunctionSpec};
