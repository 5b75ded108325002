//! The door of the crate.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use object_store::ObjectStore;
use parking_lot::Mutex;
use stride_ids::{CellId, Seq};
use stride_sim::{Chance, Clock, Tasks};

use crate::{
    error::Error,
    manifest::{Manifest, ManifestName},
    remote::{Listing, Remote, path_of},
};

/// How long a file that no manifest names stays, and a manifest that was followed by another.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// The snapshots of a cluster's cells, in an object store.
pub struct Snapshots {
    pub(crate) remote: Remote,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) tasks: Tasks,
    pub(crate) grace: Duration,
    /// What was found to be damaged. Nothing is built on it any more.
    pub(crate) damaged: Mutex<HashSet<String>>,
    /// One save or load of a cell at a time.
    busy: Mutex<HashMap<CellId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Snapshots {
    /// In a store that has nothing else in it, is durable when it answers, and lists what was written.
    pub fn new(store: Arc<dyn ObjectStore>, clock: Clock, chance: Chance, tasks: Tasks) -> Self {
        let remote = Remote::new(store, clock.clone());
        Self { remote, clock, chance, tasks, grace: GRACE, damaged: Mutex::default(), busy: Mutex::default() }
    }

    /// Another time than an hour for which what is not needed any more is kept, for those who are reading it or making a
    /// backup. All nodes have to agree about it.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The position of the newest snapshot of a cell; none if there is none. That it is sound is found out by loading it.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn newest(&self, cell: CellId) -> Result<Option<Seq>, Error> {
        let listing = self.remote.list(cell).await?;
        Ok(listing.manifests.last_key_value().map(|(name, _)| name.position))
    }

    /// Removes the snapshots of a cell that are newer than the journal, which only a journal that was restored from a
    /// backup can be behind. No node may run. How many were removed.
    ///
    /// # Errors
    /// [`Error::Storage`]; then do it again.
    pub async fn rewind(&self, cell: CellId, to: Seq) -> Result<usize, Error> {
        let mut removed = 0;
        for name in self.remote.list(cell).await?.manifests.keys().filter(|name| name.position > to) {
            self.remote.remove(&path_of(cell, name)).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// A manifest, if it is sound and the files that it names are there.
    pub(crate) async fn whole(&self, cell: CellId, name: ManifestName, listing: &Listing) -> Result<Manifest, Error> {
        let path = path_of(cell, name);
        let bytes = self.remote.read_manifest(&path).await?;
        let manifest = Manifest::decode(path.as_ref(), cell, name, &bytes)?;
        for file in manifest.files() {
            let path = path_of(cell, &file.name);
            match listing.files.get(&file.name) {
                None => return Err(Error::Missing { path: path.to_string() }),
                Some(listed) if listed.len != file.len => {
                    return Err(Error::damaged(path, format!("it has {} bytes of {}", listed.len, file.len)));
                }
                Some(_) if self.damaged.lock().contains(path.as_ref()) => {
                    return Err(Error::damaged(path, "it was found to be damaged before"));
                }
                Some(_) => {}
            }
        }
        Ok(manifest)
    }

    pub(crate) async fn busy(&self, cell: CellId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = self.busy.lock().entry(cell).or_default().clone();
        lock.lock_owned().await
    }
}
