//! The PostgreSQL journal on a real server: the contract, takeovers, and servers that die.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod contract;
mod databases;
mod killed_movers;
mod outages;
mod refusals;
mod space;
mod support;
mod takeovers;
mod tls;
mod writers;
