//! Writing: objects, copies, deletions.

use futures::{StreamExt as _, stream};
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders,
    dto::{
        Checksum, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
        DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error, MetadataDirective,
        PutObjectInput, PutObjectOutput,
    },
};
use stride_data::{Conditions, ObjectStatus};
use stride_ids::{Name, ObjectKey, ObjectName, VersionId};

use crate::{
    checksum::{self, Announced},
    describe::{self, Readable, described, e_tag},
    directory, error,
    front::{Front, bucket_name, object_name, version},
};

/// How many objects one request may delete, as S3 has it, and how many of them at a time.
const DELETED_MAX: usize = 1_000;
const DELETED_AT_ONCE: usize = 16;

/// What an operation may ask for that nothing here would do.
macro_rules! refuse {
    ($input:expr) => {
        if $input.server_side_encryption.is_some() || $input.sse_customer_algorithm.is_some() {
            return Err(error::refused("the request asks for encryption"));
        }
        if $input.tagging.as_ref().is_some_and(|tags| !tags.is_empty()) {
            return Err(error::refused("the request sets tags"));
        }
        if $input.object_lock_mode.is_some() || $input.object_lock_legal_hold_status.is_some() {
            return Err(error::refused("the request locks the object"));
        }
        if $input.website_redirect_location.is_some() {
            return Err(error::refused("the request sets a redirection"));
        }
        if $input.acl.as_ref().is_some_and(|acl| !$crate::put::OWN.contains(&acl.as_str()))
            || $input.grant_read.is_some()
        {
            return Err(error::refused("the request gives others access"));
        }
    };
}

pub(crate) use refuse;

/// Canned access rules that give nobody access beside the tenant.
pub(crate) const OWN: [&str; 3] = ["private", "bucket-owner-full-control", "bucket-owner-read"];

/// The checksums that an input announces.
macro_rules! announced {
    ($input:expr, $headers:expr, $trailing:expr) => {
        Announced {
            md5: $input.content_md5.take(),
            sums: Checksum {
                checksum_crc32: $input.checksum_crc32.take(),
                checksum_crc32c: $input.checksum_crc32c.take(),
                checksum_crc64nvme: $input.checksum_crc64nvme.take(),
                checksum_sha1: $input.checksum_sha1.take(),
                checksum_sha256: $input.checksum_sha256.take(),
                checksum_type: None,
            },
            trailer: $crate::put::trailer(&$headers, $trailing.as_ref()),
            trailing: $trailing,
        }
    };
}

pub(crate) use announced;

pub(crate) fn trailer(headers: &axum::http::HeaderMap, trailing: Option<&TrailingHeaders>) -> Option<String> {
    trailing?;
    headers.get("x-amz-trailer")?.to_str().ok().map(str::to_owned)
}

pub(crate) async fn object(front: &Front, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    if let Some(directory) = directory::named(&req.input) {
        return directory::make(front, &directory, req).await;
    }
    let mut input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    refuse!(input);
    if input.write_offset_bytes.is_some() {
        return Err(error::refused("the request appends to an object"));
    }
    let conditions = describe::conditions(input.if_match.as_ref(), input.if_none_match.as_ref());
    let put = described!(input).put(input.content_length, conditions)?;
    let announced = announced!(input, req.headers, req.trailing_headers);
    let (bytes, verdict) = checksum::checked(input.body, announced);
    let stored = Box::pin(front.objects.put(&name, bytes, put)).await;
    let status = stored.map_err(|e| verdict.mismatch().unwrap_or_else(|| error::of(e)))?;
    let sums = verdict.sums();
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(e_tag(&status.etag)),
        version_id: Some(status.version.to_string()),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..PutObjectOutput::default()
    }))
}

/// What is copied, and which version of it.
pub(crate) fn source(tenant: &Name, source: &CopySource) -> S3Result<(ObjectName, Option<VersionId>)> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(error::refused("the source is an access point"));
    };
    Ok((object_name(tenant, bucket, key)?, version(version_id.as_deref())?))
}

pub(crate) async fn copy(front: &Front, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
    let mut input = req.input;
    let to = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    let (from, mut version) = source(&to.tenant, &input.copy_source)?;
    refuse!(input);
    let readable = Readable {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    if readable.asks() {
        let status = front.objects.status(&from, version).await.map_err(error::of)?;
        // S3 has one answer for all of them here.
        readable.check(&status).map_err(|_| S3Error::from(S3ErrorCode::PreconditionFailed))?;
        version = Some(status.version);
    }
    let replaces = input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
    let described = if replaces { Some(described!(input).put(None, Conditions::default())?) } else { None };
    let copied = front.objects.copy(&from, version, &to, Conditions::default(), described).await;
    let ObjectStatus { version, etag, created_at, .. } = copied.map_err(error::of)?;
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(e_tag(&etag)),
            last_modified: Some(describe::time(created_at)),
            ..CopyObjectResult::default()
        }),
        version_id: Some(version.to_string()),
        ..CopyObjectOutput::default()
    }))
}

/// Deletes an object. One that is not there is as good as deleted.
async fn gone(front: &Front, tenant: &Name, bucket: &str, key: &str, conditions: Conditions) -> S3Result<()> {
    let bucket = bucket_name(bucket)?;
    // Nothing can be stored under such a key.
    let Ok(key) = ObjectKey::new(key) else { return Ok(()) };
    match front.objects.delete(&ObjectName { tenant: tenant.clone(), bucket, key }, conditions).await {
        Ok(_) | Err(stride_data::Error::NoObject { .. }) => Ok(()),
        Err(e) => Err(error::of(e)),
    }
}

pub(crate) async fn delete(
    front: &Front,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let tenant = front.tenants.of(req.credentials.as_ref())?;
    let input = req.input;
    if input.version_id.is_some() {
        return Err(error::refused("the request deletes one version"));
    }
    let conditions = describe::conditions(input.if_match.as_ref(), None);
    gone(front, &tenant, &input.bucket, &input.key, conditions).await?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(crate) async fn delete_many(
    front: &Front,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let tenant = front.tenants.of(req.credentials.as_ref())?;
    let DeleteObjectsInput { bucket, delete, .. } = req.input;
    if delete.objects.len() > DELETED_MAX {
        return Err(S3Error::with_message(S3ErrorCode::MalformedXML, format!("name {DELETED_MAX} objects at most")));
    }
    let is_quiet = delete.quiet.unwrap_or(false);
    let outcomes = stream::iter(delete.objects).map(|object| {
        let (tenant, bucket) = (&tenant, &bucket);
        async move {
            let outcome = match object.version_id {
                Some(_) => Err(error::refused("the request deletes one version")),
                None => gone(front, tenant, bucket, &object.key, Conditions::default()).await,
            };
            (object.key, outcome)
        }
    });
    let outcomes: Vec<_> = outcomes.buffered(DELETED_AT_ONCE).collect().await;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (key, outcome) in outcomes {
        match outcome {
            Ok(()) if is_quiet => {}
            Ok(()) => deleted.push(DeletedObject { key: Some(key), ..DeletedObject::default() }),
            Err(e) => errors.push(Error {
                code: Some(e.code().as_str().to_owned()),
                message: e.message().map(str::to_owned),
                key: Some(key),
                version_id: None,
            }),
        }
    }
    let output = DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() };
    Ok(S3Response::new(output))
}
