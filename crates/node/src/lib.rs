//! Assembles a node: settings in, a running node out, and a drain at the end.
//!
//! ```text
//! DIR/journal/     the durable tail: segment log            DIR/store/        materialised state
//! DIR/components/  deployed components by content hash      DIR/deployments/  one JSON file per component, its history
//! DIR/cache/       compiled components, and chunks from a   DIR/objects/      chunks of objects by content hash, unless
//!                  remote store; can be deleted                              they are in a store of their own
//! DIR/node.json    the node's name, number of cells, the database that has the journal and the store that has the
//!                  objects, if one does
//! ```
//! Not here: anything that a lower crate can do alone.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod calls;
mod catalog;
mod cluster;
mod config;
mod control;
pub mod databases;
mod error;
mod files;
mod flows;
mod hardware;
mod identity;
mod manifest;
mod node;
mod targets;
pub mod transfer;
mod upkeep;

pub use catalog::deployed_types;
pub use config::{Config, ConfigError, DatabaseUrl};
pub use error::{Ended, StartError};
pub use identity::{Elsewhere, WrongJournal};
pub use manifest::{Manifest, ManifestError};
pub use node::Node;
pub use stride_cluster::Reads;
