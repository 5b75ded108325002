//! Flows: one dataflow IR for processes and data, from what is written down to what runs.
//!
//! ```text
//! JSON, builders, States Language ─► Draft ── check(Catalog) ─► Program ── plan(Passes) ─► Plan ─► explain (text, JSON, SVG)
//!                                      └► Problems: all, each with place and remedy         │
//!                                    Rows, now, Event ──────────────────────────────► advance ─► Commands; rows are what the run is
//! ```
//! Always true: what was not checked is not planned, and what was not planned does not run. A run is its rows and nothing else, so it can be
//! dropped and loaded between any two events; an event that comes twice changes nothing; each effect is commanded once. Passes change plans, never results.
//!
//! Not here: calling functions, storing rows, telling the time. Whoever drives a run does that.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod catalog;
mod check;
pub mod explain;
pub mod expr;
pub mod ir;
pub mod limits;
mod name;
pub mod plan;
pub mod run;
mod schema;
pub mod value;

pub use catalog::{Catalog, Effect, Function, Signature};
pub use check::{Facts, Problem, Problems, Program};
pub use expr::Expr;
pub use ir::Draft;
pub use name::{InvalidNodeName, NodeName};
pub use plan::{Known, PASSES, Passes, Plan};
pub use run::{Command, Event, Rows, advance, outstanding};
pub use schema::{Mismatch, Schema};

/// The JSON Schema of the artefact, as it is published in `docs/flow.schema.json`.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Draft).into()
}
