//! Which labels the data demands that the agents of each cell use: where the cell has to be for them to reach it.
//!
//! Always true: of a cell at most [`LABELS_MAX`] labels are known, those that were demanded last. What nobody used for an hour is forgotten,
//! and a value that nobody used for a while gives way to another one of the same name, because the labels of a bucket may be changed.
//! Not here: what labels mean (see `placement`), and who brings the cell there (see `node` and `cluster`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use stride_ids::CellId;
use stride_sim::Clock;

/// How many labels of a cell are remembered.
const LABELS_MAX: usize = 16;
/// How long a label is remembered after it was demanded. Long, because a cell that nothing binds may be moved, and whoever uses the data
/// after that is refused until it is back.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The same for a value after which another one of the same name was demanded.
const KEPT_BESIDE_ANOTHER: Duration = Duration::from_secs(5 * 60);

/// A name and a value.
type Label = (String, String);

/// What the data of each cell's agents demands.
pub struct Demands {
    clock: Clock,
    cells: Mutex<BTreeMap<CellId, Demand>>,
}

/// When each label was demanded last.
#[derive(Default)]
struct Demand(HashMap<Label, Duration>);

impl Demands {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, cells: Mutex::default() }
    }

    /// An agent of a cell uses data that demands a label, or is refused it.
    pub fn note(&self, cell: CellId, name: &str, value: &str) {
        let label = (name.to_owned(), value.to_owned());
        self.cells.lock().entry(cell).or_default().note(label, self.clock.now());
    }

    /// A cell comes, and with it what its owner before said. It counts as if it had been demanded just now, and nothing else is known: not
    /// what was so when the cell was here before.
    pub fn begin(&self, cell: CellId, labels: BTreeSet<Label>) {
        let now = self.clock.now();
        self.cells.lock().insert(cell, Demand(labels.into_iter().map(|label| (label, now)).collect()));
    }

    /// What the data of a cell demands.
    pub fn of(&self, cell: CellId) -> BTreeSet<Label> {
        let mut cells = self.cells.lock();
        let Some(demand) = cells.get_mut(&cell) else { return BTreeSet::new() };
        demand.forget_old(self.clock.now());
        demand.0.keys().cloned().collect()
    }
}

impl Demand {
    fn note(&mut self, label: Label, now: Duration) {
        if self.0.len() >= LABELS_MAX && !self.0.contains_key(&label) {
            let stalest = self.0.iter().min_by_key(|(label, at)| (**at, *label)).map(|(label, _)| label.clone());
            self.0.retain(|label, _| Some(label) != stalest.as_ref());
        }
        self.0.insert(label, now);
    }

    fn forget_old(&mut self, now: Duration) {
        let mut newest: HashMap<String, Duration> = HashMap::new();
        for ((name, _), at) in &self.0 {
            let newest = newest.entry(name.clone()).or_default();
            *newest = (*newest).max(*at);
        }
        self.0.retain(|(name, _), at| {
            let kept = if newest.get(name) > Some(at) { KEPT_BESIDE_ANOTHER } else { KEPT };
            now.saturating_sub(*at) < kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: CellId = CellId(3);

    /// Nothing is known yet, and a clock that stands.
    fn demands() -> (Demands, Clock) {
        let clock = Clock::manual();
        (Demands::new(clock.clone()), clock)
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    fn known(demands: &Demands) -> Vec<String> {
        demands.of(CELL).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn what_is_demanded_is_known_for_an_hour_and_of_that_cell_only() {
        let (demands, clock) = demands();
        demands.note(CELL, "region", "eu");
        demands.note(CELL, "disk", "gold");
        clock.advance(minutes(20));
        demands.note(CELL, "region", "eu");
        demands.note(CellId(4), "region", "us");
        clock.advance(minutes(39));
        assert_eq!(known(&demands), ["disk=gold", "region=eu"]);
        clock.advance(minutes(1));
        assert_eq!(known(&demands), ["region=eu"]);
        clock.advance(minutes(20));
        assert_eq!(known(&demands), Vec::<String>::new());
    }

    #[test]
    fn a_value_that_is_used_stays_beside_another_and_one_that_is_not_gives_way() {
        let (demands, clock) = demands();
        for _ in 0..30 {
            demands.note(CELL, "region", "eu");
            demands.note(CELL, "region", "us");
            demands.note(CELL, "disk", "gold");
            assert_eq!(known(&demands), ["disk=gold", "region=eu", "region=us"]);
            clock.advance(minutes(1));
        }
        demands.note(CELL, "region", "us");
        clock.advance(minutes(3));
        assert_eq!(known(&demands), ["disk=gold", "region=eu", "region=us"]);
        clock.advance(minutes(1));
        assert_eq!(known(&demands), ["disk=gold", "region=us"]);
    }

    #[test]
    fn a_cell_that_comes_begins_with_what_it_brings() {
        let (demands, clock) = demands();
        demands.note(CELL, "disk", "gold");
        clock.advance(minutes(10));
        demands.begin(CELL, [("region".to_owned(), "eu".to_owned())].into());
        assert_eq!(known(&demands), ["region=eu"], "and with nothing else");
        clock.advance(minutes(59));
        assert_eq!(known(&demands), ["region=eu"]);
    }

    #[test]
    fn of_too_many_labels_those_that_were_demanded_last_are_known() {
        let (demands, clock) = demands();
        for number in 0..40 {
            demands.note(CELL, &format!("label-{number:02}"), "x");
            clock.advance(minutes(1));
            demands.note(CELL, "region", "eu");
        }
        let known = demands.of(CELL);
        assert_eq!(known.len(), LABELS_MAX);
        assert!(
            ["region", "label-39", "label-25"].iter().all(|name| known.iter().any(|(one, _)| one == name)),
            "{known:?}"
        );
    }
}
