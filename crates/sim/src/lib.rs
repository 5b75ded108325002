//! The only source of time, chance, tasks and disk. Production code gets the real ones, a simulation gets seeded ones, and
//! `clippy.toml` bans every other way, so that whole-node simulations replay from a seed.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
// This crate is the seam: the bans of clippy.toml hold everywhere else.
#![allow(clippy::disallowed_methods)]

mod backoff;
mod chance;
mod clock;
pub mod disk;
mod tasks;

pub use backoff::Backoff;
pub use chance::Chance;
pub use clock::{Clock, Elapsed, Timeout, Timestamp};
pub use tasks::Tasks;
