//! What no way of placing can do better.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    time::Duration,
};

use bytesize::ByteSize;

use super::{Settings, quantile, workload::Workload};

/// What the requests of a seed cost at least.
///
/// *Bytes*: the caches begin empty and all data is outside, so whatever is read at all has to come in once.
///
/// *Wait*: all slots in one node that holds everything, with one queue in order of arrival. No wait can be below zero, which is
/// what this comes to from a few nodes on. Where it is above, it is what pooling gives; a policy that let short runs
/// overtake long ones could have a lower median, but none of those compared knows how long a run takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What has to move.
    pub moved: ByteSize,
    waits: Vec<Duration>,
}

impl Bound {
    /// The bound for the requests of this seed.
    pub fn of(settings: Settings, seed: u64) -> Self {
        let workload = Workload::new(settings, seed);
        let read: BTreeSet<usize> = workload.arrivals().iter().flat_map(|a| a.reads.iter().copied()).collect();
        let moved = ByteSize(read.into_iter().map(|datum| workload.size(datum)).sum());
        let slots = settings.nodes * settings.slots as usize;
        let mut free: BinaryHeap<Reverse<Duration>> = (0..slots).map(|_| Reverse(Duration::ZERO)).collect();
        let mut waits = Vec::with_capacity(workload.arrivals().len());
        for arrival in workload.arrivals() {
            let starts = free.pop().map_or(arrival.at, |Reverse(slot)| slot.max(arrival.at));
            free.push(Reverse(starts + arrival.runs));
            waits.push(starts - arrival.at);
        }
        waits.sort_unstable();
        Self { moved, waits }
    }

    /// The wait that this many of a thousand requests do not exceed.
    pub fn wait(&self, per_mille: usize) -> Duration {
        quantile(&self.waits, per_mille)
    }
}
