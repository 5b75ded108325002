//! Runs without a node: a real engine, real objects, and functions that are closures.

mod data;
mod ends;
mod recovery;
mod steps;
mod waits;
mod world;
