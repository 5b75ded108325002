//! What stands before the calls of one function: how many run, how many wait, and how long they take.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use stride_ids::{Code, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{copies::Reads, spares::Spares, spec::FunctionSpec};

/// A call counts so much less for the mean than all before it.
const RUNS_WEIGHED: u64 = 8;

/// A mean in which the newest counts most, in nanoseconds.
#[derive(Default)]
struct Mean(AtomicU64);

impl Mean {
    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Of two calls that end at the same time one may not be counted, which changes a mean by little.
    fn note(&self, run: Duration) {
        let run = u64::try_from(run.as_nanos()).unwrap_or(u64::MAX);
        let mean = match self.0.load(Ordering::Relaxed) {
            0 => run,
            mean => mean - mean / RUNS_WEIGHED + run / RUNS_WEIGHED,
        };
        self.0.store(mean, Ordering::Relaxed);
    }
}

/// The bound on the calls of one function in one version: so many run, so many more wait, the next is refused.
pub(crate) struct Gate {
    pub(crate) spec: FunctionSpec,
    pub(crate) spares: Spares,
    /// Held by whoever clears a used instance away and makes the next.
    pub(crate) replacing: Arc<Semaphore>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How many of those that wait read what.
    waiting_to_read: Mutex<BTreeMap<Reads, u32>>,
    /// How long calls run, on whichever node.
    run: Mean,
    /// How long they run here.
    own_run: Mean,
    /// One has run here since that was told last.
    has_run: AtomicBool,
}

impl Gate {
    /// All functions of a host share the room for spares.
    pub(crate) fn new(spec: FunctionSpec, spares: Arc<Semaphore>) -> Self {
        let places = Arc::new(Semaphore::new(spec.concurrency));
        Self {
            spec,
            spares: Spares::new(spares),
            replacing: Arc::new(Semaphore::new(1)),
            places,
            waiting: AtomicUsize::new(0),
            waiting_to_read: Mutex::default(),
            run: Mean::default(),
            own_run: Mean::default(),
            has_run: AtomicBool::new(false),
        }
    }

    /// How long calls run, as far as is known; zero if nothing is.
    pub(crate) fn mean_run(&self) -> Duration {
        self.run.get()
    }

    /// How long they run on this node.
    pub(crate) fn own_run(&self) -> Duration {
        self.own_run.get()
    }

    /// A call ran so long on another node.
    pub(crate) fn note_run(&self, run: Duration) {
        self.run.note(run);
    }

    /// A call ran so long here.
    pub(crate) fn note_own_run(&self, run: Duration) {
        self.run.note(run);
        self.own_run.note(run);
        self.has_run.store(true, Ordering::Relaxed);
    }

    /// Whether a call ran here since this was asked last.
    pub(crate) fn has_run(&self) -> bool {
        self.has_run.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn running(&self) -> usize {
        self.spec.concurrency.saturating_sub(self.places.available_permits())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What the calls read that wait, and how many of them read that.
    pub(crate) fn waiting_to_read(&self) -> Vec<(Reads, u32)> {
        self.waiting_to_read.lock().iter().map(|(reads, count)| (reads.clone(), *count)).collect()
    }

    /// Waits for a place, with a call that reads that.
    pub(crate) async fn enter(&self, function: &str, reads: &Reads) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.spec.queue {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let FunctionSpec { concurrency, queue, .. } = self.spec;
            let message = format!("`{function}` has {concurrency} calls running and {queue} waiting; try again");
            return Err(Failure::new(Code::Overloaded, message));
        }
        let _waiting = Waiting::begin(self, reads);
        let place = self.places.clone().acquire_owned().await;
        Ok(place.expect("a gate's places are never closed"))
    }
}

/// A call that waits, and is counted until this is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    reads: &'a Reads,
}

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate, reads: &'a Reads) -> Self {
        if !reads.objects.is_empty() {
            *gate.waiting_to_read.lock().entry(reads.clone()).or_default() += 1;
        }
        Self { gate, reads }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.reads.objects.is_empty() {
            return;
        }
        let mut waiting = self.gate.waiting_to_read.lock();
        if let Some(count) = waiting.get_mut(self.reads) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.reads);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use stride_ids::{BucketName, Name, ObjectKey, ObjectName};

    use super::*;

    #[tokio::test]
    async fn who_waits_is_counted_by_what_it_reads_until_it_runs_or_gives_up() {
        let spec = FunctionSpec { concurrency: 1, ..FunctionSpec::default() };
        let gate = Gate::new(spec, Arc::new(Semaphore::new(0)));
        let (bucket, key) = (BucketName::new("data").unwrap(), ObjectKey::new("hot").unwrap());
        let hot = ObjectName { tenant: Name::default_tenant(), bucket, key };
        let (reads, none) = (Reads { objects: [hot].into(), ..Reads::default() }, Reads::default());
        let place = gate.enter("f", &reads).await.unwrap();
        assert_eq!(gate.waiting_to_read(), [], "it runs");
        let (mut first, mut second) = (Box::pin(gate.enter("f", &reads)), Box::pin(gate.enter("f", &reads)));
        let mut third = Box::pin(gate.enter("f", &none));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        assert_eq!((gate.waiting_to_read(), gate.waiting()), (vec![(reads.clone(), 2)], 3));
        drop(second);
        assert_eq!((gate.waiting_to_read(), gate.waiting()), (vec![(reads.clone(), 1)], 2));
        drop(place);
        let _place = first.await.unwrap();
        assert_eq!((gate.waiting_to_read(), gate.waiting()), (vec![], 1));
    }
}
