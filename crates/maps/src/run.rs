//! A map as others see it, and what those share who work on one.

use std::time::Duration;

use stride_ids::{Code, Failure};
use stride_sim::{Backoff, Chance, Clock, Timestamp};
use tokio::sync::watch;

use crate::{
    id::MapId,
    row::{Run, State},
    spec::Spec,
};

/// How long, all in all, an item waits for what is overloaded.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// What is known of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub id: MapId,
    /// What it does.
    pub spec: Spec,
    /// Which version of the function is called; none for a map that began before that was kept.
    pub version: Option<String>,
    /// How far it is.
    pub state: State,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many items are planned.
    pub items: u64,
    /// There are no more items to come.
    pub is_planned: bool,
    /// How many items have a result, the failed ones included.
    pub done: u64,
    /// How many of them failed, by why.
    pub failed: Vec<(Code, u64)>,
    /// How many bytes of results are kept with the map.
    pub bytes: u64,
    /// For how many of the items with a result a second call was begun, because the first took far longer than others.
    pub hedged: u64,
    /// How many of the results were known from earlier calls.
    pub memoised: u64,
}

impl Status {
    pub(crate) fn new(id: MapId, run: Run) -> Self {
        let Run { spec, versions, state, created_at, ended_at, items, is_planned, .. } = run;
        let Run { done, mut failed, bytes, hedged, memoised, .. } = run;
        let version = versions.function;
        // In which order they came is chance.
        failed.sort_by_key(|(code, _)| code.as_str());
        Self {
            id,
            spec,
            version,
            state,
            created_at,
            ended_at,
            items,
            is_planned,
            done,
            failed,
            bytes,
            hedged,
            memoised,
        }
    }
}

/// Tells those who work on a map to stop, and those who watch it how far it is.
pub(crate) struct Signal {
    stop: watch::Sender<bool>,
    recorded: watch::Sender<u64>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { stop: watch::Sender::new(false), recorded: watch::Sender::new(0) }
    }

    /// Nothing new begins from now on.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) async fn stopped(&self) {
        // The sender is part of this, so it cannot be gone.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Wakes those who watch.
    pub(crate) fn note(&self) {
        self.recorded.send_modify(|count| *count += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.recorded.subscribe()
    }
}

/// Tries again what was refused only for now.
pub(crate) struct Patience {
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) signal: std::sync::Arc<Signal>,
}

impl Patience {
    /// Does something until it is not refused for now, for [`WAIT_MAX`] at most; none if the map is stopped meanwhile.
    pub(crate) async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Option<Result<T, Failure>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (mut backoff, mut waited) = (Backoff::default(), Duration::ZERO);
        loop {
            match attempt().await {
                Err(Failure { code: Code::Overloaded | Code::Unavailable, .. }) if waited < WAIT_MAX => {}
                outcome => return Some(outcome),
            }
            let pause = backoff.next(&self.chance);
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = self.signal.stopped() => return None,
            }
            waited += pause;
        }
    }
}
