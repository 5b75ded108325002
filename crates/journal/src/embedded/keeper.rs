//! Keeps the log supplied: prepares segments ahead of their use and removes those that nobody wants any more.
//!
//! Filling 32 MiB with zeros inline stalled commits for 263 ms, so it happens here, on a thread of its own. The loop takes no
//! input: it looks at the log, does the one thing that is most needed, and looks again; a nudge only makes it sooner.
//! Always true: a segment is removed only when it is the oldest, nothing in it is wanted, and the log has durably moved
//! on; the directory is synced after every removal, so that no later segment can vanish before an earlier one.

use std::{io, sync::Arc, time::Duration};

use super::{
    Threads,
    commit::{Shared, may_block},
    format::segment_name,
    segment::Segment,
};

/// How many segments are kept ready.
const SPARES: usize = 2;
/// How long a failed preparation rests before it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How long an append waits for a segment that is on its way.
const SUPPLY_WAIT_MAX: Duration = Duration::from_millis(250);

/// What a look at the log led to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// One thing was done; there may be more.
    Did,
    /// There is nothing to do.
    Idle,
    /// It failed; try again later.
    Failed,
}

impl Shared {
    /// The keeper thread.
    pub(crate) fn run_keeper(&self) {
        loop {
            let kept = self.keep_once();
            let mut tail = self.tail.lock();
            if tail.closing || tail.stopped.is_some() {
                return;
            }
            match kept {
                Kept::Did => {}
                // A nudge between the look and this lock is not lost: the look is repeated under the lock.
                Kept::Idle if tail.unwanted(self.durable()).is_none() && tail.spares.len() >= SPARES => {
                    self.keeper.wait(&mut tail);
                }
                Kept::Idle => {}
                Kept::Failed => {
                    self.keeper.wait_for(&mut tail, RETRY);
                }
            }
        }
    }

    /// Does the one thing that is most needed.
    fn keep_once(&self) -> Kept {
        let (unwanted, short_of) = {
            let tail = self.tail.lock();
            (tail.unwanted(self.durable()), (tail.spares.len() < SPARES).then(|| tail.next_number()))
        };
        // Removing first: it makes the space that a new segment needs.
        let removed = unwanted.map(|segment| self.remove(&segment));
        match (removed, short_of) {
            (Some(Kept::Did), _) => Kept::Did,
            (_, Some(number)) => self.prepare(number),
            (removed, None) => removed.unwrap_or(Kept::Idle),
        }
    }

    /// Does everything that is needed, for a journal without threads.
    pub(crate) fn keep_all(&self) {
        while self.keep_once() == Kept::Did {}
    }

    /// Waits a moment for the segment that the keeper thread is preparing, and says whether it is worth trying again.
    /// A burst on a young log can be faster than zeros; an error to every caller would cost more than this pause.
    pub(crate) fn await_supply(&self) -> bool {
        if self.threads == Threads::None {
            return false;
        }
        may_block(|| {
            let mut tail = self.tail.lock();
            !self.supply.wait_while_for(&mut tail, |tail| tail.is_undersupplied(), SUPPLY_WAIT_MAX).timed_out()
        })
    }

    fn remove(&self, segment: &Arc<Segment>) -> Kept {
        let path = self.dir.join(segment_name(segment.number));
        let removed = match self.disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.disk.sync_dir(&self.dir),
        };
        match removed {
            Ok(()) => {
                self.tail.lock().held.remove(&segment.number);
                Kept::Did
            }
            Err(e) => {
                // It stays the oldest, so that no later one is removed before it.
                tracing::warn!(target: "stride::journal", file = %path.display(), error = %e, "an old segment stays");
                Kept::Failed
            }
        }
    }

    fn prepare(&self, number: u32) -> Kept {
        let seed = self.chance.next_u64();
        let prepared = Segment::prepare(&*self.disk, &self.dir, number, self.segment_bytes, seed, &[]);
        let mut tail = self.tail.lock();
        self.supply.notify_all();
        match prepared {
            Ok(segment) => {
                tail.spare_refused = None;
                tail.spares.push_back(Arc::new(segment));
                Kept::Did
            }
            Err(e) => {
                let why = format!("preparing {} in {}: {e}", segment_name(number), self.dir.display());
                if tail.spare_refused.is_none() {
                    tracing::warn!(target: "stride::journal", why, "the next segment cannot be prepared yet");
                }
                tail.spare_refused = Some(why);
                Kept::Failed
            }
        }
    }
}
