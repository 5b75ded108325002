//! Real nodes under real faults. Processes of `stride`, each in a network namespace of its own, share a real PostgreSQL; they are
//! stopped, killed, cut off one way or both, lose packets and run out of disk, while clients outside go on. In the end checkers that
//! know nothing but what was asked, what was answered and when say whether a promise was broken.
//!
//! - `fault` draws what happens from a seed; `world` does it, with the network of `wires` and [`SmallDisk`]s.
//! - `clients` ask, count and pay, through `doors`; what they saw is a `history`.
//! - [`linear`] and [`bank`] judge. They are pure, and their tests show them histories that must be refused.
//! - [`run()`] puts it together; `service` says how long clients waited in each fault. The binary `torture` is `cargo xtask torture`.
//!
//! Not here: simulated time and networks, which `crates/agents` and `crates/cluster` have in their tests.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod bank;
mod clients;
mod disk;
mod doors;
mod fault;
mod history;
pub mod linear;
mod run;
mod service;
mod wires;
mod world;

use std::{path::PathBuf, time::Duration};

pub use disk::SmallDisk;
pub use fault::{Kind, UnknownKind};
pub use run::run;
pub use service::{Report, Step};

/// What is run, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The binary.
    pub stride: PathBuf,
    /// Where the components of the examples are.
    pub components: PathBuf,
    /// Where the examples' manifests are.
    pub examples: PathBuf,
    /// Where logs and the history are left.
    pub keep: PathBuf,
    /// From which everything is drawn.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How long faults go on; the beginning and the end come on top, a minute or so.
    pub lasts: Duration,
    /// Which faults.
    pub faults: Vec<Kind>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No database.
    #[error("there is no PostgreSQL to share")]
    Postgres(#[from] stride_private_postgres::Error),
    /// Files or processes could not be handled.
    #[error("files or processes could not be handled")]
    Io(#[from] std::io::Error),
    /// A program of the system failed.
    #[error("{command}: {said}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A node does not start.
    #[error("node {node} does not start: {said}")]
    Refused {
        /// Which.
        node: usize,
        /// The end of its log.
        said: String,
    },
    /// A component was not taken.
    #[error("a component cannot be deployed: {said}")]
    Deploy {
        /// What was answered.
        said: String,
    },
    /// A node could not be spoken to while nothing was wrong with it.
    #[error("a node does not answer although nothing was done to it")]
    Http(#[from] reqwest::Error),
    /// There is nothing to do.
    #[error("none of the faults that were asked for can be made on this machine: {0}")]
    NoFaults(String),
}
