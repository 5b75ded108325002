//! Parallel maps: a function called once for every object of a prefix, or for every part of one.
//!
//! ```text
//! list ─► plan (a page of items is durable) ─► workers: call ─► outcomes ─► one turn of the run's agent for many
//!                                                                                   └─► results, in the order of items
//! ```
//! Always true: every planned item has exactly one result, whatever is killed meanwhile; an item that fails stops no
//! other; what is in memory is bounded, however many items there are; all results come from one version of the function, the
//! one that the map began with. A call whose result was not recorded is made again.
//! Not here: what a function is (see [`Caller`], implemented by `node`), HTTP, and objects themselves (see `data`).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod begin;
mod book;
mod caller;
mod drive;
mod first_format;
mod folding;
mod hedge;
mod id;
pub mod line;
mod mapping;
mod maps;
mod message;
mod pace;
mod part;
mod plan;
mod pool;
mod results;
mod row;
mod run;
mod spec;
mod split;
mod stats;

pub use begin::{Begun, ToBegin};
pub use book::MAPS;
pub use caller::{Callee, Caller, Chain, Reply, Wishes};
pub use id::MapId;
pub use maps::{Maps, Settings};
pub use part::{Input, Part};
pub use results::ResultsPage;
pub use row::{Notice, Outcome, Output, State};
pub use run::Status;
pub use spec::{FunctionName, Prefix, Spec, Split};
pub use stats::MapStats;
