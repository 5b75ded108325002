//! Runs of flows on a node: each is an agent, `flow/NAME/RUN`, and somebody does what it says.
//!
//! ```text
//! start, event, approve ─► a turn of the run ─► advance (rows) ─► what a turn can do: tell, timers, other flows, small pure calls
//!                               ▲                                  └─► the rest: durable rows, done by the driver where the run is
//!                               └──────────── what became of it ◄───────────────┘
//! ```
//! Always true: a run is its agent's rows, so it is recovered, moved and fenced as every agent; what the driver does was durable before it
//! began; messages and timers leave with the turn that decided on them, so they take effect once; a function or an agent that is asked may be
//! called again after a crash, under the same key, and only one answer counts.
//! Not here: what a flow means (see `flows`), and what a function is (see [`Caller`](stride_maps::Caller)).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod afar;
mod bodies;
mod catalog;
mod drive;
mod head;
mod inside;
mod message;
mod payload;
mod planning;
mod program;
mod read;
mod rows;
mod run;
mod runs;
mod settings;
mod shared;
mod store;
mod window;
mod work;

pub use afar::Afar;
pub use catalog::{Catalog, Refused, WrongAt};
pub use head::KIND;
pub use message::{Status, StepStatus, methods};
pub use program::{FLOWS, FlowStatus};
pub use runs::{Format, RunStats, Runs};
pub use settings::Settings;
