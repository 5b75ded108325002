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

/// How many labels of a cell are remembered.
const LABELS_MAX: usize = 16;
/// How long a label is remembered after it was demanded. Long, because a cell that nothing binds may be moved, and whoever uses the data
/// after that is refused until it is back.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// How long a value is kept although another one is demanded. Short enough for buckets whose labels were changed.
const HELD: Duration = Duration::from_secs(5 * 60);

/// What the data of each cell's agents demands.
#[derive(Default)]
pub struct Demands(Mutex<BTreeMap<CellId, Demand>>);

/// By the name of a label: its value, and when it was demanded last.
#[derive(Default)]
struct Demand(HashMap<String, (String, Duration)>);

impl Demands {
    /// An agent of a cell uses data, or wants to, that demands these labels.
    pub fn note<'a>(&self, cell: CellId, labels: impl IntoIterator<Item = (&'a str, &'a str)>, now: Duration) {
        let mut cells = self.0.lock();
        for (name, value) in labels {
            cells.entry(cell).or_default().note(name, value, now);
        }
    }

    /// What is to be taken for demanded just now of a cell that comes, and nothing else.
    pub fn begin(&self, cell: CellId, labels: BTreeMap<String, String>, now: Duration) {
        let labels = labels.into_iter().map(|(name, value)| (name, (value, now)));
        self.0.lock().insert(cell, Demand(labels.collect()));
    }

    /// What the data of a cell demands.
    pub fn of(&self, cell: CellId, now: Duration) -> BTreeMap<String, String> {
        let mut cells = self.0.lock();
        let Some(Demand(labels)) = cells.get_mut(&cell) else { return BTreeMap::new() };
        labels.retain(|_, (_, at)| now.saturating_sub(*at) < KEPT);
        labels.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }

    /// A cell has left.
    pub fn forget(&self, cell: CellId) {
        self.0.lock().remove(&cell);
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

    fn at(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    fn of(demands: &Demands, minutes: u64) -> Vec<String> {
        demands.of(CELL, at(minutes)).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn what_is_demanded_is_known_for_an_hour_and_of_that_cell_only() {
        let demands = Demands::default();
        demands.note(CELL, [("region", "eu"), ("disk", "gold")], at(0));
        demands.note(CELL, [("region", "eu")], at(20));
        demands.note(CellId(4), [("region", "us")], at(20));
        assert_eq!(of(&demands, 59), ["disk=gold", "region=eu"]);
        assert_eq!(of(&demands, 60), ["region=eu"]);
        assert_eq!(of(&demands, 80), Vec::<String>::new());
    }

    #[test]
    fn a_value_that_is_used_keeps_its_place_and_one_that_is_not_gives_way() {
        let demands = Demands::default();
        for minute in 0..30 {
            demands.note(CELL, [("region", "eu")], at(minute));
            demands.note(CELL, [("region", "us")], at(minute));
            assert_eq!(of(&demands, minute), ["region=eu"]);
        }
        demands.note(CELL, [("region", "us")], at(33));
        assert_eq!(of(&demands, 33), ["region=eu"]);
        demands.note(CELL, [("region", "us")], at(34));
        assert_eq!(of(&demands, 34), ["region=us"]);
    }

    #[test]
    fn a_cell_that_comes_begins_with_what_it_brings_and_one_that_leaves_is_forgotten() {
        let demands = Demands::default();
        demands.note(CELL, [("disk", "gold")], at(0));
        demands.begin(CELL, [("region".to_owned(), "eu".to_owned())].into(), at(10));
        assert_eq!(of(&demands, 69), ["region=eu"]);
        demands.forget(CELL);
        assert_eq!(of(&demands, 10), Vec::<String>::new());
    }

    #[test]
    fn of_too_many_labels_those_that_were_demanded_last_are_known() {
        let demands = Demands::default();
        let names: Vec<String> = (0..40).map(|nth| format!("label-{nth:02}")).collect();
        for name in &names {
            demands.note(CELL, [(name.as_str(), "x")], at(1));
            demands.note(CELL, [("region", "eu")], at(2));
        }
        let known = demands.of(CELL, at(2));
        assert_eq!(known.len(), LABELS_MAX);
        assert!(known.contains_key("region") && known.contains_key("label-39"), "{known:?}");
    }
}
