//! Tells the other nodes, again and again, what this one has to do and has in its caches: what placement decides by.
//!
//! A report that is lost or late does no harm but that work goes elsewhere. So nobody waits for one, and none is sent twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use stride_cluster::NodeName;
use stride_data::Objects;
use stride_ids::Incarnation;
use stride_runtime::{Functions, Ran};
use stride_sim::{Clock, Tasks};
use tokio::sync::watch;

use super::switchboard::{Switchboard, encoded, services};

/// How often.
const EVERY: Duration = Duration::from_millis(200);
/// In every which report the caches are told, if they have changed, and how long functions run.
const REPORTS_PER_SKETCH: u64 = 5;

/// See the module.
pub(super) struct Herald {
    pub(super) functions: Arc<Functions>,
    pub(super) objects: Arc<Objects>,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) leaving: Arc<AtomicBool>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    /// What each start of a node has been told of the caches, and whether it is being told something.
    pub(super) told: Mutex<HashMap<Incarnation, Told>>,
}

/// How far a node is told.
#[derive(Default)]
pub(super) struct Told {
    /// How often the caches had changed.
    caches: Option<u64>,
    is_busy: bool,
}

impl Herald {
    /// Until the node ends.
    pub(super) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut round = 0;
        while self.clock.timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_err() {
            self.tell_all(round);
            round += 1;
        }
    }

    /// Begins to tell those that have taken what they were told before.
    fn tell_all(self: &Arc<Self>, round: u64) {
        let others = self.switchboard.others();
        let ran = if round.is_multiple_of(REPORTS_PER_SKETCH) { self.functions.ran() } else { Vec::new() };
        let mut told = self.told.lock();
        told.retain(|incarnation, _| others.iter().any(|(_, other)| other == incarnation));
        for (node, incarnation) in others {
            let told = told.entry(incarnation).or_default();
            if !std::mem::replace(&mut told.is_busy, true) {
                let caches = Some(self.objects.sketched());
                let is_news =
                    told.caches.is_none() || (round.is_multiple_of(REPORTS_PER_SKETCH) && told.caches != caches);
                self.tasks.spawn(self.clone().tell(node, incarnation, caches.filter(|_| is_news), ran.clone()));
            }
        }
    }

    async fn tell(self: Arc<Self>, node: NodeName, incarnation: Incarnation, caches: Option<u64>, ran: Vec<Ran>) {
        let is_open = !self.leaving.load(Ordering::Relaxed);
        let outcome = match self.functions.report(is_open, caches.is_some(), ran) {
            Ok(report) => self.switchboard.call_node::<()>(&node, services::REPORT, encoded(&report)).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &outcome {
            tracing::debug!(%node, %failure, "a node was not told how busy this one is");
        }
        if let Some(told) = self.told.lock().get_mut(&incarnation) {
            told.is_busy = false;
            if outcome.is_ok() && caches.is_some() {
                told.caches = caches;
            }
        }
    }
}
