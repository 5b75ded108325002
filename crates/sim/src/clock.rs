//! Time: how long something took, what day it is, and waiting.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use pin_project_lite::pin_project;

/// Milliseconds since 1970, for people and for retention; never for deciding who owns what.
pub type Timestamp = u64;

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// A clock. Cheap to clone; clones of a manual clock share their time.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real { origin: Instant },
    Manual { now: Arc<Mutex<Duration>> },
    Simulated { origin: tokio::time::Instant, per_mille: u32 },
}

/// The day on which simulations begin, in milliseconds since 1970.
const SIMULATED_START: Timestamp = 1_700_000_000_000;

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self(Kind::Real { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it. Its epoch is the year 1970.
    pub fn manual() -> Self {
        Self(Kind::Manual { now: Arc::default() })
    }

    /// The paused time of the Tokio runtime of this thread: it jumps to the next timer when nothing else can go on.
    pub fn simulated() -> Self {
        Self::drifting(1000)
    }

    /// The same, as a clock shows it that counts so many milliseconds in each second: one that runs slow, or fast.
    pub fn drifting(per_mille: u32) -> Self {
        Self(Kind::Simulated { origin: tokio::time::Instant::now(), per_mille })
    }

    /// How long it takes until this clock has moved on by `duration`.
    fn takes(&self, duration: Duration) -> Duration {
        match &self.0 {
            Kind::Simulated { per_mille, .. } if *per_mille != 1000 => duration * 1000 / *per_mille,
            _ => duration,
        }
    }

    /// Monotonic time since the clock was made.
    pub fn now(&self) -> Duration {
        match &self.0 {
            Kind::Real { origin } => origin.elapsed(),
            Kind::Manual { now } => *now.lock(),
            Kind::Simulated { origin, per_mille } => origin.elapsed() * *per_mille / 1000,
        }
    }

    /// The time of day, which may jump.
    pub fn timestamp(&self) -> Timestamp {
        match &self.0 {
            Kind::Real { .. } => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0))
            }
            Kind::Manual { now } => u64::try_from(now.lock().as_millis()).unwrap_or(0),
            Kind::Simulated { origin, .. } => {
                SIMULATED_START + u64::try_from(origin.elapsed().as_millis()).unwrap_or(0)
            }
        }
    }

    /// Moves a manual clock on.
    ///
    /// # Panics
    /// On any other clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Kind::Real { .. } | Kind::Simulated { .. } => panic!("only a manual clock can be advanced"),
            Kind::Manual { now } => *now.lock() += by,
        }
    }

    /// Waits. Under Tokio's paused test time this takes no real time.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.takes(duration)).await;
    }

    /// Blocks this thread, for threads that are not part of the async runtime.
    pub fn block(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// Gives `future` at most `limit`, if there is one.
    pub fn timeout<F: Future>(&self, limit: impl Into<Option<Duration>>, future: F) -> Timeout<F> {
        let deadline = limit.into().map(|limit| tokio::time::Instant::now() + self.takes(limit));
        Timeout { future, deadline, timer: None }
    }
}

pin_project! {
    /// What [`Clock::timeout`] makes: the future's output, or [`Elapsed`] when its time is over.
    ///
    /// It holds the future once, where an async function would hold it as its argument and again as what it waits for. The
    /// timer is set only if the future does not finish when it is first polled: setting one wakes the thread that waits
    /// for timers, which costs several times what a short call does.
    #[must_use]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        deadline: Option<tokio::time::Instant>,
        #[pin]
        timer: Option<tokio::time::Sleep>,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        if this.timer.is_none() {
            this.timer.set(Some(tokio::time::sleep_until(deadline)));
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| Err(Elapsed)),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timeout_ends_what_is_late_and_not_what_is_in_time() {
        let clock = Clock::real();
        let limit = Duration::from_secs(1);
        assert_eq!(clock.timeout(limit, async { 1 }).await, Ok(1));
        assert_eq!(clock.timeout(limit, clock.sleep(limit / 2)).await, Ok(()));
        assert_eq!(clock.timeout(limit, clock.sleep(limit * 2)).await, Err(Elapsed));
        assert_eq!(clock.timeout(limit, std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(clock.timeout(None, clock.sleep(limit * 2)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drifting_clock_waits_as_long_as_it_says() {
        let (right, slow, second) = (Clock::simulated(), Clock::drifting(800), Duration::from_secs(1));
        slow.sleep(second).await;
        assert_eq!((right.now(), slow.now()), (second * 5 / 4, second));
        assert_eq!(slow.timeout(second, right.sleep(second)).await, Ok(()));
    }

    #[test]
    fn a_manual_clock_moves_only_when_told_and_for_all_its_clones() {
        let clock = Clock::manual();
        let other = clock.clone();
        assert_eq!(clock.now(), Duration::ZERO);
        other.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Duration::from_secs(2));
        assert_eq!(clock.timestamp(), 2_000);
    }
}
