//! Work that goes on beside its caller.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use tokio::sync::Notify;

use crate::chance::Chance;

/// Starts tasks. Cheap to clone.
///
/// In a simulation tasks run on one thread in an order drawn from the seed, and blocking work runs in line, so that the
/// same seed gives the same run.
#[derive(Clone, Debug)]
pub struct Tasks(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real,
    Simulated(Simulated),
}

/// What a simulation knows of its tasks.
#[derive(Clone, Debug)]
struct Simulated {
    chance: Chance,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Progress {
    polls: AtomicU64,
    /// After so many polls no task is polled any more.
    last: u64,
    ended: Notify,
}

impl Tasks {
    /// On the runtime of the calling thread.
    pub fn real() -> Self {
        Self(Kind::Real)
    }

    /// On the runtime of the calling thread, which must have one thread only, in an order drawn from `chance`. After
    /// `polls_max` polls all tasks stand still wherever they are, as if the process had ended there.
    pub fn simulated(chance: Chance, polls_max: u64) -> Self {
        let progress = Progress { polls: AtomicU64::new(0), last: polls_max, ended: Notify::new() };
        Self(Kind::Simulated(Simulated { chance, progress: Arc::new(progress) }))
    }

    /// Starts a task. It ends by itself, or with the runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Kind::Real => drop(tokio::spawn(task)),
            Kind::Simulated(simulated) => drop(tokio::spawn(simulated.clone().shuffled(task))),
        }
    }

    /// Runs what would block the thread for long.
    ///
    /// # Panics
    /// If `work` panics.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match &self.0 {
            Kind::Real => match tokio::task::spawn_blocking(work).await {
                Ok(output) => output,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            Kind::Simulated(_) => work(),
        }
    }

    /// How often simulated tasks were polled: a measure of progress that is the same for the same seed.
    pub fn polls(&self) -> u64 {
        match &self.0 {
            Kind::Real => 0,
            Kind::Simulated(simulated) => simulated.progress.polls.load(Ordering::Relaxed),
        }
    }

    /// Resolves when simulated tasks have come to their end; real ones never do.
    pub async fn ended(&self) {
        match &self.0 {
            Kind::Real => std::future::pending().await,
            Kind::Simulated(simulated) => simulated.progress.ended.notified().await,
        }
    }
}

impl Simulated {
    /// The task, put back behind the others now and then before it may go on.
    async fn shuffled<F: Future<Output = ()>>(self, task: F) {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(move |cx| {
            let progress = &self.progress;
            if progress.polls.fetch_add(1, Ordering::Relaxed) >= progress.last {
                progress.ended.notify_one();
                return Poll::Pending;
            }
            if self.chance.hits(300) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            task.as_mut().poll(cx)
        })
        .await;
    }
}
