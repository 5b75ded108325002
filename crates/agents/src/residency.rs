//! Which agents' bodies are in memory, and which leaves next: the least recently used.
//!
//! Using an agent must cost nothing here, so uses only set a stamp that the agent carries. The order is repaired
//! when somebody has to leave: an entry whose stamp has moved on since goes back with its new stamp.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// When something was last used, in the engine's milliseconds.
pub(crate) type Stamp = u64;

/// What to do with the candidate that seems to be used least.
pub(crate) enum Verdict {
    /// It left memory.
    Left,
    /// It was used since, at this stamp.
    UsedAt(Stamp),
    /// It is no longer in memory.
    Gone,
}

/// The bodies in memory, by their last known use.
pub(crate) struct Residency<K> {
    by_use: BinaryHeap<Reverse<(Stamp, K)>>,
}

impl<K: Ord> Residency<K> {
    pub(crate) fn new() -> Self {
        Self { by_use: BinaryHeap::new() }
    }

    pub(crate) fn arrived(&mut self, key: K, at: Stamp) {
        self.by_use.push(Reverse((at, key)));
    }

    /// Makes the least recently used one leave. `try_leave` is shown candidates with their last known use and decides.
    /// False if nobody could leave.
    pub(crate) fn evict_one(&mut self, mut try_leave: impl FnMut(&K, Stamp) -> Verdict) -> bool {
        // Each entry is looked at twice at most: once with an old stamp, once with the new one.
        for _ in 0..self.by_use.len() * 2 {
            let Some(Reverse((stamp, key))) = self.by_use.pop() else { return false };
            match try_leave(&key, stamp) {
                Verdict::Left => return true,
                Verdict::UsedAt(now) => self.by_use.push(Reverse((now, key))),
                Verdict::Gone => {}
            }
        }
        false
    }

    /// Makes the least recently used leave, as long as more have to. Each is shown once, with its last known use.
    pub(crate) fn evict_while(&mut self, more: impl Fn() -> bool, mut try_leave: impl FnMut(&K, Stamp) -> Verdict) {
        let mut stay = Vec::new();
        while more()
            && let Some(Reverse((stamp, key))) = self.by_use.pop()
        {
            if let Verdict::UsedAt(now) = try_leave(&key, stamp) {
                stay.push(Reverse((now, key)));
            }
        }
        self.by_use.extend(stay);
    }

    /// Shows everybody once, with the last known use; those that left or are gone are forgotten.
    pub(crate) fn sweep(&mut self, mut try_leave: impl FnMut(&K, Stamp) -> Verdict) {
        // Somebody who left and came back between two sweeps stands in the heap twice.
        let mut latest: BTreeMap<K, Stamp> = BTreeMap::new();
        for Reverse((stamp, key)) in self.by_use.drain() {
            let known = latest.entry(key).or_insert(stamp);
            *known = stamp.max(*known);
        }
        for (key, stamp) in latest {
            if let Verdict::UsedAt(now) = try_leave(&key, stamp) {
                self.by_use.push(Reverse((now, key)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn leave_if_unused_since(
        used: &BTreeMap<char, Stamp>,
        left: &mut Vec<char>,
    ) -> impl FnMut(&char, Stamp) -> Verdict {
        |key, stamp| match used.get(key) {
            None => Verdict::Gone,
            Some(at) if *at > stamp => Verdict::UsedAt(*at),
            Some(_) => {
                left.push(*key);
                Verdict::Left
            }
        }
    }

    #[test]
    fn the_least_recently_used_leaves_even_if_it_arrived_last() {
        let mut residency = Residency::new();
        for (at, key) in [(1, 'a'), (2, 'b'), (3, 'c')] {
            residency.arrived(key, at);
        }
        let used = BTreeMap::from([('a', 10), ('b', 9), ('c', 3)]);
        let mut left = Vec::new();
        for _ in 0..3 {
            assert!(residency.evict_one(leave_if_unused_since(&used, &mut left)));
        }
        assert_eq!(left, ['c', 'b', 'a']);
        assert!(!residency.evict_one(leave_if_unused_since(&used, &mut Vec::new())));
    }

    #[test]
    fn nobody_leaves_while_everybody_is_busy() {
        let mut residency = Residency::new();
        residency.arrived('a', 1);
        residency.arrived('b', 2);
        assert!(!residency.evict_one(|_, stamp| Verdict::UsedAt(stamp + 1)));
        assert!(residency.evict_one(|_, _| Verdict::Left));
    }

    #[test]
    fn no_more_leave_than_have_to_and_those_who_stay_are_still_known() {
        let mut residency = Residency::new();
        for (at, key) in [(3, 'c'), (1, 'a'), (2, 'b'), (4, 'd')] {
            residency.arrived(key, at);
        }
        let left = std::cell::RefCell::new(Vec::new());
        let leave = |key: &char, stamp| match key {
            'b' => Verdict::UsedAt(stamp),
            _ => {
                left.borrow_mut().push(*key);
                Verdict::Left
            }
        };
        residency.evict_while(|| left.borrow().len() < 2, leave);
        assert_eq!(*left.borrow(), ['a', 'c']);
        residency.evict_while(|| true, leave);
        assert_eq!(*left.borrow(), ['a', 'c', 'd']);
        assert!(residency.evict_one(|key, _| if *key == 'b' { Verdict::Left } else { Verdict::Gone }));
    }

    #[test]
    fn a_sweep_shows_everybody_once_even_if_they_came_twice() {
        let mut residency = Residency::new();
        residency.arrived('a', 1);
        residency.arrived('a', 5);
        let mut shown = Vec::new();
        residency.sweep(|key, stamp| {
            shown.push((*key, stamp));
            Verdict::UsedAt(stamp)
        });
        assert_eq!(shown, [('a', 5)]);
    }

    #[test]
    fn what_is_gone_is_forgotten_by_a_sweep() {
        let mut residency = Residency::new();
        residency.arrived('a', 1);
        residency.sweep(|_, _| Verdict::Gone);
        assert!(!residency.evict_one(|_, _| Verdict::Left));
    }
}
