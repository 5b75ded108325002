//! Tasks side by side, with back-pressure from end to end: who finds tasks waits for workers, and workers wait for whoever
//! takes note of their outcomes. Many outcomes are taken note of at once.

use std::{sync::Arc, time::Duration};

use stride_ids::Failure;
use stride_sim::{Clock, Tasks};
use tokio::sync::{Mutex, mpsc};

use crate::run::Signal;

/// How many outcomes are taken note of at once, how many bytes they have, and how long the first waits for others.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_WAIT: Duration = Duration::from_millis(5);

/// What is done with tasks of one kind.
pub(crate) trait Work: Send + Sync + 'static {
    type Task: Send + 'static;
    type Outcome: Send + 'static;
    /// How many tasks may be found ahead.
    const AHEAD: usize;

    /// Finds tasks, until there are no more or nobody takes them.
    fn feed(&self, tasks: mpsc::Sender<Self::Task>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Does one task; none if it was stopped before it came to anything.
    fn run(&self, task: Self::Task) -> impl Future<Output = Option<Self::Outcome>> + Send;

    /// How many bytes an outcome has.
    fn weight(outcome: &Self::Outcome) -> usize;

    /// Takes note of outcomes. After a failure nothing more is done.
    fn record(&self, outcomes: Vec<Self::Outcome>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Does all tasks, `width` at a time, until there are no more or `signal` says stop. What has begun is finished.
///
/// # Errors
/// Whatever finding tasks or taking note of outcomes failed with.
pub(crate) async fn run<W: Work>(
    work: &Arc<W>,
    width: usize,
    signal: &Arc<Signal>,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<(), Failure> {
    let (found, queue) = mpsc::channel(W::AHEAD);
    let (done, mut outcomes) = mpsc::channel(BATCH);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..width.max(1) {
        tasks.spawn(worker(work.clone(), queue.clone(), done.clone(), signal.clone()));
    }
    drop((queue, done));
    let record = async {
        // Owned here, so that after a failure nobody can send any more and everything ends.
        let outcomes = &mut outcomes;
        while let Some(batch) = next_batch::<W>(outcomes, clock).await {
            if let Err(failure) = work.record(batch).await {
                outcomes.close();
                while outcomes.recv().await.is_some() {}
                return Err(failure);
            }
            signal.note();
        }
        Ok(())
    };
    let (fed, recorded) = futures::join!(work.feed(found), record);
    recorded.and(fed)
}

async fn worker<W: Work>(
    work: Arc<W>,
    queue: Arc<Mutex<mpsc::Receiver<W::Task>>>,
    done: mpsc::Sender<W::Outcome>,
    signal: Arc<Signal>,
) {
    while !signal.is_stopped() {
        let next = async { queue.lock().await.recv().await };
        let task = tokio::select! {
            task = next => task,
            () = signal.stopped() => None,
        };
        let Some(task) = task else { return };
        // Whoever waited for the queue was woken by this worker, so it sits where only this thread looks for work. A call
        // that computes would keep it from all other threads.
        tokio::task::yield_now().await;
        let Some(outcome) = work.run(task).await else { return };
        if done.send(outcome).await.is_err() {
            return;
        }
    }
}

/// The next outcomes; none if there will be no more.
async fn next_batch<W: Work>(outcomes: &mut mpsc::Receiver<W::Outcome>, clock: &Clock) -> Option<Vec<W::Outcome>> {
    let first = outcomes.recv().await?;
    clock.sleep(BATCH_WAIT).await;
    let mut bytes = W::weight(&first);
    let mut batch = vec![first];
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Ok(outcome) = outcomes.try_recv() else { break };
        bytes += W::weight(&outcome);
        batch.push(outcome);
    }
    Some(batch)
}
