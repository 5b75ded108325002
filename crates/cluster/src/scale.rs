//! How many nodes the load asks for, and when somebody is told so. Pure: the clock is an argument, and who is told is for others.
//!
//! Always true: what is wanted is a total and not a difference, so a word too many or too few does no harm; and a cluster that
//! was given what it wanted wants nothing more, as long as the load stays.

use std::time::Duration;

use serde::Serialize;

use crate::NodeRow;

/// So many messages that wait are all that a node should have.
const WAITING_PER_NODE: u64 = 10_000;
/// More nodes are wanted if those that there are have more to do than so much of what they can, in percent.
const BUSY_MAX: u64 = 70;
/// Fewer nodes are wanted if those would still have less than so much to do.
const BUSY_MIN: u64 = 40;
/// So long more nodes have to be wanted before somebody is told.
const UP_AFTER: Duration = Duration::from_secs(10);
/// So long fewer nodes have to be wanted before somebody is told.
const DOWN_AFTER: Duration = Duration::from_secs(300);
/// So long a new node gets to join before anything more is asked for.
const REST: Duration = Duration::from_secs(60);
/// How long to wait after the first failure to tell somebody; twice as long after each further one.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// How many nodes there are, how many are wanted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// Nodes that take work: neither dead nor draining.
    pub nodes: u32,
    /// How many there should be.
    pub wanted: u32,
    /// In words, for people.
    pub reason: String,
}

impl Demand {
    /// What these nodes ask for together, if each of them has room for so many agents in memory.
    pub fn of<'a>(nodes: impl IntoIterator<Item = &'a NodeRow>, agents_max: usize) -> Self {
        let (mut count, mut agents, mut waiting) = (0u32, 0u64, 0u64);
        for node in nodes.into_iter().filter(|node| !node.dead) {
            // What a node that drains still has is for the others soon.
            agents = agents.saturating_add(node.agents);
            waiting = waiting.saturating_add(node.queue);
            count += u32::from(!node.draining);
        }
        let agents_max = u64::try_from(agents_max).unwrap_or(u64::MAX).max(1);
        // In hundredths of a node.
        let load =
            (agents.saturating_mul(100) / agents_max).saturating_add(waiting.saturating_mul(100) / WAITING_PER_NODE);
        let nodes_at = |busy: u64| u32::try_from(load.div_ceil(busy).max(1)).unwrap_or(u32::MAX);
        let (fewest, most) = (nodes_at(BUSY_MAX), nodes_at(BUSY_MIN));
        let reason = format!(
            "{agents} agents in memory and {waiting} messages that wait are {load}% of what a node should have; \
             {BUSY_MIN}% to {BUSY_MAX}% each is right"
        );
        Self { nodes: count, wanted: count.clamp(fewest, most), reason }
    }
}

/// When somebody is told how many nodes are wanted.
#[derive(Debug, Default)]
pub struct Scaler {
    /// Which way, and since when that has been so without a gap.
    tends: Option<(std::cmp::Ordering, Duration)>,
    not_before: Duration,
    failures: u32,
}

impl Scaler {
    /// Whether somebody is to be told now.
    pub fn is_due(&mut self, now: Duration, demand: &Demand) -> bool {
        let way = demand.wanted.cmp(&demand.nodes);
        let since = match self.tends {
            Some((before, since)) if before == way => since,
            _ => now,
        };
        self.tends = Some((way, since));
        let patience = match way {
            std::cmp::Ordering::Equal => return false,
            std::cmp::Ordering::Greater => UP_AFTER,
            std::cmp::Ordering::Less => DOWN_AFTER,
        };
        now >= self.not_before && now.saturating_sub(since) >= patience
    }

    /// Somebody was told, or could not be.
    pub fn told(&mut self, now: Duration, well: bool) {
        self.failures = if well { 0 } else { self.failures.saturating_add(1) };
        let wait = if well { REST } else { AGAIN.saturating_mul(1 << (self.failures - 1).min(16)).min(AGAIN_MAX) };
        self.not_before = now + wait;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::samples::world;

    fn nodes(count: u32, agents: u64, waiting: u64) -> Vec<NodeRow> {
        let row = world(&["a"], 1).nodes.into_values().next().unwrap();
        let mut rows = vec![row; count as usize];
        (rows[0].agents, rows[0].queue) = (agents, waiting);
        rows
    }

    fn demand(count: u32, agents: u64, waiting: u64) -> Demand {
        Demand::of(&nodes(count, agents, waiting), 1_000)
    }

    proptest! {
        #[test]
        fn who_was_given_what_it_wanted_wants_nothing_more(
            count in 1u32..50, agents in 0u64..100_000, waiting in 0u64..300_000,
        ) {
            let first = demand(count, agents, waiting);
            prop_assert!(first.wanted >= 1);
            let then = demand(first.wanted, agents, waiting);
            prop_assert_eq!(then.wanted, then.nodes);
        }

        #[test]
        fn more_load_never_wants_fewer_nodes(
            count in 1u32..50, agents in 0u64..100_000, more in 0u64..100_000, waiting in 0u64..300_000,
        ) {
            prop_assert!(demand(count, agents + more, waiting).wanted >= demand(count, agents, waiting).wanted);
        }
    }

    #[test]
    fn the_dead_do_not_count_and_who_drains_leaves_its_work_to_the_others() {
        let mut rows = nodes(3, 1_800, 0);
        assert_eq!(Demand::of(&rows, 1_000).wanted, 3);
        rows[1].dead = true;
        rows[0].draining = true;
        let demand = Demand::of(&rows, 1_000);
        assert_eq!((demand.nodes, demand.wanted), (1, 3));
        assert!(demand.reason.contains("1800 agents"), "{}", demand.reason);
    }

    #[test]
    fn nobody_is_told_of_a_moment() {
        let s = Duration::from_secs;
        let demand = |nodes, wanted| Demand { nodes, wanted, reason: String::new() };
        let mut scaler = Scaler::default();
        assert!(!scaler.is_due(s(0), &demand(2, 3)));
        assert!(!scaler.is_due(s(9), &demand(2, 3)));
        assert!(!scaler.is_due(s(10), &demand(2, 2)), "that was a moment");
        assert!(!scaler.is_due(s(11), &demand(2, 3)));
        assert!(scaler.is_due(s(21), &demand(2, 4)), "more for ten seconds, however many");
        scaler.told(s(21), true);
        assert!(!scaler.is_due(s(80), &demand(2, 4)), "they need time to come");
        assert!(scaler.is_due(s(81), &demand(2, 4)));
        assert!(!scaler.is_due(s(90), &demand(4, 2)));
        assert!(!scaler.is_due(s(389), &demand(4, 2)));
        assert!(scaler.is_due(s(390), &demand(4, 2)), "fewer for five minutes");
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later() {
        let s = Duration::from_secs;
        let demand = Demand { nodes: 1, wanted: 2, reason: String::new() };
        let mut scaler = Scaler::default();
        scaler.is_due(s(0), &demand);
        let mut now = s(10);
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert!(scaler.is_due(now, &demand));
            scaler.told(now, false);
            assert!(!scaler.is_due(now + s(wait) - Duration::from_millis(1), &demand), "{wait}");
            now += s(wait);
        }
        scaler.told(now, true);
        scaler.told(now, false);
        assert!(scaler.is_due(now + s(5), &demand), "a success is forgotten failures");
    }
}
