//! A cluster into a data directory.
//!
//! ```text
//! all cells are taken over ─► snapshots and tails ─► rows in 64 cells, chunks, deployments in DIR.exporting ─► verified
//!   ─► one transaction: the cluster is closed if the cells are still held ─► DIR.exporting becomes DIR
//! ```
//! Up to the transaction the cluster is as it was, but for epochs. Whoever is killed between it and the renaming begins again,
//! and only that is done.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use stride_agents::{Offline, Resettled, Tally};
use stride_data::{Storage, Transfer};
use stride_ids::{CELLS_CLUSTER, CELLS_EMBEDDED, CellId, Epoch, Seq};
use stride_journal::{Journal as _, Opened, embedded::EmbeddedJournal};
use stride_sim::{Chance, Tasks, disk::RealDisk};
use stride_store::Store;

use super::{
    Done, Places, Stage, Tell, TransferError, deployments,
    places::{AT_ONCE, Alone, Shared, compare, inhabited, remove, scratch},
};
use crate::identity::Identity;

/// How many bytes of the journal are held in memory before they go to the store.
const STAGED_BYTES_MAX: usize = 64 << 20;

pub(super) async fn export(places: &Places, tell: Tell<'_>) -> Result<Done, TransferError> {
    let dir = absolute(&places.data)?;
    if !is_free(&dir)? {
        return Err(TransferError::NotEmpty { dir });
    }
    let partial = beside(&dir, "exporting");
    let identity = Identity::alone(&Chance::from_os());
    let from = Shared::open(&places.cluster, &places.objects, &identity.node).await?;
    let state = from.tables.state().await?;
    let to = format!("the data directory {}", dir.display());
    if state.closed.as_ref() == Some(&to) && partial.join("node.json").is_file() {
        let done = look(&from, &partial).await?;
        return settle(&partial, &dir).map(|()| done);
    }
    if let Some(closed) = state.closed {
        return Err(stride_cluster::Error::is_closed(&closed).into());
    }
    from.without_nodes().await?;
    scratch(&partial)?;
    let held = take_over(&from).await?;
    let reading = partial.join("reading");
    let agents = read(&from, &held, &reading, tell).await?;
    let written = write(&agents, &partial, tell).await?;
    let chunks = partial.join("objects");
    let local = Storage::local(&chunks, Tasks::real()).map_err(|source| io(&chunks, source))?;
    let transfer = Transfer::between(&from.storage, &local).await?;
    transfer.named(&agents, |done| tell(Stage::Chunks, done.chunks)).await?;
    deployments::keep(&from, &partial, tell).await?;
    drop(agents);
    remove(&reading)?;
    identity.write(&partial).map_err(|source| io(&partial, source))?;
    let done = verify(&from, &partial, &written, tell).await?;
    let held: Vec<(CellId, Epoch)> = (0..).map(CellId).zip(&held).map(|(cell, opened)| (cell, opened.epoch)).collect();
    from.tables.close(&to, &held, from.incarnation).await?;
    settle(&partial, &dir)?;
    Ok(done)
}

fn io(path: &Path, source: std::io::Error) -> TransferError {
    TransferError::Io { path: path.into(), source }
}

fn absolute(path: &Path) -> Result<PathBuf, TransferError> {
    std::path::absolute(path).map_err(|source| io(path, source))
}

/// Whether nothing is there, or an empty directory.
fn is_free(dir: &Path) -> Result<bool, TransferError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(io(dir, e)),
    }
}

fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    dir.with_file_name(name)
}

/// Takes all cells over, so that nobody can store anything without being noticed. What each of them has.
async fn take_over(from: &Shared) -> Result<Vec<Opened>, TransferError> {
    let journal = from.journal.clone();
    let all: Vec<CellId> = (0..CELLS_CLUSTER).map(CellId).collect();
    Ok(Tasks::real().blocking(move || journal.open(&all)).await?)
}

/// Reads all cells from their snapshots and what the journal has behind them.
async fn read(from: &Shared, held: &[Opened], dir: &Path, tell: Tell<'_>) -> Result<Offline, TransferError> {
    let layout = deployments::layout(from, CELLS_CLUSTER).await?;
    let store = Arc::new(Store::open(dir, layout, stride_store::Settings::default())?);
    {
        let used = (0..).map(CellId).zip(held).filter(|(_, opened)| opened.last > Seq::ZERO).map(|(cell, _)| cell);
        let loading = stream::iter(used).map(|cell| from.snapshots.load(&store, cell, Seq::ZERO));
        let mut loading = std::pin::pin!(loading.buffer_unordered(AT_ONCE));
        let mut loaded = 0;
        while loading.try_next().await?.is_some() {
            loaded += 1;
            tell(Stage::Reading, loaded);
        }
    }
    let (journal, last): (_, Vec<Seq>) = (from.journal.clone(), held.iter().map(|opened| opened.last).collect());
    let replayed = move || {
        let into = store.clone();
        let replay = |cell, after| {
            if into.staged_bytes() > STAGED_BYTES_MAX {
                into.freeze();
                // It is tried again with the next cell; meanwhile it stays in memory.
                let _ = into.materialise();
            }
            journal.replay(cell, after)
        };
        Offline::over(store, |cell| last[usize::from(cell.0)], replay)
    };
    Ok(Tasks::real().blocking(replayed).await?)
}

/// Writes store and journal of a node that is alone.
async fn write(agents: &Offline, dir: &Path, tell: Tell<'_>) -> Result<Vec<Tally>, TransferError> {
    let layout = agents.layout().in_cells(CELLS_EMBEDDED);
    let store = Store::open(&dir.join("store"), layout, stride_store::Settings::default())?;
    let written = agents.resettle(CELLS_EMBEDDED)?.write(&store, |rows| tell(Stage::Rows, rows))?;
    store.persist()?;
    let settings = stride_journal::embedded::Settings { cells: CELLS_EMBEDDED, ..Default::default() };
    let journal = EmbeddedJournal::open(Arc::new(RealDisk), &dir.join("journal"), settings, Chance::from_os())?;
    for cell in inhabited(&written) {
        let opened = journal.open_one(cell)?;
        journal.append(cell, opened.epoch, Resettled::record())?.await?;
    }
    Ok(written)
}

/// Verifies a directory as `stride check` does, and compares what lies there with what was written.
async fn verify(from: &Shared, dir: &Path, written: &[Tally], tell: Tell<'_>) -> Result<Done, TransferError> {
    tell(Stage::Checking, 0);
    let found = Alone::open(dir)?.agents.tallies()?;
    compare((0..CELLS_EMBEDDED).map(CellId), written, &found)?;
    look(from, dir).await
}

/// What is in a directory that is complete.
async fn look(from: &Shared, dir: &Path) -> Result<Done, TransferError> {
    let alone = Alone::open(dir)?;
    let report = stride_data::check(&dir.join("objects"), &alone.agents)?;
    if !report.damage.is_empty() {
        return Err(TransferError::Damaged { dir: dir.into(), what: report.to_string() });
    }
    let found = alone.agents.tallies()?;
    Ok(Done {
        cluster: from.name.clone(),
        cells: inhabited(&found).len(),
        rows: found.iter().fold(Tally::default(), |all, one| all.and(one)),
        objects: stride_data::Transferred { chunks: report.chunks, bytes: report.bytes, copied: report.chunks },
        deployments: deployments::count(dir)?,
    })
}

/// Gives a directory that is complete its name.
fn settle(partial: &Path, dir: &Path) -> Result<(), TransferError> {
    fs::rename(partial, dir).map_err(|source| io(dir, source))?;
    let parent = dir.parent().unwrap_or(dir);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| io(parent, source))
}
