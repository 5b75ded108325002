//! The beat: says that this node is alive, finds out what is new, and has done what follows from it.
//!
//! It takes no input, looks at the tables and at what the engine owns, and does the same thing every time; a nudge only makes it
//! sooner. It runs on a thread of its own, so that no work of users delays it; what takes long (acquiring, releasing) runs
//! beside it on the node's runtime, one task for a cell at a time, and is begun again until the world is as it is wanted.
//!
//! Always true: the lease is extended only by an answer that says that this node is alive, and counts from before that was asked
//! for. Who was declared dead ends its lease, waits for what is on its way, drops all its cells, and only then joins again.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_ids::{CellId, DatabaseId, Epoch, Failure};
use stride_sim::Clock;
use tokio::{
    runtime::{self, Handle},
    sync::{Notify, oneshot, watch},
};

use self::{pass::Pass, retries::Retries};
use crate::{Error, Labels, Lease, Load, Map, NodeName, NodeSpec, Tables};

mod pass;
mod retries;
mod steady;

/// How often a node says that it is alive.
const EVERY: Duration = Duration::from_millis(300);
/// How long it counts as alive after that, by the database's clock.
const LEASE: Duration = Duration::from_millis(1_500);
/// How long one call to the tables may take: the next one has to be in time for the lease.
const CALL_MAX: Duration = Duration::from_millis(600);
/// How long joining is tried while the tables do not answer.
const JOIN_MAX: Duration = Duration::from_secs(30);
/// How many cells are released or brought to other databases at a time: each of them pauses for its requests.
const RELEASES_MAX: usize = 4;

/// What the beat has done to cells: an engine.
pub trait Cells: Send + Sync + 'static {
    /// What is owned, with the epoch of each.
    fn owned(&self) -> Vec<(CellId, Epoch)>;

    /// Takes cells over that nobody who lives has, if they still have these epochs (see
    /// [`Journal::open_at`](stride_journal::Journal::open_at)). Those that somebody else has taken are passed over.
    fn acquire(&self, cells: Vec<Takeover>) -> BoxFuture<'_, Result<(), Failure>>;

    /// Gives a cell up, and tells the node that is to have it, if there is one.
    fn release(&self, cell: CellId, to: Option<NodeName>) -> BoxFuture<'_, Result<(), Failure>>;

    /// Brings the tail of a cell to another database: the cell is given up meanwhile, and acquired again by the beat. It stays as it is
    /// if that database does not answer.
    fn rehome(&self, cell: CellId, to: DatabaseId) -> BoxFuture<'_, Result<(), Failure>>;

    /// Forgets a cell at once: somebody else has it, or may have it any moment.
    fn lose(&self, cell: CellId);

    /// How much there is to do.
    fn load(&self) -> Load;
}

/// A cell that is to be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The cell.
    pub cell: CellId,
    /// At which nobody who lives has it.
    pub epoch: Epoch,
    /// What its owner before said that its agents' data demands: true until this one knows better.
    pub labels: Labels,
}

/// Why a beat ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Left,
    /// Another node has this one's name: this one has nothing any more, and is to end.
    Replaced,
}

/// A node's membership, for as long as this is kept. Dropping it stops the beat without a word, as a kill does.
pub struct Beat(Arc<Shared>);

/// What the beat shares with those who use it.
struct Shared {
    spec: NodeSpec,
    tables: Arc<dyn Tables>,
    cells: Arc<dyn Cells>,
    clock: Clock,
    /// Where cells are acquired and released.
    work: Handle,
    lease: Arc<Lease>,
    map: watch::Sender<Arc<Map>>,
    deployments: watch::Sender<u64>,
    deployed: AtomicU64,
    /// This node had the lease for reconciling with its last pass.
    reconciles: AtomicBool,
    draining: AtomicBool,
    stopping: AtomicBool,
    nudge: Notify,
    /// Counts the passes.
    passes: watch::Sender<u64>,
    ended: watch::Sender<Option<Ended>>,
    /// The cells that are being acquired or released.
    busy: Mutex<Busy>,
    idle: Notify,
}

#[derive(Default)]
struct Busy {
    cells: BTreeSet<CellId>,
    releases: usize,
    acquires: Retries,
    rehomes: Retries,
}

impl Beat {
    /// Joins, and beats on a thread of its own from then on. Cells are acquired and released on the calling runtime.
    ///
    /// The tables are best used by nobody else: their connection lives on that thread.
    ///
    /// # Errors
    /// [`Error::NameInUse`] if another node of this name is alive, [`Error::Unavailable`] if the tables do not answer for half a
    /// minute, and [`Error::Unfit`].
    pub async fn start(
        spec: NodeSpec,
        tables: Arc<dyn Tables>,
        cells: Arc<dyn Cells>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let shared = Shared::new(spec, tables, cells, clock);
        let (send, joined) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let refused = |e: std::io::Error| Error::Unfit(format!("the beat cannot be started on this machine: {e}"));
        let (runtime, live) = (runtime.map_err(refused)?, shared.clone().live(send));
        std::thread::Builder::new()
            .name("cluster-beat".into())
            .spawn(move || runtime.block_on(live))
            .map_err(refused)?;
        Self::joined(shared, joined).await
    }

    /// The same on the calling runtime, for simulations.
    ///
    /// # Errors
    /// As [`Beat::start`].
    pub async fn start_within(
        spec: NodeSpec,
        tables: Arc<dyn Tables>,
        cells: Arc<dyn Cells>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let shared = Shared::new(spec, tables, cells, clock);
        let (send, joined) = oneshot::channel();
        shared.work.spawn(shared.clone().live(send));
        Self::joined(shared, joined).await
    }

    async fn joined(shared: Arc<Shared>, joined: oneshot::Receiver<Result<(), Error>>) -> Result<Self, Error> {
        // Dropped, and so told to stop, if it did not join or nobody waits for it any more.
        let beat = Self(shared);
        joined.await.unwrap_or_else(|_| Err(Error::Unfit("the beat has ended".into())))?;
        Ok(beat)
    }

    /// Until when this node may answer.
    pub fn lease(&self) -> Arc<Lease> {
        self.0.lease.clone()
    }

    /// Who owns what, as it was seen last.
    pub fn map(&self) -> Arc<Map> {
        self.0.map.borrow().clone()
    }

    /// The same, and when it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Map>> {
        self.0.map.subscribe()
    }

    /// The number of the newest deployment, and when it changes.
    pub fn deployments(&self) -> watch::Receiver<u64> {
        self.0.deployments.subscribe()
    }

    /// Everything up to this deployment is loaded: the others are told with the next beat.
    pub fn deployed(&self, number: u64) {
        self.0.deployed.fetch_max(number, Ordering::Relaxed);
        self.0.nudge.notify_one();
    }

    /// Whether this node is the one that reconciles, as it was with the last pass. Another one may be by now.
    pub fn reconciles(&self) -> bool {
        self.0.reconciles.load(Ordering::Relaxed)
    }

    /// Looks at the tables now: somebody said that something has changed.
    pub fn look_now(&self) {
        self.0.nudge.notify_one();
    }

    /// Gives all cells to others, for at most `limit`, and leaves.
    pub async fn drain(&self, limit: Duration) {
        let shared = &self.0;
        shared.draining.store(true, Ordering::Relaxed);
        shared.nudge.notify_one();
        let mut passes = shared.passes.subscribe();
        let empty = async {
            while !(shared.cells.owned().is_empty() && shared.busy.lock().cells.is_empty()) {
                if passes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            drained = shared.clock.timeout(limit, empty) => if drained.is_err() {
                tracing::warn!("not all cells were given to other nodes within {limit:?}; they take them over");
            },
            _ = self.ended() => {}
        }
        shared.stop();
        self.ended().await;
    }

    /// Waits until the beat has ended.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.0.ended.subscribe();
        // The sender is as old as this.
        ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended).unwrap_or(Ended::Left)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.draining.store(false, Ordering::Relaxed);
        self.0.stop();
    }
}

impl Shared {
    fn new(spec: NodeSpec, tables: Arc<dyn Tables>, cells: Arc<dyn Cells>, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            spec,
            tables,
            cells,
            clock,
            work: Handle::current(),
            lease: Arc::new(Lease::new()),
            map: watch::Sender::default(),
            deployments: watch::Sender::default(),
            deployed: AtomicU64::new(0),
            reconciles: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            nudge: Notify::new(),
            passes: watch::Sender::default(),
            ended: watch::Sender::default(),
            busy: Mutex::default(),
            idle: Notify::new(),
        })
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.nudge.notify_one();
    }

    async fn live(self: Arc<Self>, joined: oneshot::Sender<Result<(), Error>>) {
        let outcome = self.join().await;
        let inside = outcome.is_ok();
        // Who does not wait any more has dropped the beat, which stops it.
        let _ = joined.send(outcome);
        if !inside {
            return;
        }
        let ended = self.run().await;
        self.lease.end();
        let leaves = self.draining.load(Ordering::Relaxed) && ended == Ended::Left;
        if leaves && let Err(error) = self.call(self.tables.leave(self.spec.incarnation)).await {
            tracing::warn!(%error, "the other nodes find out that this one has left when its lease is over");
        }
        self.ended.send_replace(Some(ended));
    }

    /// Joins, also when the name is still in use: it may be by this node before it was started again.
    async fn join(&self) -> Result<(), Error> {
        let began = self.clock.now();
        loop {
            let error = match self.call(self.tables.join(&self.spec, LEASE)).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let patience = match error {
                Error::NameInUse { .. } => LEASE + EVERY,
                Error::Unavailable(_) => JOIN_MAX,
                _ => return Err(error),
            };
            if self.clock.now() - began > patience || self.stopping.load(Ordering::Relaxed) {
                return Err(error);
            }
            self.clock.sleep(EVERY).await;
        }
    }

    async fn run(self: &Arc<Self>) -> Ended {
        let (mut pass, mut failing) = (Pass::default(), false);
        while !self.stopping.load(Ordering::Relaxed) {
            match pass.make(self).await {
                Ok(()) => failing = false,
                Err(Error::Dead) => match self.come_back().await {
                    Ok(()) => pass = Pass::default(),
                    Err(Error::NameInUse { .. } | Error::Replaced) => return Ended::Replaced,
                    Err(error) => tracing::warn!(%error, "joining again failed; it is tried again"),
                },
                Err(Error::Replaced) => {
                    self.give_up().await;
                    return Ended::Replaced;
                }
                Err(error) => {
                    self.reconciles.store(false, Ordering::Relaxed);
                    pass.interrupted();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "this node answers only until its lease is over; it is tried again");
                    }
                }
            }
            self.passes.send_modify(|passes| *passes += 1);
            // Whichever comes first.
            let _ = self.clock.timeout(EVERY, self.nudge.notified()).await;
        }
        Ended::Left
    }

    /// This node was declared dead: others may have its cells by now.
    async fn come_back(&self) -> Result<(), Error> {
        tracing::warn!(
            "this node was declared dead because it was silent for longer than its lease; it gives up its cells"
        );
        self.give_up().await;
        self.join().await
    }

    async fn give_up(&self) {
        self.lease.end();
        // What is being acquired may have been ours before, and may not be any more.
        loop {
            let idle = self.idle.notified();
            if self.busy.lock().cells.is_empty() {
                break;
            }
            idle.await;
        }
        for (cell, _) in self.cells.owned() {
            self.cells.lose(cell);
        }
    }

    /// One call to the tables, for a limited time.
    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let late = |_| Error::Unavailable(format!("no answer within {CALL_MAX:?}"));
        self.clock.timeout(CALL_MAX, call).await.map_err(late)?
    }
}
