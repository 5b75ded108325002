//! How far a map is: a bar on a terminal, a line every few seconds elsewhere, and a summary at the end.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use stride_sim::Clock;

use super::work::Outcome;

/// How often there is a line where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Counts and shows. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    began: Duration,
    bar: Option<ProgressBar>,
    /// Zero until it is known.
    expected: AtomicU64,
    /// Written by the one task that takes the outcomes.
    done: AtomicU64,
    memoised: AtomicU64,
    failed: std::sync::Mutex<BTreeMap<String, u64>>,
    said_at_ms: AtomicU64,
}

impl Progress {
    pub(crate) fn begin(clock: Clock, terminal: bool) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::no_length().with_style(style("{pos} {rate} {msg}"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let began = clock.now();
        let said_at_ms = AtomicU64::new(millis(began));
        let (expected, done, memoised, failed) = Default::default();
        Self(Arc::new(Shared { clock, began, bar, expected, done, memoised, failed, said_at_ms }))
    }

    /// Tells how many inputs there are.
    pub(crate) fn expect(&self, inputs: u64) {
        self.0.expected.store(inputs, Ordering::Relaxed);
        if let Some(bar) = &self.0.bar {
            bar.set_style(style("{bar:32} {pos}/{len} {rate} eta {eta} {msg}"));
            bar.set_length(inputs);
        }
    }

    /// Tells how many of the outcomes were known from earlier calls, if whoever runs the map counts them.
    pub(crate) fn tell_memoised(&self, memoised: u64) {
        self.0.memoised.store(memoised, Ordering::Relaxed);
    }

    /// Counts an outcome.
    pub(crate) fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Done { is_memoised, .. } => {
                self.0.memoised.fetch_add(u64::from(is_memoised), Ordering::Relaxed);
            }
            Outcome::Failed { code, .. } => {
                let mut failed = self.failed();
                *failed.entry(code).or_default() += 1;
                if let Some(bar) = &self.0.bar {
                    bar.set_message(format!("{} failed", failed.values().sum::<u64>()));
                }
            }
            Outcome::Skipped => return,
        }
        self.0.done.fetch_add(1, Ordering::Relaxed);
        if let Some(bar) = &self.0.bar {
            bar.inc(1);
        }
    }

    /// Waits until the next line is due and says it. On a terminal the bar moves by itself.
    pub(crate) async fn tick(&self) {
        if self.0.bar.is_some() {
            return std::future::pending().await;
        }
        let due = self.0.said_at_ms.load(Ordering::Relaxed) + millis(LINE_EVERY);
        self.0.clock.sleep(Duration::from_millis(due.saturating_sub(millis(self.0.clock.now())))).await;
        self.0.said_at_ms.store(millis(self.0.clock.now()), Ordering::Relaxed);
        let of = match self.0.expected.load(Ordering::Relaxed) {
            0 => String::new(),
            expected => format!(" of {expected}"),
        };
        let summary = self.summary();
        let (Summary { done, took, .. }, failed) = (&summary, summary.failed());
        eprintln!("map: {done}{of} done, {failed} failed{}, {:.0}/s", summary.known(), rate(*done, *took));
    }

    /// Prints a result. The bar makes room only if both are on a terminal: drawing it anew for every line has its price.
    pub(crate) fn result(&self, line: &str) -> io::Result<()> {
        let print = || writeln!(io::stdout().lock(), "{line}");
        if io::stdout().is_terminal() { self.aside(print) } else { print() }
    }

    /// Runs something that prints, with the bar out of the way.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Says something.
    pub(crate) fn say(&self, text: &str) {
        self.aside(|| eprintln!("map: {text}"));
    }

    /// Takes the bar away and sums up.
    pub(crate) fn end(&self) -> Summary {
        if let Some(bar) = &self.0.bar {
            bar.finish_and_clear();
        }
        self.summary()
    }

    fn summary(&self) -> Summary {
        let took = self.0.clock.now() - self.0.began;
        let [done, memoised] = [&self.0.done, &self.0.memoised].map(|count| count.load(Ordering::Relaxed));
        Summary { done, memoised, failed: self.failed().clone(), took }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.failed.lock().expect("nothing panics while it counts")
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is right");
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // It writes into memory, which does not fail.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn rate(done: u64, took: Duration) -> f64 {
    done as f64 / took.as_secs_f64().max(0.001)
}

/// How a map ended.
#[derive(Debug)]
pub(crate) struct Summary {
    done: u64,
    memoised: u64,
    failed: BTreeMap<String, u64>,
    took: Duration,
}

impl Summary {
    /// How many inputs were worked on, well or not.
    pub(crate) fn inputs(&self) -> u64 {
        self.done
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many results were known from earlier calls, if any were.
    fn known(&self) -> String {
        if self.memoised == 0 { String::new() } else { format!(", {} memoised", self.memoised) }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, took, failed, .. } = self;
        write!(f, "map: {done} inputs, {} failed", self.failed())?;
        if !failed.is_empty() {
            let codes: Vec<_> = failed.iter().map(|(code, count)| format!("{code} {count}")).collect();
            write!(f, " ({})", codes.join(", "))?;
        }
        write!(f, "{}, {:.1} s, {:.0}/s", self.known(), took.as_secs_f64(), rate(*done, *took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_failures_by_code_and_leaves_out_what_was_skipped() {
        let clock = Clock::manual();
        let progress = Progress::begin(clock.clone(), false);
        let failed = |code: &str| Outcome::Failed { line: String::new(), code: code.into() };
        let done = |is_memoised| Outcome::Done { line: String::new(), is_memoised };
        for outcome in [done(true), failed("b"), failed("a"), failed("b"), Outcome::Skipped] {
            progress.count(outcome);
        }
        clock.advance(Duration::from_secs(2));
        assert_eq!(progress.end().to_string(), "map: 4 inputs, 3 failed (a 1, b 2), 1 memoised, 2.0 s, 2/s");
    }
}
