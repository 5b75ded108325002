//! The operations that there are; all others are refused as S3 refuses what it does not know.

use std::sync::Arc;

use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::Credentials,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput, CreateBucketOutput,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput, DeleteBucketOutput,
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, GetBucketLocationInput,
        GetBucketLocationOutput, GetObjectInput, GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
        HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
        ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
        ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutObjectInput, PutObjectOutput, UploadPartCopyInput,
        UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
};
use stride_data::Objects;
use stride_ids::{BucketName, Name, ObjectKey, ObjectName, VersionId};
use stride_sim::Clock;

use crate::{
    accounts::{Account, Tenants},
    error, get, parts, put,
};

/// Where the requests arrive.
pub(crate) struct Front {
    pub(crate) objects: Arc<Objects>,
    pub(crate) tenants: Tenants,
    pub(crate) clock: Clock,
}

pub(crate) fn bucket_name(bucket: &str) -> S3Result<BucketName> {
    BucketName::new(bucket).map_err(|e| S3Error::with_message(S3ErrorCode::InvalidBucketName, e.to_string()))
}

/// The name of an object that may be there.
pub(crate) fn object_name(tenant: &Name, bucket: &str, key: &str) -> S3Result<ObjectName> {
    // Nothing can be stored under another key, so it is not there.
    let key = ObjectKey::new(key).map_err(|_| S3Error::from(S3ErrorCode::NoSuchKey))?;
    Ok(ObjectName { tenant: tenant.clone(), bucket: bucket_name(bucket)?, key })
}

pub(crate) fn version(text: Option<&str>) -> S3Result<Option<VersionId>> {
    let unknown = |_| S3Error::from(S3ErrorCode::NoSuchVersion);
    text.map(|text| text.parse().map(VersionId).map_err(unknown)).transpose()
}

impl Front {
    pub(crate) fn new(objects: Arc<Objects>, accounts: &[Account], clock: Clock) -> Self {
        Self { objects, tenants: Tenants::new(accounts), clock }
    }

    /// The name of an object to read.
    pub(crate) fn readable(&self, by: Option<&Credentials>, bucket: &str, key: &str) -> S3Result<ObjectName> {
        object_name(&self.tenants.of(by)?, bucket, key)
    }

    /// The name of an object to write.
    pub(crate) fn writable(&self, by: Option<&Credentials>, bucket: &str, key: &str) -> S3Result<ObjectName> {
        let key = ObjectKey::new(key).map_err(|e| error::invalid(e.to_string()))?;
        Ok(ObjectName { tenant: self.tenants.of(by)?, bucket: bucket_name(bucket)?, key })
    }

    fn bucket(&self, by: Option<&Credentials>, bucket: &str) -> S3Result<(Name, BucketName)> {
        Ok((self.tenants.of(by)?, bucket_name(bucket)?))
    }

    /// Refuses a bucket that is not there.
    async fn existing(&self, by: Option<&Credentials>, bucket: &str) -> S3Result<()> {
        let (tenant, bucket) = self.bucket(by, bucket)?;
        match self.objects.bucket(&tenant, &bucket).await.map_err(error::of)? {
            Some(_) => Ok(()),
            None => Err(S3ErrorCode::NoSuchBucket.into()),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Front {
    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        get::buckets(self, req).await
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let (tenant, bucket) = self.bucket(req.credentials.as_ref(), &req.input.bucket)?;
        if req.input.object_lock_enabled_for_bucket.unwrap_or(false) {
            return Err(error::refused("the request locks the objects of the bucket"));
        }
        if self.objects.make_bucket(&tenant, &bucket).await.map_err(error::of)? {
            Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{bucket}")) }))
        } else {
            Err(S3ErrorCode::BucketAlreadyOwnedByYou.into())
        }
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.existing(req.credentials.as_ref(), &req.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.existing(req.credentials.as_ref(), &req.input.bucket).await?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        let (tenant, bucket) = self.bucket(req.credentials.as_ref(), &req.input.bucket)?;
        if self.objects.remove_bucket(&tenant, &bucket).await.map_err(error::of)? {
            Ok(S3Response::new(DeleteBucketOutput {}))
        } else {
            Err(S3ErrorCode::BucketNotEmpty.into())
        }
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        get::object(self, req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        get::head(self, req).await
    }

    /// Objects have no tags. Clients that copy ask all the same.
    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let name = self.readable(req.credentials.as_ref(), &req.input.bucket, &req.input.key)?;
        self.objects.status(&name, version(req.input.version_id.as_deref())?).await.map_err(error::of)?;
        Ok(S3Response::new(GetObjectTaggingOutput::default()))
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        get::list_first_version(self, req).await
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        get::list(self, req).await
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        put::object(self, req).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        put::copy(self, req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        put::delete(self, req).await
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        put::delete_many(self, req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        parts::begin(self, req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        parts::part(self, req).await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        parts::part_copy(self, req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        parts::complete(self, req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        parts::abort(self, req).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        parts::parts(self, req).await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        parts::uploads(self, req).await
    }
}
