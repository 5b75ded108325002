//! The bounds of a node's runs.

use std::time::Duration;

/// The bounds of a node's runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// After how long a run on which nobody works although there is work is taken up, at the latest.
    pub watch: Duration,
    /// How many commands a node does at the same time.
    pub commands_max: usize,
    /// How long a run is kept after its end.
    pub kept: Duration,
    /// How long pure calls may take that are made within the turn that decided on them.
    pub within_turn: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            watch: Duration::from_secs(3),
            commands_max: 1_024,
            kept: Duration::from_secs(7 * 24 * 3_600),
            within_turn: Duration::from_millis(10),
        }
    }
}
