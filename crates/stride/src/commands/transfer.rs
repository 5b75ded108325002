//! How far a transfer is: a bar on a terminal, a line every few seconds elsewhere, and what it came to at the end.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use stride_sim::Clock;

/// How often there is a line where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Counts bytes and shows them on stderr.
pub(crate) struct Progress {
    what: &'static str,
    clock: Clock,
    began: Duration,
    said_at: Duration,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    done: u64,
}

impl Progress {
    /// `total` is how many bytes there will be, if that is known.
    pub(crate) fn begin(what: &'static str, total: Option<u64>) -> Self {
        let clock = Clock::real();
        let bar = io::stderr().is_terminal().then(|| match total {
            Some(total) => {
                ProgressBar::new(total).with_style(style("{bar:32} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}"))
            }
            None => ProgressBar::no_length().with_style(style("{bytes} {bytes_per_sec}")),
        });
        let began = clock.now();
        Self { what, clock, began, said_at: began, bar, total, done: 0 }
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.clock.now() - self.said_at >= LINE_EVERY => {
                self.said_at = self.clock.now();
                let of = self.total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
                eprintln!("{}: {}{of}", self.what, HumanBytes(self.done));
            }
            None => {}
        }
    }

    /// Takes the bar away. How many bytes it were, and how fast.
    pub(crate) fn end(&self) -> String {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let took = (self.clock.now() - self.began).as_secs_f64().max(0.001);
        let rate = HumanBytes((self.done as f64 / took) as u64);
        format!("{} in {took:.1} s, {rate}/s", HumanBytes(self.done))
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right")
}
