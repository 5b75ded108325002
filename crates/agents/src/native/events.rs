//! How agents of the platform hear of events: one is bound at a source, another such agent, which confirms it and then tells it
//! of each event in the commit that makes it. Whose message it is tells the source who wants to be told.

use serde::{Deserialize, Serialize};
use stride_ids::Failure;

/// What a source tells: an event, as a CloudEvent in JSON.
pub const EVENT: &str = "event";
/// What a source tells once: a [`Bound`].
pub const BOUND: &str = "bound";

/// What became of a binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Which one, as it was asked for.
    pub binding: String,
    /// Whether events are told from now on.
    pub outcome: Result<(), Failure>,
}
