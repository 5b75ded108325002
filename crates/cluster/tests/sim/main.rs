//! Nodes that join, drain, die, are cut off and come back, in simulated time, with clocks that run up to a fifth apart.
//!
//! Every millisecond it is checked that at most one node would answer for a cell, and that it has the newest epoch of it: that is
//! what makes reads linearizable without asking anybody.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod at_random;
mod scenarios;
mod town;
