//! What the beat has done to the cells of this node, and where their snapshots are.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_agents::Engine;
use stride_cluster::{CellLoad, Cells, Load, NodeName, Takeover};
use stride_data::Objects;
use stride_ids::{CellId, Code, DatabaseId, Epoch, Failure, Seq, with_causes};
use stride_journal::postgres::PostgresJournal;
use stride_sim::Tasks;
use stride_snapshots::Snapshots;
use stride_store::Store;
use tokio::runtime::Handle;

use super::switchboard::{Switchboard, encoded, services};

/// See the module.
pub(super) struct Keeper {
    pub(super) engine: Arc<Engine>,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) objects: Arc<Objects>,
    pub(super) sizes: Sizes,
    /// Brings tails from one database to another.
    pub(super) tails: Arc<PostgresJournal>,
    /// The node's runtime: the beat has one of its own, where none of the engine's tasks may run.
    pub(super) runtime: Handle,
}

impl Cells for Keeper {
    fn owned(&self) -> Vec<(CellId, Epoch)> {
        self.engine.owned()
    }

    fn acquire(&self, cells: Vec<Takeover>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let begin = |Takeover { cell, epoch, labels }| {
                self.objects.demands().begin(cell, labels);
                (cell, epoch)
            };
            let cells = cells.into_iter().map(begin).collect();
            let refused = |e: stride_agents::OpenError| Failure::new(Code::Unavailable, with_causes(&e));
            self.engine.acquire(cells).await.map_err(refused)
        })
    }

    fn release(&self, cell: CellId, to: Option<NodeName>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            if let Some(to) = &to {
                // Both only make the pause short: without them the next owner has more to fetch and to replay.
                let ready = async {
                    self.engine.prepare_release(cell).await?;
                    self.switchboard.call_node::<()>(to, services::PREPARE, encoded(&cell)).await
                };
                if let Err(failure) = ready.await {
                    tracing::warn!(%cell, %to, %failure, "the next owner of a cell could not be prepared; the move takes longer");
                }
            }
            self.engine.release(cell).await?;
            let used = self.objects.warmth().take(cell);
            if let Some(to) = &to {
                // Otherwise it finds out with its next beat.
                let _ = self.switchboard.call_node::<()>(to, services::LOOK, encoded(&())).await;
                if !used.is_empty() {
                    // And otherwise its agents wait for what they read.
                    let _ = self.switchboard.call_node::<()>(to, services::WARM, encoded(&used)).await;
                }
            }
            Ok(())
        })
    }

    fn rehome(&self, cell: CellId, to: DatabaseId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let (tails, refused) =
                (self.tails.clone(), |e: stride_journal::Error| Failure::new(Code::Unavailable, with_causes(&e)));
            // Looked at before the cell pauses.
            Tasks::real().blocking(move || tails.reach(to)).await.map_err(refused)?;
            if let Err(failure) = self.engine.prepare_release(cell).await {
                tracing::warn!(%cell, %failure, "no snapshot of a cell could be made before its tail is moved; that takes longer");
            }
            self.engine.release(cell).await?;
            let tails = self.tails.clone();
            Tasks::real().blocking(move || tails.move_tail(cell, to)).await.map_err(refused)
        })
    }

    fn lose(&self, cell: CellId) {
        let _runtime = self.runtime.enter();
        self.engine.lose(cell);
        drop(self.objects.warmth().take(cell));
    }

    fn load(&self) -> Load {
        let stats = self.engine.stats();
        // Of a cell that was not saved here yet the tables keep what its last owner said.
        let sizes = self.sizes.lock();
        let load = |(cell, busy)| {
            let labels = self.objects.demands().of(cell);
            CellLoad { cell, bytes: sizes.get(&cell).copied(), busy, labels }
        };
        let cells = self.engine.busy().into_iter().map(load).collect();
        Load { agents: stats.live, queue: stats.waiting, cells }
    }
}

/// How large the snapshot of each cell is that was saved here, in bytes: as good as the size of its state for deciding where it
/// goes.
pub(super) type Sizes = Arc<Mutex<BTreeMap<CellId, u64>>>;

/// Snapshots as the engine wants them.
pub(super) struct Kept {
    pub(super) snapshots: Snapshots,
    pub(super) store: Arc<Store>,
    pub(super) sizes: Sizes,
}

impl stride_agents::Snapshots for Kept {
    fn restore(&self, cell: CellId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.snapshots.load(&self.store, cell, Seq::ZERO).await.map_err(|e| unavailable(&e))?;
            Ok(())
        })
    }

    fn keep(&self, cell: CellId, epoch: Epoch) -> BoxFuture<'_, Result<Seq, Failure>> {
        Box::pin(async move {
            let saved = self.snapshots.save(&self.store, cell, epoch).await.map_err(|e| unavailable(&e))?;
            self.sizes.lock().insert(cell, saved.size);
            // A new base has made the files before it superfluous.
            if saved.bytes > 0
                && saved.files == 1
                && let Err(error) = self.snapshots.sweep(cell).await
            {
                tracing::warn!(%cell, error = with_causes(&error), "old files of a snapshot stay; the next sweep tries again");
            }
            Ok(saved.position)
        })
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Unavailable, with_causes(error))
}
