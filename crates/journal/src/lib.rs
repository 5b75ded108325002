//! The durable tail of every cell: records in order, each acknowledged only when it survives a crash.
//!
//! Always true: only this crate makes a [`Receipt`], and it makes one only for a record that is durable. What was
//! acknowledged is returned by [`Journal::replay`], or opening is refused; it is never silently missing.
//! Not here: what a record means (see `agents`), and the state that records add up to (see `store`).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod contract;
pub mod embedded;
mod journal;
pub mod memory;
pub mod postgres;

pub use journal::{Error, Fenced, Journal, Opened, Pending, Receipt, Record};
