//! What both ends of a connection go by.

use std::time::Duration;

use stride_ids::Name;

/// How this node speaks with its peers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name. A node of another cluster is refused.
    pub cluster: Name,
    /// Calls in flight on one connection; more are overload.
    pub calls_per_connection_max: usize,
    /// Calls that this node answers at the same time; more are overload.
    pub calls_max: usize,
    /// A connection that nobody has called over for so long is closed.
    pub idle_max: Duration,
}

impl Settings {
    /// The defaults, for a cluster of this name.
    pub fn of(cluster: Name) -> Self {
        Self { cluster, calls_per_connection_max: 1024, calls_max: 8192, idle_max: Duration::from_secs(300) }
    }
}
