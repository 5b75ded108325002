//! Dead letters, as people see them.

use serde::{Deserialize, Serialize};
use stride_ids::Failure;
use stride_sim::Timestamp;

/// An event that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which one of its trigger's.
    pub number: u64,
    /// The event, as JSON.
    pub event: String,
    /// How often its delivery was tried.
    pub attempts: u32,
    /// Why it failed last.
    pub cause: Failure,
    /// When that was, in milliseconds since 1970.
    pub at: Timestamp,
}
