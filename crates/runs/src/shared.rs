//! What the bodies of runs and the driver share.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use stride_agents::Engine;
use stride_data::Objects;
use stride_ids::{Address, CellId, Code, Epoch, Failure};
use stride_maps::Caller;
use stride_sim::{Chance, Clock, Tasks};
use tokio::sync::{Notify, Semaphore, watch};

use crate::{afar::Afar, catalog::Catalog, drive, planning::Plans, settings::Settings};

/// What there is once the node runs. Bodies are made before.
pub(crate) struct Surroundings {
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) afar: Arc<dyn Afar>,
    pub(crate) catalog: Arc<dyn Catalog>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) tasks: Tasks,
    pub(crate) plans: Plans,
    /// None before the node runs, and after its runs have stopped: the engine has these runs, so they let go of it.
    surroundings: RwLock<Option<Arc<Surroundings>>>,
    /// The cells whose runs were looked for, each as long as it stays here.
    pub(crate) looked_at: Mutex<HashSet<(CellId, Epoch)>>,
    /// The runs that somebody works on.
    active: Mutex<HashMap<Address, Arc<Signal>>>,
    /// How many those are, for whoever waits for them.
    pub(crate) count: watch::Sender<usize>,
    stopping: AtomicBool,
    /// A permit for each command that is done at the same time.
    pub(crate) room: Arc<Semaphore>,
    /// What is told in [`RunStats`](crate::RunStats).
    pub(crate) calls_sent: AtomicU64,
    pub(crate) calls_taken: AtomicU64,
    /// Wakes those who wait for a run to end.
    pub(crate) ended: Notify,
}

/// Tells whoever works on a run that there may be more to do, or that it is to stop.
#[derive(Default)]
pub(crate) struct Signal {
    touched: AtomicBool,
    forget: AtomicBool,
    stop: AtomicBool,
    changed: Notify,
}

impl Signal {
    fn touch(&self) {
        self.touched.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether there may be more to do than what was looked at before.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_to_be_forgotten(&self) -> bool {
        self.forget.load(Ordering::Acquire)
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings, clock: Clock, chance: Chance, tasks: Tasks) -> Self {
        let room = Arc::new(Semaphore::new(settings.commands_max));
        Self {
            settings,
            clock,
            chance,
            tasks,
            plans: Plans::default(),
            surroundings: RwLock::default(),
            looked_at: Mutex::default(),
            active: Mutex::default(),
            count: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            room,
            calls_sent: AtomicU64::new(0),
            calls_taken: AtomicU64::new(0),
            ended: Notify::new(),
        }
    }

    pub(crate) fn open(&self, surroundings: Surroundings) {
        *self.surroundings.write() = Some(Arc::new(surroundings));
    }

    pub(crate) fn close(&self) {
        *self.surroundings.write() = None;
    }

    /// What there is, while the node runs.
    pub(crate) fn surroundings(&self) -> Result<Arc<Surroundings>, Failure> {
        let none = || Failure::new(Code::Unavailable, "the node starts or stops; try again");
        self.surroundings.read().clone().ok_or_else(none)
    }

    /// Whether somebody here works on a run.
    pub(crate) fn is_active(&self, run: &Address) -> bool {
        self.active.lock().contains_key(run)
    }

    /// There may be something to do for a run.
    pub(crate) fn touch(self: &Arc<Self>, run: &Address) {
        self.rouse(run, false);
    }

    /// A run has been kept long enough.
    pub(crate) fn forget(self: &Arc<Self>, run: &Address) {
        self.rouse(run, true);
    }

    fn rouse(self: &Arc<Self>, run: &Address, forget: bool) {
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        let mut active = self.active.lock();
        let (signal, is_new) = match active.get(run) {
            Some(signal) => (signal.clone(), false),
            None => (Arc::new(Signal::default()), true),
        };
        if forget {
            signal.forget.store(true, Ordering::Release);
        }
        signal.touch();
        if is_new {
            active.insert(run.clone(), signal.clone());
            self.count.send_replace(active.len());
            drop(active);
            let (shared, run) = (self.clone(), run.clone());
            self.tasks.spawn(async move { drive::drive(shared, run, signal).await });
        }
    }

    /// Nobody works on a run any more, unless there is more to do.
    pub(crate) fn leave(&self, run: &Address, signal: &Signal) -> bool {
        let mut active = self.active.lock();
        if signal.touched.load(Ordering::Acquire) && !signal.is_stopped() {
            return false;
        }
        active.remove(run);
        self.count.send_replace(active.len());
        true
    }

    /// Begins nothing new.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.active.lock().values().for_each(|signal| signal.stop());
        self.ended.notify_waiters();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.timestamp()
    }
}
