//! Removing chunks that no version names.
//!
//! Mark: every row of every bucket names its chunks. Sweep: what is stored, not marked, and was not held by a transfer at any
//! time since the sweep began goes. Chunks are told apart by the first eight bytes of their hashes, so that a million of them
//! take 8 MB; two that are equal in those only mean that one of them stays.
//!
//! Why nothing that is needed goes: a version that is in the index when its bucket is read is marked. One that comes later
//! was uploaded by somebody who pinned its chunks while this sweep ran. One that somebody has just found and not pinned yet
//! was in the index before; the sweep waits for all who are in between before it removes anything.
//!
//! All this is known within one node. Nodes that share a storage do not sweep ([`crate::Settings::shared`]).

use std::sync::Arc;

use futures::TryStreamExt as _;
use stride_ids::{BucketName, Name};

use crate::{
    agent,
    chunk::ChunkId,
    error::Error,
    message::{LIVE, Live, LiveAsked},
    objects::Objects,
    pins::Sweeping,
};

/// How many buckets are listed at a time.
const PAGE: usize = 1_000;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many chunks stayed.
    pub kept: u64,
    /// How many were removed.
    pub removed: u64,
    /// How many bytes those had.
    pub removed_bytes: u64,
    /// How many files were removed that a killed process had only begun.
    pub torn: u64,
}

impl Objects {
    /// Removes what no version names and nobody holds. One sweep runs at a time, and none if the storage is shared.
    ///
    /// # Errors
    /// What could not be read or removed. What was not marked for certain is left.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        if self.settings.shared {
            return Ok(swept);
        }
        let _alone = self.sweeping.lock().await;
        for tenant in self.chunks.storage().tenants().await? {
            self.sweep_tenant(&tenant, &mut swept).await?;
        }
        Ok(swept)
    }

    async fn sweep_tenant(&self, tenant: &Name, swept: &mut Swept) -> Result<(), Error> {
        let sweep = Arc::new(self.pins.begin_sweep());
        let live = self.mark(tenant).await?;
        // Whoever read the index before it was marked has pinned what it found when this is granted.
        drop(self.finding.write().await);
        self.remove_dead(tenant, &sweep, &live, swept).await?;
        let held = sweep.clone();
        swept.torn += self.chunks.storage().remove_torn(tenant, move |id| held.is_held(id)).await?;
        Ok(())
    }

    /// The heads of the hashes of all chunks that the tenant's versions name, sorted.
    async fn mark(&self, tenant: &Name) -> Result<Vec<u64>, Error> {
        let mut live = Vec::new();
        let mut last = None;
        loop {
            let page = self.engine.list(tenant, &agent::BUCKETS.name(), last.as_ref(), PAGE).await?;
            for address in &page {
                let bucket = agent::bucket_of(address)?;
                self.give_up_uploads(tenant, &bucket).await?;
                self.mark_bucket(tenant, &bucket, &mut live).await?;
            }
            match page.into_iter().last() {
                Some(address) => last = Some(address.key),
                None => break,
            }
        }
        live.sort_unstable();
        live.dedup();
        Ok(live)
    }

    async fn mark_bucket(&self, tenant: &Name, bucket: &BucketName, live: &mut Vec<u64>) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page: Live = self.ask(tenant, bucket, LIVE, &LiveAsked { after }).await?;
            live.extend(page.heads);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn remove_dead(&self, tenant: &Name, sweep: &Sweeping, live: &[u64], swept: &mut Swept) -> Result<(), Error> {
        let mut stored = self.chunks.storage().list(tenant);
        while let Some((hash, len)) = stored.try_next().await? {
            let id = ChunkId { tenant: tenant.clone(), hash };
            let removing = match live.binary_search(&hash.head()) {
                Ok(_) => None,
                Err(_) => sweep.take(&id),
            };
            match removing {
                None => swept.kept += 1,
                Some(_removing) => {
                    self.chunks.remove(&id).await?;
                    swept.removed += 1;
                    swept.removed_bytes += len;
                }
            }
        }
        Ok(())
    }
}
