//! How busy the turns of a cell keep a core, over the last minute or so: what decides by which other cells it is kept company.
//!
//! Always true: what is told changes only if it is off by more than a quarter. A load that is steady but for noise is always told as the
//! same number, so nothing is moved because of it.
//! Not here: what follows from it (see `cluster`).

use std::time::Duration;

/// Over how long work counts: after so long a third of it is left.
const OVER: Duration = Duration::from_secs(60);
/// How long a cell is watched before anything is told of it: until then, what its last owner said is better.
const KNOWN_AFTER: Duration = Duration::from_secs(30);
/// What every turn costs beside the code of its agent: a record, its rows, its way to the journal.
const TURN: Duration = Duration::from_micros(100);
/// What is told is off if it is so by more than a part of it, and by more than this, in thousandths of a core.
const OFF_MIN: u32 = 5;
const OFF_PART: u32 = 4;

/// See the module.
#[derive(Default)]
pub(crate) struct Pace {
    /// Since when the cell is watched.
    since: Option<Duration>,
    at: Duration,
    /// The work that still counts, in seconds.
    work: f64,
    told: Option<u32>,
}

impl Pace {
    /// A turn ran for so long, without the time that it waited for others.
    pub(crate) fn note(&mut self, now: Duration, ran: Duration) {
        self.pass(now);
        self.work += (TURN + ran).as_secs_f64();
    }

    /// How busy the cell is, in thousandths of a core; none if that is not known yet.
    pub(crate) fn busy(&mut self, now: Duration) -> Option<u32> {
        self.pass(now);
        let age = now.saturating_sub(self.since.unwrap_or(now));
        if age < KNOWN_AFTER {
            return None;
        }
        // As much as would have counted by now of a core that was busy all the time.
        let whole = OVER.as_secs_f64() * (1.0 - decay(age));
        let busy = (self.work / whole * 1_000.0).round() as u32;
        match self.told {
            Some(told) if busy.abs_diff(told) <= told / OFF_PART + OFF_MIN => {}
            _ => self.told = Some(busy),
        }
        self.told
    }

    fn pass(&mut self, now: Duration) {
        self.since.get_or_insert(now);
        self.work *= decay(now.saturating_sub(self.at));
        self.at = self.at.max(now);
    }
}

/// What is left of work after so long.
fn decay(age: Duration) -> f64 {
    (-age.as_secs_f64() / OVER.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watches a cell whose turns run for so many milliseconds of each second, from a second to another one.
    fn run(pace: &mut Pace, seconds: std::ops::Range<u64>, ms: impl Fn(u64) -> u64) -> Vec<Option<u32>> {
        let second = |at| {
            pace.note(Duration::from_secs(at), Duration::from_millis(ms(at)));
            pace.busy(Duration::from_secs(at))
        };
        seconds.map(second).collect()
    }

    fn changes(told: &[Option<u32>]) -> usize {
        told.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    #[test]
    fn a_cell_is_as_busy_as_its_turns_are_also_soon_after_it_came() {
        let told = run(&mut Pace::default(), 0..300, |_| 400);
        assert!(told[..30].iter().all(Option::is_none));
        assert!(told[30..].iter().flatten().all(|busy| (380..=425).contains(busy)), "{told:?}");
    }

    #[test]
    fn a_load_that_swings_within_seconds_is_told_once_and_one_that_goes_is_told_again() {
        let mut pace = Pace::default();
        let swings = run(&mut pace, 0..600, |at| if at % 10 < 5 { 100 } else { 300 });
        assert_eq!(changes(&swings), 1, "from nothing to what it is");
        let gone = run(&mut pace, 600..1_200, |_| 0);
        assert!(gone.last().unwrap().unwrap() <= OFF_MIN && changes(&gone) < 20, "{:?}", gone.last());
    }

    #[test]
    fn many_short_turns_count_as_well() {
        let mut pace = Pace::default();
        for at in 0..60_000 {
            pace.note(Duration::from_millis(at), Duration::ZERO);
        }
        let busy = pace.busy(Duration::from_secs(60)).unwrap();
        assert!((95..=105).contains(&busy), "a thousand turns a second are a tenth of a core: {busy}");
    }
}
