//! HTTP and JSON in, problem+json out. Translates; decides nothing.
//!
//! Always true: every error body is `application/problem+json` with a stable `code`, and every answer of a function or
//! agent says which node, which call or turn, and where the time went.
//! Not here: sockets and shutdown (see `node`), and whatever an answer means.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod agents;
mod ask;
mod cells;
mod control;
mod deployments;
mod explain;
mod flows;
mod functions;
mod health;
mod logs;
mod maps;
mod metrics;
mod nodes;
mod object_headers;
mod objects;
mod others;
mod parked;
mod problem;
mod request;
mod routed;
mod routes;
mod state;
mod timing;
mod topics;
mod triggers;

pub use crate::metrics::install_recorder;
pub use control::{ControlPlane, DeployedAgent, DeployedMethod, Deployment, Replaced};
pub use nodes::NodeInfo;
pub use others::{CellPlace, HttpCall, HttpReply, NodeShare, OtherNode, Others, Scale};
pub use routes::{Gateway, router};
