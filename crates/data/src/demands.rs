//! Which labels the data demands that the agents of each cell use: where the cell has to be for them to reach it.
//!
//! Always true: of a cell at most [`LABELS_MAX`] labels are known, each with one value, as a node has one. A value that agents use
//! keeps its place, whatever others of the cell ask for; so a cell with agents whose data may not be together does not go to and fro.
//! What nobody used for an hour is forgotten, and a value that nobody used for a while makes room for another one.
//! Not here: what labels mean (see `placement`), and who brings the cell there (see `node` and `cluster`).

use std::{
    collections::{BTreeMap, HashMap},
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
/// How long a value is kept although another one is demanded. Short enough for buckets whose labels were changed.
const HELD: Duration = Duration::from_secs(5 * 60);

/// What the data of each cell's agents demands.
pub struct Demands {
    clock: Clock,
    cells: Mutex<BTreeMap<CellId, Demand>>,
}

/// By the name of a label: its value, and when it was demanded last.
#[derive(Default)]
struct Demand(HashMap<String, (String, Duration)>);

impl Demands {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, cells: Mutex::default() }
    }

    /// An agent of a cell uses data that demands a label, or is refused it.
    pub fn note(&self, cell: CellId, name: &str, value: &str) {
        self.cells.lock().entry(cell).or_default().note(name, value, self.clock.now());
    }

    /// A cell comes, and with it what its owner before said. It counts as if it had been demanded just now, and nothing else is known: not
    /// what was so when the cell was here before.
    pub fn begin(&self, cell: CellId, labels: BTreeMap<String, String>) {
        let now = self.clock.now();
        let labels = labels.into_iter().map(|(name, value)| (name, (value, now)));
        self.cells.lock().insert(cell, Demand(labels.collect()));
    }

    /// What the data of a cell demands.
    pub fn of(&self, cell: CellId) -> BTreeMap<String, String> {
        let mut cells = self.cells.lock();
        let Some(Demand(labels)) = cells.get_mut(&cell) else { return BTreeMap::new() };
        let now = self.clock.now();
        labels.retain(|_, (_, at)| now.saturating_sub(*at) < KEPT);
        labels.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }
}

impl Demand {
    fn note(&mut self, name: &str, value: &str, now: Duration) {
        if let Some((known, at)) = self.0.get_mut(name) {
            if known == value {
                *at = now;
            } else if now.saturating_sub(*at) >= HELD {
                (*known, *at) = (value.to_owned(), now);
            }
            return;
        }
        if self.0.len() >= LABELS_MAX {
            let stalest = self.0.iter().min_by_key(|(name, (_, at))| (*at, *name)).map(|(name, _)| name.clone());
            self.0.retain(|name, _| Some(name) != stalest.as_ref());
        }
        self.0.insert(name.to_owned(), (value.to_owned(), now));
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
    fn a_value_that_is_used_keeps_its_place_and_one_that_is_not_gives_way() {
        let (demands, clock) = demands();
        for _ in 0..30 {
            demands.note(CELL, "region", "eu");
            demands.note(CELL, "region", "us");
            assert_eq!(known(&demands), ["region=eu"]);
            clock.advance(minutes(1));
        }
        clock.advance(minutes(3));
        demands.note(CELL, "region", "us");
        assert_eq!(known(&demands), ["region=eu"]);
        clock.advance(minutes(1));
        demands.note(CELL, "region", "us");
        assert_eq!(known(&demands), ["region=us"]);
    }

    #[test]
    fn a_cell_that_comes_begins_with_what_it_brings() {
        let (demands, clock) = demands();
        demands.note(CELL, "disk", "gold");
        clock.advance(minutes(10));
        demands.begin(CELL, [("region".to_owned(), "eu".to_owned())].into());
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
        assert!(["region", "label-39", "label-25"].iter().all(|name| known.contains_key(*name)), "{known:?}");
    }
}
