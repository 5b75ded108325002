//! Maps over real objects and a real engine, with functions that are written here.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod hedging;
mod runs;
mod versions;
mod world;
