//! Triggers over a real engine and real objects, with functions that are written here. Time is the tests' own.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cron;
mod functions;
mod objects;
mod standing;
mod topics;
mod world;
