//! A simulated node: slots, a queue in order of arrival, a link that carries one datum after another, and a cache.
//!
//! Because queue and link are in order, what happens to a request is known when it is accepted, and no events are needed.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    time::Duration,
};

use bytesize::ByteSize;

use super::{
    Settings,
    workload::{Arrival, Workload},
};
use crate::{Holding, Load};

#[derive(Debug)]
pub(super) struct Machine {
    run_mean: Duration,
    link: u64,
    cache_max: u64,
    /// When each slot is free.
    slots: BinaryHeap<Reverse<Duration>>,
    accepted: Vec<Accepted>,
    link_free: Duration,
    cache: HashMap<usize, Cached>,
    by_use: BTreeSet<(u64, usize)>,
    uses: u64,
    cached: u64,
    moved: u64,
    /// What a report has to say anew.
    changed: BTreeSet<usize>,
}

#[derive(Debug)]
struct Accepted {
    starts: Duration,
    ends: Duration,
    reads: Vec<usize>,
}

#[derive(Debug)]
struct Cached {
    /// The number of its last use.
    used: u64,
    here_at: Duration,
    /// Until when it is in use, and not dropped.
    pinned: Duration,
}

/// What a node says of itself.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) load: Load,
    pub(super) link_waiting: ByteSize,
    pub(super) holdings: Vec<(usize, Holding)>,
}

impl Machine {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            run_mean: settings.run_mean,
            link: settings.link.0,
            cache_max: settings.cache_data * settings.size_mean.0,
            slots: (0..settings.slots).map(|_| Reverse(Duration::ZERO)).collect(),
            accepted: Vec::new(),
            link_free: Duration::ZERO,
            cache: HashMap::new(),
            by_use: BTreeSet::new(),
            uses: 0,
            cached: 0,
            moved: 0,
            changed: BTreeSet::new(),
        }
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Takes a request. Returns how long it waits until it runs with its data, and how long of that for a slot.
    pub(super) fn accept(&mut self, arrival: &Arrival, workload: &Workload) -> (Duration, Duration) {
        let Reverse(slot) = self.slots.pop().expect("a node has slots");
        let slot = slot.max(arrival.at);
        let starts = arrival.reads.iter().fold(slot, |starts, d| starts.max(self.bring(arrival.at, *d, workload)));
        let ends = starts + arrival.runs;
        self.slots.push(Reverse(ends));
        for datum in &arrival.reads {
            let cached = self.cache.get_mut(datum).expect("what is in use is not dropped");
            cached.pinned = cached.pinned.max(ends);
        }
        self.make_room(arrival.at, workload);
        self.accepted.push(Accepted { starts, ends, reads: arrival.reads.clone() });
        (starts - arrival.at, slot - arrival.at)
    }

    /// Fetches a datum before anyone here wants it.
    pub(super) fn copy(&mut self, now: Duration, datum: usize, workload: &Workload) {
        let here_at = self.bring(now, datum, workload);
        self.cache.get_mut(&datum).expect("it was just brought").pinned = here_at;
        self.make_room(now, workload);
    }

    /// When the datum is here.
    fn bring(&mut self, now: Duration, datum: usize, workload: &Workload) -> Duration {
        self.uses += 1;
        if let Some(cached) = self.cache.get_mut(&datum) {
            self.by_use.remove(&(cached.used, datum));
            cached.used = self.uses;
            self.by_use.insert((cached.used, datum));
            return cached.here_at;
        }
        let size = workload.size(datum);
        self.moved += size;
        self.cached += size;
        self.link_free = self.link_free.max(now) + Duration::from_secs_f64(size as f64 / self.link as f64);
        self.cache.insert(datum, Cached { used: self.uses, here_at: self.link_free, pinned: Duration::ZERO });
        self.by_use.insert((self.uses, datum));
        self.changed.insert(datum);
        self.link_free
    }

    /// Drops the least recently used of what is not in use. If all is in use, the cache is too full for a while.
    fn make_room(&mut self, now: Duration, workload: &Workload) {
        while self.cached > self.cache_max {
            let unused = |entry: &&(u64, usize)| self.cache[&entry.1].pinned <= now;
            let Some(&(used, datum)) = self.by_use.iter().find(unused) else { return };
            self.by_use.remove(&(used, datum));
            self.cache.remove(&datum);
            self.cached -= workload.size(datum);
            self.changed.insert(datum);
        }
    }

    /// What it says of itself now: what it has accepted, its link, and the holdings that changed since it last said so.
    pub(super) fn report(&mut self, now: Duration, workload: &Workload) -> Report {
        self.accepted.retain(|a| a.ends > now);
        let remains = |a: &Accepted| self.run_mean.saturating_sub(now.saturating_sub(a.starts));
        let load = Load { accepted: self.accepted.len() as u32, work: self.accepted.iter().map(remains).sum() };
        let waiting = self.link_free.saturating_sub(now).as_secs_f64() * self.link as f64;
        let changed = std::mem::take(&mut self.changed);
        let holdings = changed.into_iter().map(|datum| {
            let size = ByteSize(workload.size(datum));
            let holding = match self.cache.get(&datum) {
                None => Holding::default(),
                Some(cached) if cached.here_at <= now => Holding { here: size, coming: ByteSize(0) },
                Some(_) => {
                    self.changed.insert(datum);
                    Holding { here: ByteSize(0), coming: size }
                }
            };
            (datum, holding)
        });
        Report { load, link_waiting: ByteSize(waiting as u64), holdings: holdings.collect() }
    }

    /// What the waiting requests read first of all.
    pub(super) fn waited_for(&self, now: Duration) -> impl Iterator<Item = usize> {
        self.accepted.iter().filter(move |a| a.starts > now).filter_map(|a| a.reads.first().copied())
    }
}
