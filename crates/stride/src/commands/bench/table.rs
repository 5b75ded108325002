//! The figures of a run, and how they are shown.

use std::time::Duration;

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output;

/// Latencies in nanoseconds, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a minute to three digits is allowed"))
    }

    pub(crate) fn add(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both grow as they have to");
    }

    pub(crate) fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }
}

/// One line of the result.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    value: String,
    p99: Option<String>,
    p999: Option<String>,
    /// Against the baseline named in `against`, measured in the same run.
    ratio: Option<f64>,
    against: Option<String>,
    goal: Option<String>,
}

/// All lines of a result.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rows: Vec<Row>,
}

/// What a figure is compared with, and what it is meant to reach.
pub(crate) struct Against<'a> {
    pub(crate) baseline: &'a str,
    pub(crate) ratio: f64,
    pub(crate) goal: &'a str,
}

impl Figures {
    pub(crate) fn latency(&mut self, what: &str, latencies: &Latencies, against: Option<Against<'_>>) {
        let text = |quantile| format!("{:.1?}", latencies.quantile(quantile));
        self.push(what, format!("p50 {}", text(0.5)), Some((text(0.99), text(0.999))), against);
    }

    pub(crate) fn value(&mut self, what: &str, value: String, against: Option<Against<'_>>) {
        self.push(what, value, None, against);
    }

    /// A figure whose goal is absolute.
    pub(crate) fn bounded(&mut self, what: &str, value: String, goal: &str) {
        self.push(what, value, None, None);
        self.goal(goal);
    }

    /// Gives the newest figure an absolute goal.
    pub(crate) fn goal(&mut self, goal: &str) {
        if let Some(row) = self.rows.last_mut() {
            row.goal = Some(goal.to_owned());
        }
    }

    fn push(&mut self, what: &str, value: String, tail: Option<(String, String)>, against: Option<Against<'_>>) {
        let (p99, p999) = tail.unzip();
        let ratio = against.as_ref().map(|against| (against.ratio * 1000.0).round() / 1000.0);
        let (baseline, goal) = against.map(|a| (a.baseline.to_owned(), a.goal.to_owned())).unzip();
        self.rows.push(Row { what: what.to_owned(), value, p99, p999, ratio, against: baseline, goal });
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = output::table(&["WHAT", "VALUE", "P99", "P99.9", "RATIO", "AGAINST", "GOAL"]);
        for row in &self.rows {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
            table.add_row([
                row.what.clone(),
                row.value.clone(),
                text(&row.p99),
                text(&row.p999),
                ratio,
                text(&row.against),
                text(&row.goal),
            ]);
        }
        table
    }
}

pub(crate) fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}
