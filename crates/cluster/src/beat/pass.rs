//! One pass of the beat.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use stride_ids::{CellId, DatabaseId, Failure};

use super::{Busy, LEASE, RELEASES_MAX, Shared, Takeover, steady::Steady};
use crate::{
    Load, NodeName, assign,
    steps::{Steps, steps},
    tables::{CellRow, Error, News, Pulse, World},
};

/// After how many passes the sizes of cells are told, and who reconciles looks at all of them again: about ten seconds.
const PASSES_PER_SIZES: u64 = 32;

/// How many cells are moved at most each time that only what they hold and do has changed, and not who is there.
const MOVES_MAX: usize = 16;

/// What one pass hands on to the next.
#[derive(Default)]
pub(super) struct Pass {
    number: u64,
    /// What there was when `world` was read; none before that.
    known: Option<News>,
    world: World,
    steady: Steady,
    /// Something has changed since this node has decided last who is to own what.
    undecided: bool,
    /// Which nodes and which decisions there were when all had about their share.
    even: Option<(u64, u64)>,
}

impl Pass {
    /// Beats, looks, reconciles if it is this node's turn, and has done what follows.
    pub(super) async fn make(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        let with_sizes = self.number.is_multiple_of(PASSES_PER_SIZES);
        let news = self.beat(shared, with_sizes).await?;
        self.number += 1;
        let changed = self.known.is_none_or(|known| !known.same_world(&news));
        if changed {
            self.look(shared, news).await?;
        }
        self.undecided |= changed || with_sizes;
        self.reconcile(shared, news, with_sizes).await?;
        self.act(shared);
        Ok(())
    }

    /// A pass was not made.
    pub(super) fn interrupted(&mut self) {
        self.steady.interrupted();
    }

    async fn beat(&mut self, shared: &Shared, with_sizes: bool) -> Result<News, Error> {
        use std::sync::atomic::Ordering::Relaxed;

        let load = shared.cells.load();
        let pulse = Pulse {
            incarnation: shared.spec.incarnation,
            draining: shared.draining.load(Relaxed),
            cells: u32::try_from(shared.cells.owned().len()).unwrap_or(u32::MAX),
            bytes: load.bytes(),
            deployed: shared.deployed.load(Relaxed),
            load: if with_sizes { load } else { Load { cells: Vec::new(), ..load } },
        };
        let sent = shared.clock.now();
        let news = shared.call(shared.tables.beat(&pulse)).await?;
        // Nobody takes a cell from a node that lives. So it is enough to know that this one does.
        shared.lease.extend(sent, LEASE);
        self.steady.heard(shared.clock.now(), news.now);
        shared.deployments.send_if_modified(|known| std::mem::replace(known, news.deployments) != news.deployments);
        Ok(news)
    }

    async fn look(&mut self, shared: &Shared, news: News) -> Result<(), Error> {
        self.world = shared.call(shared.tables.world()).await?;
        self.known = Some(news);
        shared.map.send_replace(Arc::new(self.world.map()));
        Ok(())
    }

    async fn reconcile(&mut self, shared: &Shared, news: News, with_sizes: bool) -> Result<(), Error> {
        let (me, judge) = (shared.spec.incarnation, self.steady.may_judge(shared.clock.now()));
        let judged = shared.call(shared.tables.reconcile(me, LEASE, judge)).await?;
        shared.reconciles.store(judged.is_some(), std::sync::atomic::Ordering::Relaxed);
        match judged {
            Some(judged) if judged > 0 || self.undecided => {}
            _ => return Ok(()),
        }
        // Somebody was declared dead, or sizes have changed.
        self.look(shared, news).await?;
        let seen = (news.nodes, self.world.version);
        let moves_max = match self.even == Some(seen) {
            false => usize::MAX,
            true if with_sizes => MOVES_MAX,
            true => 0,
        };
        let changes = assign(&self.world, moves_max);
        self.undecided = !changes.is_empty();
        if changes.is_empty() {
            self.even = Some(seen);
            return Ok(());
        }
        if shared.call(shared.tables.want(me, self.world.version, &changes)).await? {
            if moves_max == MOVES_MAX {
                // The next ones have to be shown by newer figures.
                self.even = Some((news.nodes, self.world.version + 1));
            }
            tracing::info!(cells = changes.len(), first = %changes[0].why, "cells are to be owned by others");
        }
        // Whether or not it was written, the world is another one.
        shared.nudge.notify_one();
        Ok(())
    }

    /// Begins what follows from the world.
    fn act(&self, shared: &Arc<Shared>) {
        let draining = shared.draining.load(std::sync::atomic::Ordering::Relaxed);
        let owned = shared.cells.owned();
        let Steps { acquire, release, rehome, lose } = {
            let mut busy = shared.busy.lock();
            let Busy { cells, acquires, rehomes, .. } = &mut *busy;
            let (steps, now) =
                (steps(&self.world, shared.spec.incarnation, &owned, cells, draining), shared.clock.now());
            let acquire = acquires.due(steps.acquire, |cell| cells.contains(&cell), now);
            let rehome = rehomes.due(steps.rehome, |cell| cells.contains(&cell), now);
            Steps { acquire, rehome, ..steps }
        };
        for cell in lose {
            tracing::warn!(%cell, "another node has taken this cell over");
            shared.cells.lose(cell);
        }
        // One task for each database: one that is away holds up nobody else.
        let mut by_database: BTreeMap<DatabaseId, Vec<Takeover>> = BTreeMap::new();
        for (cell, epoch) in acquire {
            let known = |row: &CellRow| (row.database, row.labels.clone());
            let (database, labels) = self.world.cells.get(usize::from(cell.0)).map(known).unwrap_or_default();
            by_database.entry(database).or_default().push(Takeover { cell, epoch, labels });
        }
        for cells in by_database.into_values() {
            acquire_all(shared, cells);
        }
        let room = || RELEASES_MAX.saturating_sub(shared.busy.lock().releases);
        for (cell, to) in release.into_iter().take(room()) {
            release_one(shared, cell, to);
        }
        for (cell, to) in rehome.into_iter().take(room()) {
            rehome_one(shared, cell, to);
        }
    }
}

fn acquire_all(shared: &Arc<Shared>, cells: Vec<Takeover>) {
    let begun = Begun::new(shared, cells.iter().map(|takeover| takeover.cell).collect(), 0);
    shared.work.spawn(async move {
        let done = begun.shared.cells.acquire(cells).await;
        if done.is_err() {
            let owned: BTreeSet<_> = begun.shared.cells.owned().into_iter().map(|(cell, _)| cell).collect();
            let failed = begun.cells.difference(&owned).copied();
            begun.shared.busy.lock().acquires.failed(failed, begun.shared.clock.now());
        }
        begun.end(done, "cells cannot be acquired");
    });
}

fn release_one(shared: &Arc<Shared>, cell: CellId, to: Option<NodeName>) {
    let begun = Begun::new(shared, BTreeSet::from([cell]), 1);
    shared.work.spawn(async move {
        let done = begun.shared.cells.release(cell, to).await;
        begun.end(done, "a cell cannot be released");
    });
}

fn rehome_one(shared: &Arc<Shared>, cell: CellId, to: DatabaseId) {
    let begun = Begun::new(shared, BTreeSet::from([cell]), 1);
    shared.work.spawn(async move {
        let done = begun.shared.cells.rehome(cell, to).await;
        if done.is_err() {
            begun.shared.busy.lock().rehomes.failed([cell], begun.shared.clock.now());
        }
        begun.end(done, "a cell cannot be brought to another database");
    });
}

/// Cells that are being acquired or released, until this is dropped.
struct Begun {
    shared: Arc<Shared>,
    cells: BTreeSet<CellId>,
    releases: usize,
}

impl Begun {
    fn new(shared: &Arc<Shared>, cells: BTreeSet<CellId>, releases: usize) -> Self {
        let mut busy = shared.busy.lock();
        busy.cells.extend(&cells);
        busy.releases += releases;
        drop(busy);
        Self { shared: shared.clone(), cells, releases }
    }

    /// What went well is looked at now; what did not is begun again with the next beat.
    fn end(self, done: Result<(), Failure>, what: &str) {
        let shared = self.shared.clone();
        drop(self);
        match done {
            Ok(()) => shared.nudge.notify_one(),
            Err(failure) => tracing::warn!(%failure, "{what}; it is tried again"),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut busy = self.shared.busy.lock();
        busy.cells.retain(|cell| !self.cells.contains(cell));
        busy.releases -= self.releases;
        drop(busy);
        self.shared.idle.notify_waiters();
    }
}
