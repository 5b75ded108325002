//! Group commit: whoever waits first writes for all.
//!
//! Waking a sleeping thread costs about as much as a third of a sync, so an append that is alone must not need one: the
//! first [`Wait`] that is polled while nobody writes becomes the leader and writes everything that is queued, itself, once
//! the tasks that are ready have had their turn and appended what they have; whoever was alone for a while does not wait for
//! that, but now and then. It holds its async worker meanwhile, if syncs
//! have been as short as turns are, and hands it over to another thread if not.
//! If more is queued by then, the load is not one caller, and the committer thread goes on, so that no async worker is
//! held for long; after such a crowd's group it also begins the next one.
//!
//! Always true: while something is queued that is in a hurry, a leader or the committer thread is on it or a `Wait` exists
//! whose poll, or drop, makes it so. The lock of [`Tail`] is never held during I/O. After the first error nothing is written.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex, MutexGuard};
use stride_ids::{CellId, Epoch, Seq};
use stride_sim::{Chance, Clock, disk::Disk};

use super::{
    Threads,
    format::Position,
    tail::Tail,
    writer::{Item, Writer},
};
use crate::{Error, Receipt, journal::Outcome};

/// A leader holds its async worker if a group takes less than this, in microseconds: no longer than many a turn does.
const SHORT_SYNC_MICROS: u64 = 500;

/// What the journal, its threads and everybody who waits share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) threads: Threads,
    pub(crate) chance: Chance,
    /// Measures syncs; none where time is not the machine's.
    clock: Option<Clock>,
    /// How long writing a group takes on average, in microseconds.
    sync_micros: AtomicU64,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) writer: Mutex<Writer>,
    /// Everything before this position is durable.
    durable: AtomicU64,
    /// Tells the committer thread that it was handed the queue.
    pub(crate) committer: Condvar,
    /// Tells the keeper thread that a spare was used or a segment is unwanted.
    pub(crate) keeper: Condvar,
    /// Tells appends that a segment was prepared, or could not be.
    pub(crate) supply: Condvar,
}

impl Shared {
    pub(crate) fn new(settings: &super::Settings, disk: Arc<dyn Disk>, dir: PathBuf, chance: Chance, end: End) -> Self {
        Self {
            disk,
            dir,
            segment_bytes: settings.segment_bytes,
            threads: settings.threads,
            chance,
            clock: (settings.threads == Threads::Own).then(Clock::real),
            // Unknown, so not short.
            sync_micros: AtomicU64::new(2 * SHORT_SYNC_MICROS),
            durable: AtomicU64::new(end.tail.end().0),
            tail: Mutex::new(end.tail),
            writer: Mutex::new(end.writer),
            committer: Condvar::new(),
            keeper: Condvar::new(),
            supply: Condvar::new(),
        }
    }

    pub(crate) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Writes everything that is queued, as the leader: `committing` must be set, by the caller. Afterwards nobody is
    /// committing, or the committer thread is.
    fn lead(&self) {
        if self.write_queued() && !self.hand_over() {
            while self.write_queued() {}
        }
    }

    fn syncs_are_short(&self) -> bool {
        self.sync_micros.load(Ordering::Relaxed) < SHORT_SYNC_MICROS
    }

    /// Takes note of how long a group took. Whoever leads is alone, so nothing is lost between load and store.
    fn note_sync(&self, began: Option<Duration>) {
        let (Some(clock), Some(began)) = (&self.clock, began) else { return };
        let took = u64::try_from((clock.now() - began).as_micros()).unwrap_or(u64::MAX);
        let average = self.sync_micros.load(Ordering::Relaxed);
        self.sync_micros.store((average.saturating_mul(7).saturating_add(took)) / 8, Ordering::Relaxed);
    }

    /// Lets the committer thread go on, if there is one.
    fn hand_over(&self) -> bool {
        let mut tail = self.tail.lock();
        let can = self.threads == Threads::Own && !tail.closing;
        if can {
            tail.handed_over = true;
            self.committer.notify_one();
        }
        can
    }

    /// Writes one queue's worth and says whether there is more. If not, nobody is committing any more.
    fn write_queued(&self) -> bool {
        let items = self.tail.lock().take_queue();
        let began = self.clock.as_ref().map(Clock::now);
        let outcome = self.writer.lock().commit(&items, |end| {
            self.durable.store(end.0, Ordering::Release);
        });
        self.note_sync(began);
        let mut tail = self.tail.lock();
        if let Err(e) = outcome {
            self.stop(&mut tail, &format!("writing to {}: {e}", self.dir.display()));
        }
        let more = !tail.queue.is_empty();
        if items.iter().any(|item| matches!(item, Item::Roll(..))) {
            self.keeper.notify_one();
        }
        tail.committing = more;
        let durable = self.durable();
        let stopped = tail.stopped.is_some();
        let awake: Vec<Waker> =
            tail.waiters.extract_if(.., |(at, _)| stopped || *at < durable).map(|(_, waker)| waker).collect();
        drop(tail);
        awake.into_iter().for_each(Waker::wake);
        more
    }

    fn stop(&self, tail: &mut MutexGuard<'_, Tail>, why: &str) {
        tracing::error!(target: "stride::journal", why, "the journal stopped");
        tail.stopped = Some(why.into());
        drop(tail.take_queue());
        tail.mourners.drain(..).for_each(Waker::wake);
    }

    /// The committer thread: goes on where a leader stopped, until nothing is queued.
    pub(crate) fn run_committer(&self) {
        loop {
            let mut tail = self.tail.lock();
            while !tail.handed_over {
                if tail.closing {
                    return;
                }
                self.committer.wait(&mut tail);
            }
            tail.handed_over = false;
            drop(tail);
            while self.write_queued() {}
        }
    }

    /// Waits, without an executor, until everything before `end` is durable.
    pub(crate) fn settle(self: &Arc<Self>, cell: CellId, epoch: Epoch, seq: Seq, at: Position) -> Result<(), Error> {
        let mut wait = Wait::new(Arc::clone(self), cell, epoch, seq, at);
        // There are no others on a thread that is held.
        wait.others = Some(Box::pin(std::future::ready(())));
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut wait).poll(&mut context) {
                return outcome.map(drop);
            }
            std::thread::park();
        }
    }
}

/// The end of a log, as recovery leaves it.
pub(crate) struct End {
    pub(crate) tail: Tail,
    pub(crate) writer: Writer,
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for one frame to be durable, and writes it if nobody else does.
pub(crate) struct Wait {
    shared: Arc<Shared>,
    at: Position,
    receipt: Receipt,
    /// The waker that is registered.
    registered: Option<Waker>,
    /// Done when the tasks that were ready have had their turn; begun when this would lead.
    others: Option<BoxFuture<'static, ()>>,
    /// Whether the record is to be brought to the disk also if nobody waits for it any more.
    hurried: bool,
}

impl Wait {
    pub(crate) fn new(shared: Arc<Shared>, cell: CellId, epoch: Epoch, seq: Seq, at: Position) -> Self {
        Self { shared, at, receipt: Receipt::new(cell, epoch, seq), registered: None, others: None, hurried: true }
    }

    fn is_durable(&self) -> bool {
        self.at < self.shared.durable()
    }
}

impl Future for Wait {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if self.is_durable() {
                return Poll::Ready(Ok(self.receipt));
            }
            let shared = Arc::clone(&self.shared);
            let mut tail = shared.tail.lock();
            if self.is_durable() {
                return Poll::Ready(Ok(self.receipt));
            }
            tail.check_running()?;
            let crowded = tail.crowded && self.shared.threads == Threads::Own && !tail.closing;
            if crowded && !tail.committing {
                tail.committing = true;
                tail.handed_over = true;
                self.shared.committer.notify_one();
            }
            if tail.committing {
                if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    tail.waiters.push((self.at, cx.waker().clone()));
                    self.registered = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            match &mut self.others {
                Some(others) => ready!(others.as_mut().poll(cx)),
                None if tail.may_have_others() => {
                    drop(tail);
                    // Polled by the next round, so that it wakes this task.
                    self.others = Some(Box::pin(tokio::task::yield_now()));
                    continue;
                }
                None => {}
            }
            tail.committing = true;
            drop(tail);
            if shared.syncs_are_short() {
                shared.lead();
            } else {
                may_block(|| shared.lead());
            }
        }
    }
}

impl Outcome for Wait {
    fn unhurried(mut self: Pin<&mut Self>) {
        self.hurried = false;
    }
}

impl Drop for Wait {
    /// A record is committed whether or not somebody waits for it.
    fn drop(&mut self) {
        if !self.hurried || self.is_durable() {
            return;
        }
        let mut tail = self.shared.tail.lock();
        if tail.committing || tail.queue.is_empty() {
            return;
        }
        tail.committing = true;
        drop(tail);
        if !self.shared.hand_over() {
            self.shared.lead();
        }
    }
}

/// Runs what blocks for a moment, and lets an async worker's other tasks go on meanwhile.
pub(crate) fn may_block<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
