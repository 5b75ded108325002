//! Which nodes there are, which cells each of them is to own, and the beat that finds both out.
//!
//! ```text
//! beat (every 300 ms, on a thread of its own) -> tables (PostgreSQL, or memory for simulations)
//!   -> lease: until when this node may answer          -> map: where requests for a cell go
//!   -> steps (pure): cells to acquire, to release, lost    -> assign (pure): who is to own what, by one node at a time
//! ```
//! Always true: who owns a cell is moved by the journal's fence alone; nothing here can make two owners. A cell changes
//! hands when its owner has released it, or when its owner was declared dead, which only the database's clock decides, and which
//! the owner's own lease is always shorter than. A node that was declared dead gives up all its cells before it answers again.
//! Not here: how a cell's state gets to its owner (see `agents` and `snapshots`), and calls between nodes (see `net`).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod assign;
mod beat;
mod home;
mod lease;
mod map;
pub mod memory;
mod node;
mod postgres;
mod reads;
mod scale;
mod spread;
mod standing;
mod steps;
mod tables;

pub use assign::{Change, Why, assign};
pub use beat::{Beat, Cells, Ended, Takeover};
pub use home::home_of;
pub use lease::Lease;
pub use map::{Map, Place};
pub use node::{CellLoad, Labels, Load, NodeName, NodeRow, NodeSpec};
pub use postgres::{PostgresTables, State};
pub use reads::{Questions, Reads, Referee};
pub use scale::{Demand, Scaler};
pub use standing::{Standing, standings};
pub use tables::{CellRow, Deployment, Error, News, Pulse, Tables, Wanted, World};
