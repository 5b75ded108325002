//! Buckets without their objects: whether they are there, made and removed.

use stride_ids::{BucketName, Name};

use crate::{
    error::Error,
    message::{BucketStatus, MAKE, REMOVE, STATUS},
    objects::Objects,
};

impl Objects {
    /// What is known of a bucket; none if there is no such bucket.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub async fn bucket(&self, tenant: &Name, bucket: &BucketName) -> Result<Option<BucketStatus>, Error> {
        self.ask(tenant, bucket, STATUS, &()).await
    }

    /// Makes a bucket, and leaves one alone that is there. Whether it was made.
    ///
    /// # Errors
    /// If the index cannot be changed.
    pub async fn make_bucket(&self, tenant: &Name, bucket: &BucketName) -> Result<bool, Error> {
        self.ask(tenant, bucket, MAKE, &self.clock.timestamp()).await
    }

    /// Removes a bucket in which nothing is: no object, no older version, and no upload in parts. Whether it was removed.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub async fn remove_bucket(&self, tenant: &Name, bucket: &BucketName) -> Result<bool, Error> {
        let _changing = self.known_labels.changing(tenant, bucket);
        self.ask(tenant, bucket, REMOVE, &()).await.map_err(|e: Error| e.of_missing_bucket(bucket))
    }
}
