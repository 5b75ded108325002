//! What a run came to: how much was asked, how long clients waited in each fault, and what was broken.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::Kind;

/// One fault, or two at the same time.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened, in words.
    pub what: String,
    /// The kinds, one for each fault.
    pub kinds: Vec<Kind>,
    /// When it began.
    pub from: Duration,
    /// When the last of it was undone.
    pub undone: Duration,
    /// When every client had been answered again, and every node had answered.
    pub well: Duration,
    /// The longest that any client waited for an answer, however many nodes it asked.
    pub longest: Duration,
}

impl Step {
    /// Takes into account that somebody waited from then till then.
    pub(crate) fn waited(&mut self, from: Duration, until: Duration) {
        if until > self.from && from < self.well {
            self.longest = self.longest.max(until - from);
        }
    }

    fn name(&self) -> &'static str {
        match self.kinds[..] {
            [one] => one.name(),
            _ => "two at once",
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// From which it was drawn.
    pub seed: u64,
    /// How long faults went on.
    pub lasted: Duration,
    /// How many operations of each kind were answered.
    pub operations: BTreeMap<&'static str, usize>,
    /// What was done.
    pub steps: Vec<Step>,
    /// Faults that this machine cannot make, and why.
    pub left_out: Vec<(Kind, String)>,
    /// Nodes that ended although nobody had killed them, and were started again. That is no violation.
    pub ended: Vec<String>,
    /// Every promise that was broken.
    pub broken: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.operations.values().sum();
        let each: Vec<String> = self.operations.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        writeln!(f, "seed {}, {:.0?} of faults, {total} operations: {}", self.seed, self.lasted, each.join(", "))?;
        let mut by_name: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
        for step in &self.steps {
            by_name.entry(step.name()).or_default().push(step);
        }
        writeln!(
            f,
            "{:<12} {:>6} {:>24} {:>8} {:>22}",
            "fault", "times", "longest wait, median", "max", "well again after, max"
        )?;
        for (name, steps) in by_name {
            let mut longest: Vec<Duration> = steps.iter().map(|step| step.longest).collect();
            longest.sort_unstable();
            let (median, max) = (longest[longest.len() / 2], longest[longest.len() - 1]);
            let well = steps.iter().map(|step| step.well.saturating_sub(step.undone)).max().unwrap_or_default();
            let [median, max, well] = [median, max, well].map(|time| format!("{:.2} s", time.as_secs_f64()));
            writeln!(f, "{name:<12} {:>6} {median:>24} {max:>8} {well:>22}", steps.len())?;
        }
        for (kind, why) in &self.left_out {
            writeln!(f, "left out: {kind}: {why}")?;
        }
        for ended in &self.ended {
            writeln!(f, "note: {ended}")?;
        }
        for broken in &self.broken {
            writeln!(f, "BROKEN: {broken}")?;
        }
        match self.broken.len() {
            0 => write!(f, "no promise was broken"),
            count => write!(f, "{count} BROKEN"),
        }
    }
}
