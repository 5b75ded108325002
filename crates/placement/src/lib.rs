//! Placement: which node a piece of work runs on, and which data is copied toward work that waits.
//!
//! ```text
//! Input (nodes, what they hold, how busy they are) ─┐
//! Request (data, hardware, run time) ───────────────┼─► rank ─► plan ─► Plan ─► explain (text, JSON)
//! Chance (a small share explores) ──────────────────┘             │
//!                                              assume ◄───────────┘   what no node has reported yet
//! Input + Demand ─► replicate ─► copies to make             Input, Request, Plan ─► lint ─► what looks wrong
//! ```
//!
//! Always true: work never runs, and a copy is never made, where the labels of the data do not allow it. Every
//! candidate has a score in units of time or a reason why it was refused. The same input and the same draws of chance give
//! the same plan.
//!
//! Not here: finding out what nodes hold, moving bytes, starting work. This crate waits for nothing and knows no
//! clock, so whoever calls it says what is known, and carries the plan out.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod explain;
mod id;
mod input;
mod lint;
mod plan;
mod replicate;
mod score;
pub mod simulate;
mod time;

pub use explain::{Explanation, Line, json, text};
pub use id::{DatumId, Hardware, InvalidId, Label, Labels, NodeId};
pub use input::{DelayCost, Holding, Input, Link, Load, Node, Origin, Price, Rate, Reference, Request};
pub use lint::{Finding, lint, lint_plan};
pub use plan::{Choice, EXPLORE_PER_MILLE, Plan, Refusal, plan};
pub use replicate::{COPIES_MAX, Copy, Demand, PAYS_MIN, replicate};
pub use score::{Candidate, Reason, Score, Verdict, rank};
