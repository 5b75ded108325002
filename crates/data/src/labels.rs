//! The labels of buckets, for those who ask before every piece of work.
//!
//! Always true: once a change of a bucket has come back to whoever made it, nobody is told the labels before it. So they are remembered
//! only on a node that is alone, where all changes pass through [`Objects`]; in a cluster the bucket is asked each time.
//! Not here: what labels mean (see `placement`), and who refuses work (see `runtime`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use stride_ids::{BucketName, Name};

use crate::{
    error::Error,
    message::{BucketStatus, STATUS},
    objects::Objects,
};

/// Of how many buckets the labels are known at a time. With more, all are asked for again.
const KNOWN_MAX: usize = 10_000;

/// The labels of a bucket.
pub type BucketLabels = Arc<BTreeMap<String, String>>;

type Bucket = (Name, BucketName);

#[derive(Default)]
pub(crate) struct KnownLabels(RwLock<Known>);

#[derive(Default)]
struct Known {
    labels: HashMap<Bucket, BucketLabels>,
    /// How many changes there were: what was asked for before one is not kept after it.
    changes: u64,
}

impl KnownLabels {
    /// What is known of a bucket, or how many changes there were until now.
    fn get(&self, bucket: &Bucket) -> Result<BucketLabels, u64> {
        let known = self.0.read();
        known.labels.get(bucket).cloned().ok_or(known.changes)
    }

    /// Keeps what was asked for when there had been so many changes.
    fn keep(&self, bucket: Bucket, labels: &BucketLabels, changes: u64) {
        let mut known = self.0.write();
        if known.changes != changes {
            return;
        }
        if known.labels.len() >= KNOWN_MAX {
            known.labels.clear();
        }
        known.labels.insert(bucket, labels.clone());
    }

    /// A bucket is about to be changed. What is known of it is forgotten when this is dropped, also half way.
    pub(crate) fn changing(&self, tenant: &Name, bucket: &BucketName) -> Changing<'_> {
        Changing { known: self, bucket: (tenant.clone(), bucket.clone()) }
    }
}

pub(crate) struct Changing<'a> {
    known: &'a KnownLabels,
    bucket: Bucket,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut known = self.known.0.write();
        known.changes += 1;
        known.labels.remove(&self.bucket);
    }
}

impl Objects {
    /// What a node has to carry for code on it to reach a bucket. A bucket that is not there demands nothing.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub async fn labels(&self, tenant: &Name, bucket: &BucketName) -> Result<BucketLabels, Error> {
        if self.settings.shared {
            let status: Option<BucketStatus> = self.ask(tenant, bucket, STATUS, &()).await?;
            return Ok(status.map(|status| Arc::new(status.labels)).unwrap_or_default());
        }
        let key = (tenant.clone(), bucket.clone());
        let changes = match self.known_labels.get(&key) {
            Ok(labels) => return Ok(labels),
            Err(changes) => changes,
        };
        let status: Option<BucketStatus> = self.ask(tenant, bucket, STATUS, &()).await?;
        let Some(BucketStatus { labels, .. }) = status else { return Ok(BucketLabels::default()) };
        let labels = Arc::new(labels);
        self.known_labels.keep(key, &labels, changes);
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        (Name::default_tenant(), BucketName::new("patients").unwrap())
    }

    fn eu() -> BucketLabels {
        Arc::new([("region".to_owned(), "eu".to_owned())].into())
    }

    #[test]
    fn what_was_asked_for_before_a_change_is_not_kept_after_it() {
        let known = KnownLabels::default();
        let (tenant, name) = bucket();
        let asked = known.get(&bucket()).unwrap_err();
        drop(known.changing(&tenant, &name));
        known.keep(bucket(), &BucketLabels::default(), asked);
        let asked = known.get(&bucket()).unwrap_err();
        known.keep(bucket(), &eu(), asked);
        assert_eq!(known.get(&bucket()).unwrap(), eu());
        drop(known.changing(&tenant, &name));
        assert!(known.get(&bucket()).is_err());
    }
}
