//! What holds when something goes wrong, and what is promised.

use std::time::Duration;

use serde::Serialize;

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When a step is tried again. What is not said is as in the reference: any error, 3 times, after 1 s, twice as long each time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Retry {
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_max_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<bool>,
}

impl Retry {
    /// So often.
    pub fn times(retries: u32) -> Self {
        Self { retries: Some(retries), ..Self::default() }
    }

    /// Only after these errors.
    pub fn on<const N: usize>(mut self, errors: [&str; N]) -> Self {
        self.errors = Some(errors.map(str::to_owned).into());
        self
    }

    /// After this pause.
    pub fn backoff(mut self, pause: Duration) -> Self {
        self.backoff_ms = Some(millis(pause));
        self
    }

    /// By what the pause grows each time.
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// The longest pause.
    pub fn backoff_max(mut self, pause: Duration) -> Self {
        self.backoff_max_ms = Some(millis(pause));
        self
    }

    /// Pauses are shortened by a part that differs from step to step.
    pub fn jitter(mut self) -> Self {
        self.jitter = Some(true);
        self
    }
}

/// What is promised.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Slo {
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<u64>,
}

impl Slo {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// 99 of 100 take no longer.
    pub fn p99(mut self, time: Duration) -> Self {
        self.p99_ms = Some(millis(time));
        self
    }

    /// By when it is worth something, from the beginning of the run.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline_ms = Some(millis(time));
        self
    }

    /// What it may cost, in the unit of the nodes' prices.
    pub fn budget(mut self, budget: u64) -> Self {
        self.budget = Some(budget);
        self
    }
}
