//! Cells that could not be acquired, or brought to another database: tried again later and later, so that one that cannot be had does
//! not take a takeover and a look for its snapshot with each beat.

use std::{collections::BTreeMap, time::Duration};

use stride_ids::CellId;

/// The first wait.
const AGAIN: Duration = Duration::from_millis(300);
/// The longest wait. Short enough that a cell comes back soon after whatever kept it away is over.
const AGAIN_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Retries(BTreeMap<CellId, Failed>);

struct Failed {
    times: u32,
    not_before: Duration,
}

impl Retries {
    /// Of the cells to try, with what it takes, those whose time has come. What is not to be tried any more is forgotten.
    pub(super) fn due<T>(
        &mut self,
        wanted: Vec<(CellId, T)>,
        busy: impl Fn(CellId) -> bool,
        now: Duration,
    ) -> Vec<(CellId, T)> {
        self.0.retain(|cell, _| busy(*cell) || wanted.iter().any(|(wanted, _)| wanted == cell));
        let due = |(cell, _): &(CellId, T)| self.0.get(cell).is_none_or(|failed| failed.not_before <= now);
        wanted.into_iter().filter(due).collect()
    }

    /// These did not succeed.
    pub(super) fn failed(&mut self, cells: impl IntoIterator<Item = CellId>, now: Duration) {
        for cell in cells {
            let failed = self.0.entry(cell).or_insert(Failed { times: 0, not_before: now });
            failed.not_before = now + AGAIN.saturating_mul(1 << failed.times.min(16)).min(AGAIN_MAX);
            failed.times += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::Epoch;

    use super::*;

    #[test]
    fn a_cell_that_fails_is_tried_later_and_later_and_the_others_at_once() {
        let (mut retries, mut now, ms) = (Retries::default(), Duration::ZERO, Duration::from_millis);
        let both = vec![(CellId(1), Epoch(1)), (CellId(2), Epoch(1))];
        assert_eq!(retries.due(both.clone(), |_| false, now), both);
        for wait in [300, 600, 1_200, 2_400, 4_800, 5_000, 5_000] {
            retries.failed([CellId(1)], now);
            assert_eq!(retries.due(both.clone(), |_| false, now + ms(wait - 1)), both[1..], "{wait}");
            now += ms(wait);
            assert_eq!(retries.due(both.clone(), |_| false, now), both, "{wait}");
        }
    }

    #[test]
    fn what_was_acquired_in_the_end_begins_anew() {
        let (mut retries, now) = (Retries::default(), Duration::ZERO);
        let one = vec![(CellId(1), Epoch(1))];
        retries.failed([CellId(1)], now);
        assert!(retries.due(one.clone(), |_| false, now).is_empty());
        assert!(retries.due(Vec::<(CellId, Epoch)>::new(), |_| true, now).is_empty(), "it is being acquired");
        assert!(retries.due(one.clone(), |_| false, now).is_empty());
        assert!(retries.due(Vec::<(CellId, Epoch)>::new(), |_| false, now).is_empty(), "it is here");
        assert_eq!(retries.due(one.clone(), |_| false, now), one);
    }
}
