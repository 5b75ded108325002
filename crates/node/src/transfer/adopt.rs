//! A data directory into a cluster.
//!
//! ```text
//! chunks, components ─► deployments ─► rows in 1,024 cells ─► drafts of snapshots ─► read back and compared
//!   ─► node.json says so ─► one transaction: the cells begin behind these snapshots ─► the snapshots are published
//! ```
//! Up to the transaction the cluster has nothing but what no one looks at, and deployments. Between it and the last step its
//! cells wait for their snapshots; whoever is killed there begins again, and only what is missing is done.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use stride_agents::{Resettled, Tally};
use stride_cluster::{State, Tables as _};
use stride_data::{Owner, Storage, Transfer, Transferred};
use stride_ids::{CELLS_CLUSTER, CellId};
use stride_sim::{Clock, Tasks};
use stride_snapshots::Draft;
use stride_store::Store;

use super::{
    Done, Places, Stage, Tell, TransferError, deployments,
    places::{AT_ONCE, Alone, Shared, compare, identity_of, inhabited, materialised, remove, scratch},
};
use crate::{WrongJournal, identity::Identity, node::environment};

pub(super) async fn copy_ahead(places: &Places, tell: Tell<'_>) -> Result<Transferred, TransferError> {
    let identity = identity_of(&places.data)?;
    let from = chunks_of(places, &identity).await?;
    let to = Shared::open(&places.cluster, &places.objects, &identity.node).await?;
    let copied = Transfer::between(&from, &to.storage).await?.all(|done| tell(Stage::Chunks, done.chunks)).await?;
    deployments::copy_components(&places.data, &to, tell).await?;
    Ok(copied)
}

pub(super) async fn adopt(places: &Places, tell: Tell<'_>) -> Result<Done, TransferError> {
    tell(Stage::Checking, 0);
    let from = Alone::open(&places.data)?;
    let node = from.identity.node.clone();
    let to = Shared::open(&places.cluster, &places.objects, &node).await?;
    from.may_go_to(&to.name)?;
    let switched = match to.tables.state().await? {
        State { adopted: Some(begun), closed: None, .. } if begun == node && from.identity.adopted.is_some() => true,
        state => state.why_not_unused().map_or(Ok(false), Err)?,
    };
    let chunks = chunks_of(places, &from.identity).await?;
    let transfer = Transfer::between(&chunks, &to.storage).await?;
    let objects = transfer.named(&from.agents, |done| tell(Stage::Chunks, done.chunks)).await?;
    let deployments = deployments::deploy(&places.data, &to, tell).await?;

    let meanwhile = places.data.join("adopting");
    scratch(&meanwhile)?;
    let (rows, written) = resettle(&from, &meanwhile.join("rows"), tell)?;
    let cells = inhabited(&written);
    let missing = if switched { unpublished(&to, &cells).await? } else { cells.clone() };
    let drafts = draft(&to, &rows, &missing, &meanwhile.join("check"), &written, tell).await?;
    if !switched {
        from.mark(Some(&to.name))?;
        let begun = to.tables.begin_with(&node, &cells, Resettled::BEGINNING).await;
        if matches!(begun, Err(stride_cluster::Error::Unfit(_))) {
            from.mark(None)?;
        }
        begun?;
    }
    tell(Stage::Publishing, 0);
    publish(&to, drafts, tell).await?;
    drop(rows);
    remove(&meanwhile)?;
    let rows = written.iter().fold(Tally::default(), |all, one| all.and(one));
    Ok(Done { cluster: to.name, cells: cells.len(), rows, objects, deployments })
}

impl Alone {
    /// Refuses a directory that belongs to another cluster.
    fn may_go_to(&self, cluster: &str) -> Result<(), TransferError> {
        match &self.identity.adopted {
            Some(known) if known != cluster => {
                let source = WrongJournal::Adopted { cluster: known.clone() };
                Err(TransferError::WrongJournal { dir: self.dir.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Says in the directory where its agents are, so that no node starts there any more.
    fn mark(&self, cluster: Option<&str>) -> Result<(), TransferError> {
        let marked = Identity { adopted: cluster.map(str::to_owned), ..self.identity.clone() };
        marked.write(&self.dir).map_err(|source| TransferError::Io { path: self.dir.clone(), source })
    }
}

/// Where a node that is alone has its chunks.
async fn chunks_of(places: &Places, identity: &Identity) -> Result<Storage, TransferError> {
    let Some(location) = &identity.objects else {
        let dir = places.data.join("objects");
        return Storage::local(&dir, Tasks::real()).map_err(|source| TransferError::Io { path: dir, source });
    };
    if *location == places.objects {
        return Err(TransferError::SamePlace { location: location.to_string() });
    }
    let owner = Owner::node(identity.node.clone());
    Ok(Storage::open(location, &environment(), &owner, Clock::real(), Tasks::real()).await?)
}

/// The rows of all agents in the cells of a cluster, in a store of their own.
fn resettle(from: &Alone, dir: &Path, tell: Tell<'_>) -> Result<(Arc<Store>, Vec<Tally>), TransferError> {
    let layout = from.agents.layout().in_cells(CELLS_CLUSTER);
    let store = Arc::new(Store::open(dir, layout, stride_store::Settings::default())?);
    let written = from.agents.resettle(CELLS_CLUSTER)?.write(&store, |rows| tell(Stage::Rows, rows))?;
    Ok((store, written))
}

/// Those of the cells that have no snapshot.
async fn unpublished(to: &Shared, cells: &[CellId]) -> Result<Vec<CellId>, TransferError> {
    let looked = stream::iter(cells.iter().copied())
        .map(async |cell| Ok::<_, TransferError>(to.snapshots.newest(cell).await?.is_none().then_some(cell)));
    looked.buffer_unordered(AT_ONCE).try_filter_map(async |cell| Ok(cell)).try_collect().await
}

/// Writes cells to the object store, unpublished, reads them back into a store of their own and compares what lies there.
async fn draft(
    to: &Shared,
    rows: &Arc<Store>,
    cells: &[CellId],
    dir: &Path,
    written: &[Tally],
    tell: Tell<'_>,
) -> Result<Vec<Draft>, TransferError> {
    let check = Arc::new(Store::open(dir, rows.layout().clone(), stride_store::Settings::default())?);
    let mut drafts = Vec::with_capacity(cells.len());
    {
        let drafting = stream::iter(cells.iter().copied()).map(async |cell| {
            let draft = to.snapshots.draft(rows, cell).await?;
            to.snapshots.load_draft(&check, &draft).await?;
            Ok::<_, TransferError>(draft)
        });
        let mut drafting = std::pin::pin!(drafting.buffer_unordered(AT_ONCE));
        while let Some(draft) = drafting.try_next().await? {
            drafts.push(draft);
            tell(Stage::Cells, drafts.len() as u64);
        }
    }
    let found = materialised(check)?.tallies()?;
    compare(cells.iter().copied(), written, &found)?;
    Ok(drafts)
}

/// Makes the cells visible for whoever takes them over.
async fn publish(to: &Shared, drafts: Vec<Draft>, tell: Tell<'_>) -> Result<(), TransferError> {
    let epochs: BTreeMap<CellId, _> =
        (0..).map(CellId).zip(to.tables.world().await?.cells).map(|(cell, row)| (cell, row.epoch)).collect();
    let publishing = stream::iter(drafts).map(async |draft: Draft| {
        let epoch = epochs.get(&draft.cell()).copied().unwrap_or_default();
        to.snapshots.publish(draft, epoch).await
    });
    let mut publishing = std::pin::pin!(publishing.buffer_unordered(AT_ONCE));
    let mut published = 0;
    while publishing.try_next().await?.is_some() {
        published += 1;
        tell(Stage::Publishing, published);
    }
    Ok(())
}
