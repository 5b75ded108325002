//! Components and their deployments, between the files of a node that is alone and what a cluster shares.

use std::{collections::BTreeSet, path::Path, time::Duration};

use stride_cluster::{Deployment, Tables as _};
use stride_ids::Layout;
use stride_sim::Clock;

use super::{Stage, Tell, TransferError, places::Shared};
use crate::catalog::{Catalog, Entry};

/// How long the nodes of a cluster may take to load what is deployed.
const LOADED_WITHIN: Duration = Duration::from_secs(120);
/// How soon it is looked at again whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

fn unreadable(dir: &Path) -> impl Fn(std::io::Error) -> TransferError {
    move |source| TransferError::Io { path: dir.into(), source }
}

/// Copies all components, and deploys nothing.
pub(super) async fn copy_components(dir: &Path, to: &Shared, tell: Tell<'_>) -> Result<(), TransferError> {
    let catalog = Catalog::open(dir).map_err(unreadable(dir))?;
    let components = to.storage.components();
    let mut copied = BTreeSet::new();
    for history in catalog.histories().map_err(unreadable(dir))? {
        for entry in history.entries() {
            if copied.insert(entry.content.clone()) {
                let hash = components.put(catalog.component(entry).map_err(unreadable(dir))?).await?;
                components.get(&hash).await?;
                tell(Stage::Components, copied.len() as u64);
            }
        }
    }
    Ok(())
}

/// Deploys in the cluster what is deployed in a directory, and what was before, in the same order. What an earlier attempt has
/// deployed is found. How many there are.
pub(super) async fn deploy(dir: &Path, to: &Shared, tell: Tell<'_>) -> Result<usize, TransferError> {
    let catalog = Catalog::open(dir).map_err(unreadable(dir))?;
    let components = to.storage.components();
    let there = to.tables.deployments(0).await?;
    let (mut count, mut newest) = (0, 0);
    for history in catalog.histories().map_err(unreadable(dir))? {
        let component = &history.in_force.deployment.component;
        let known: Vec<_> =
            there.iter().filter(|one| (&one.tenant, &one.component) == (&history.tenant, component)).collect();
        let entries: Vec<&Entry> = history.entries().collect();
        let is_ours = |(known, entry): (&&Deployment, &&Entry)| {
            let found = known.entry.as_deref().and_then(|text| serde_json::from_str::<Entry>(text).ok());
            found.is_some_and(|found| found.deployment.id == entry.deployment.id)
        };
        if known.len() > entries.len() || !known.iter().zip(&entries).all(is_ours) {
            return Err(TransferError::Deployed { component: component.to_string() });
        }
        let mut expected = known.last().map(|one| one.number);
        for entry in &entries[known.len()..] {
            let hash = components.put(catalog.component(entry).map_err(unreadable(dir))?).await?;
            let text = serde_json::to_string(entry).expect("a deployment always encodes");
            let deployment = Deployment {
                number: 0,
                tenant: history.tenant.clone(),
                component: component.clone(),
                entry: Some(text),
                hash,
            };
            expected = Some(to.tables.deploy(&deployment, expected).await?);
        }
        count += entries.len();
        newest = newest.max(expected.unwrap_or(0));
        tell(Stage::Components, count as u64);
    }
    loaded(to, newest).await?;
    Ok(count)
}

/// Waits until all nodes that live have loaded a deployment: agents that came before their code would fail.
async fn loaded(to: &Shared, number: u64) -> Result<(), TransferError> {
    let clock = Clock::real();
    let until = clock.now() + LOADED_WITHIN;
    loop {
        let living = to.tables.state().await?.living;
        let nodes = to.tables.world().await?.nodes;
        let behind = nodes.values().filter(|row| row.deployed < number).map(|row| row.spec.name.to_string());
        let behind: Vec<_> = behind.filter(|name| living.contains(name)).collect();
        if behind.is_empty() {
            return Ok(());
        }
        if clock.now() > until {
            return Err(TransferError::NotLoaded { nodes: behind.join(", ") });
        }
        clock.sleep(LOOK_AGAIN).await;
    }
}

fn entry_of(text: &str) -> Result<Entry, TransferError> {
    let wrong = |e: serde_json::Error| stride_cluster::Error::Unfit(format!("a deployment cannot be read: {e}"));
    Ok(serde_json::from_str(text).map_err(wrong)?)
}

/// So many cells, with the agent types that were ever deployed in a cluster.
pub(super) async fn layout(from: &Shared, cells: u16) -> Result<Layout, TransferError> {
    let layout = Layout::from(cells);
    for Deployment { tenant, entry, .. } in from.tables.deployments(0).await? {
        let Some(entry) = entry else { continue };
        let declared = entry_of(&entry)?.declared();
        layout.declare(&tenant, &declared.map_err(|e| stride_cluster::Error::Unfit(e.to_string()))?);
    }
    Ok(layout)
}

/// Writes what is deployed in a cluster into a directory. How many deployments there are.
pub(super) async fn keep(from: &Shared, dir: &Path, tell: Tell<'_>) -> Result<usize, TransferError> {
    let catalog = Catalog::open(dir).map_err(unreadable(dir))?;
    let components = from.storage.components();
    let mut count = 0;
    for Deployment { tenant, entry, hash, .. } in from.tables.deployments(0).await? {
        let Some(entry) = entry else { continue };
        let entry = entry_of(&entry)?;
        let wasm = components.get(&hash).await?;
        catalog.put(tenant, entry, &wasm).map_err(unreadable(dir))?;
        count += 1;
        tell(Stage::Components, count as u64);
    }
    Ok(count)
}

/// How many deployments a directory has.
pub(super) fn count(dir: &Path) -> Result<usize, TransferError> {
    let histories = Catalog::open(dir).and_then(|catalog| catalog.histories()).map_err(unreadable(dir))?;
    Ok(histories.iter().map(|history| history.entries().count()).sum())
}
