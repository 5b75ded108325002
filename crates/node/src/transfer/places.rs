//! Both sides of a transfer, opened and held.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use stride_agents::{Offline, Tally};
use stride_cluster::{PostgresTables, State};
use stride_data::{Location, Owner, Storage};
use stride_ids::{CELLS_CLUSTER, CellId, Incarnation};
use stride_journal::{
    embedded::{self, Look},
    postgres::{self, PostgresJournal},
};
use stride_sim::{Chance, Clock, Tasks, disk::RealDisk};
use stride_snapshots::Snapshots;
use stride_store::Store;

use super::TransferError;
use crate::{DatabaseUrl, catalog::deployed_types, identity::Identity, node::environment};

/// How many cells are written or read at the same time.
pub(super) const AT_ONCE: usize = 8;

/// How long a node may seem to live that does not. Leases are shorter.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A data directory on which no node runs, for as long as this lives.
pub(super) struct Alone {
    pub(super) dir: PathBuf,
    pub(super) identity: Identity,
    pub(super) agents: Offline,
    _held: Look,
}

impl Alone {
    /// Verifies a directory and holds it.
    pub(super) fn open(dir: &Path) -> Result<Self, TransferError> {
        let identity = identity_of(dir)?;
        let (journal, store) = (dir.join("journal"), dir.join("store"));
        let held = |e| match e {
            stride_journal::Error::InUse { .. } => TransferError::Running { dir: dir.into() },
            stride_journal::Error::Damaged { .. } => TransferError::Damaged { dir: dir.into(), what: e.to_string() },
            other => TransferError::Journal(other),
        };
        let damaged = |what: String| TransferError::Damaged { dir: dir.into(), what };
        if let Some(damage) = embedded::check(&RealDisk, &journal).map_err(held)?.damage {
            return Err(damaged(format!("its journal: {damage}")));
        }
        let report = stride_store::check(&store).map_err(|e| match e {
            stride_store::Error::Locked { .. } => TransferError::Running { dir: dir.into() },
            other => damaged(other.to_string()),
        })?;
        if !report.damage.is_empty() || !report.orphans.is_empty() {
            return Err(damaged(report.to_string()));
        }
        let look = Look::at(&RealDisk, &journal).map_err(held)?;
        let types =
            deployed_types(dir, look.cells()).map_err(|source| TransferError::Io { path: dir.into(), source })?;
        let agents = Offline::open(&look, &store, &types)?;
        Ok(Self { dir: dir.into(), identity, agents, _held: look })
    }
}

/// Who a node is that has its journal in its directory.
pub(super) fn identity_of(dir: &Path) -> Result<Identity, TransferError> {
    let identity = Identity::read(dir).map_err(|source| TransferError::Io { path: dir.into(), source })?;
    let nothing = || TransferError::NotData { dir: dir.into() };
    let identity = identity.ok_or_else(nothing)?;
    if let Some(cluster) = identity.cluster.clone() {
        let source = crate::WrongJournal::InDatabase { cluster };
        return Err(TransferError::WrongJournal { dir: dir.into(), source });
    }
    if dir.join("journal").is_dir() { Ok(identity) } else { Err(nothing()) }
}

/// A cluster, as nodes reach it, but without being one.
pub(super) struct Shared {
    /// Its name.
    pub(super) name: String,
    pub(super) journal: Arc<PostgresJournal>,
    pub(super) incarnation: Incarnation,
    pub(super) tables: PostgresTables,
    pub(super) storage: Storage,
    pub(super) snapshots: Snapshots,
    clock: Clock,
}

impl Shared {
    /// Opens a cluster, under a name that tells what is tried out in the object store from what others try.
    pub(super) async fn open(cluster: &DatabaseUrl, objects: &Location, by: &str) -> Result<Self, TransferError> {
        let (clock, chance) = (Clock::real(), Chance::from_os());
        let incarnation = Incarnation::of_bits(chance.next_u64());
        let settings = postgres::Settings { url: cluster.0.clone(), cells: CELLS_CLUSTER, incarnation };
        let seams = (clock.clone(), chance.clone());
        let journal = Tasks::real().blocking(move || PostgresJournal::open(settings, seams.0, seams.1)).await?;
        let name = journal.cluster().to_owned();
        let owner = Owner::cluster(name.clone(), by);
        let storage = Storage::open(objects, &environment(), &owner, clock.clone(), Tasks::real()).await?;
        let snapshots = Snapshots::new(storage.beside("snapshots"), clock.clone(), chance, Tasks::real());
        let tables = PostgresTables::new(&cluster.0)?;
        Ok(Self { name, journal: Arc::new(journal), incarnation, tables, storage, snapshots, clock })
    }

    /// How the cluster stands without nodes. One that was killed, or that a restored database remembers, seems to live until
    /// its lease ends, which is waited for; one that runs goes on.
    ///
    /// # Errors
    /// [`TransferError::NodesRun`].
    pub(super) async fn without_nodes(&self) -> Result<State, TransferError> {
        let began = self.clock.now();
        loop {
            let state = self.tables.state().await?;
            if state.living.is_empty() {
                return Ok(state);
            }
            if self.clock.now() - began > SILENT_AFTER {
                return Err(TransferError::NodesRun { nodes: state.living.join(", ") });
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// A directory for what is only needed meanwhile. What an earlier attempt left there is removed first.
pub(super) fn scratch(path: &Path) -> Result<(), TransferError> {
    remove(path)?;
    std::fs::create_dir_all(path).map_err(|source| TransferError::Io { path: path.into(), source })
}

/// Removes a directory with all that is in it, if there is one.
pub(super) fn remove(path: &Path) -> Result<(), TransferError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(TransferError::Io { path: path.into(), source: e }),
        _ => Ok(()),
    }
}

/// What has been materialised in a store, and nothing else.
pub(super) fn materialised(store: Arc<Store>) -> Result<Offline, TransferError> {
    let at = store.clone();
    Ok(Offline::over(store, |cell| at.position(cell), |_, _| Ok(Vec::new()))?)
}

/// Compares what lies in cells with what was written.
pub(super) fn compare(
    cells: impl IntoIterator<Item = CellId>,
    written: &[Tally],
    found: &[Tally],
) -> Result<(), TransferError> {
    for cell in cells {
        let at = usize::from(cell.0);
        if written[at] != found[at] {
            let (written, found) = (Box::new(written[at]), Box::new(found[at]));
            return Err(TransferError::Differs { cell, written, found });
        }
    }
    Ok(())
}

/// The cells in which something lies.
pub(super) fn inhabited(tallies: &[Tally]) -> Vec<CellId> {
    (0..).map(CellId).zip(tallies).filter(|(_, tally)| tally.rows > 0).map(|(cell, _)| cell).collect()
}
