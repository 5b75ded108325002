//! Runs without a node: a real engine, real objects, and functions that are closures.
#![allow(clippy::unwrap_used, reason = "what is missing in a test fails it")]

mod data;
mod ends;
mod recovery;
mod steps;
mod waits;
mod world;
