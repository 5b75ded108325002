//! What holds when something goes wrong, and what is promised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;

fn everything() -> Vec<String> {
    vec!["*".into()]
}

fn three() -> u32 {
    3
}

fn second() -> u64 {
    1_000
}

fn two() -> f64 {
    2.0
}

/// When a node is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Codes of errors, `*` for all.
    #[serde(default = "everything")]
    pub errors: Vec<String>,
    /// How often it is tried again. 0: never.
    #[serde(default = "three")]
    pub retries: u32,
    /// The pause before it is tried again.
    #[serde(default = "second")]
    pub backoff_ms: u64,
    /// By what the pause grows each time.
    #[serde(default = "two")]
    pub rate: f64,
    /// The longest pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_max_ms: Option<u64>,
    /// Whether a pause is shortened by a part that differs from step to step, so that not all come back at the same moment.
    #[serde(default)]
    pub jitter: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self { errors: everything(), retries: 3, backoff_ms: 1_000, rate: 2.0, backoff_max_ms: None, jitter: false }
    }
}

/// What happens instead of a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Catch {
    /// Codes of errors, `*` for all.
    #[serde(default = "everything")]
    pub errors: Vec<String>,
    /// Its value becomes the node's. Its input is `{"error", "message", "input"}`.
    pub body: Body,
}

/// How many items may fail before the node fails. One that fails within the limit is left out of the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// So many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_max: Option<u64>,
    /// So many of a hundred. Both: either limit fails the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_max: Option<f64>,
}

/// What is promised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// 99 of 100 take no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<u64>,
    /// By when it is worth something, from the beginning of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// What it may cost, in the unit of the nodes' prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
}
