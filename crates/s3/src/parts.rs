//! Uploads in parts.

use std::time::Duration;

use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, Checksum, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CompletedPart, CopyPartResult, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
        ListPartsOutput, MultipartUpload, Part, Range, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput,
        UploadPartOutput,
    },
};
use stride_data::{Conditions, ETag, OPEN_MAX, PartNumber, PartStatus, UploadId};

use crate::{
    checksum::{self, Announced},
    describe::{self, Readable, described, e_tag, etag_of},
    error,
    front::{Front, bucket_name},
    get::{length, range_spec},
    put::{announced, refuse, source},
};

/// After how long a completion is told to be under way, in blanks, so that the client does not give up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many parts and uploads are listed at once.
const LISTED_MAX: usize = 1_000;

fn upload_id(text: &str) -> S3Result<UploadId> {
    UploadId::from_hex(text).ok_or_else(|| S3ErrorCode::NoSuchUpload.into())
}

fn part_number(number: i32) -> S3Result<PartNumber> {
    PartNumber::try_from(number).map_err(|_| error::invalid(format!("{number} is not the number of a part")))
}

pub(crate) async fn begin(
    front: &Front,
    req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let mut input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    refuse!(input);
    let put = described!(input).put(None, Conditions::default())?;
    let id = front.objects.begin_upload(&name, put).await.map_err(error::of)?;
    let open_max = u64::try_from(OPEN_MAX.as_millis()).unwrap_or(u64::MAX);
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id.to_string()),
        abort_date: Some(describe::time(front.clock.timestamp().saturating_add(open_max))),
        ..CreateMultipartUploadOutput::default()
    }))
}

pub(crate) async fn part(front: &Front, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
    let mut input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    let (id, number) = (upload_id(&input.upload_id)?, part_number(input.part_number)?);
    if input.sse_customer_algorithm.is_some() {
        return Err(error::refused("the request asks for encryption"));
    }
    let len = input.content_length.and_then(|len| u64::try_from(len).ok());
    let announced = announced!(input, req.headers, req.trailing_headers);
    let (bytes, verdict) = checksum::checked(input.body, announced);
    let stored = Box::pin(front.objects.put_part(&name, id, number, bytes, len)).await;
    let status = stored.map_err(|e| verdict.mismatch().unwrap_or_else(|| error::of(e)))?;
    let sums = verdict.sums();
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(e_tag(&status.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..UploadPartOutput::default()
    }))
}

pub(crate) async fn part_copy(
    front: &Front,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = req.input;
    let to = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    let (from, version) = source(&to.tenant, &input.copy_source)?;
    let (id, number) = (upload_id(&input.upload_id)?, part_number(input.part_number)?);
    let reader = front.objects.open(&from, version).await.map_err(error::of)?;
    let readable = Readable {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    readable.check(reader.status()).map_err(|_| S3Error::from(S3ErrorCode::PreconditionFailed))?;
    let unreadable = |text: &String| error::invalid(format!("`{text}` is not a range such as bytes=0-9"));
    let range = input.copy_source_range.as_ref();
    let range = range.map(|text| Range::parse(text).map_err(|_| unreadable(text))).transpose()?;
    let range = reader.range(range.map(range_spec)).map_err(error::of)?;
    let len = range.end - range.start;
    let put = Box::pin(front.objects.put_part(&to, id, number, reader.stream(range), Some(len)));
    let PartStatus { etag, created_at, .. } = put.await.map_err(error::of)?;
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(e_tag(&etag)),
            last_modified: Some(describe::time(created_at)),
            ..CopyPartResult::default()
        }),
        ..UploadPartCopyOutput::default()
    }))
}

fn completed_part(part: &CompletedPart) -> S3Result<(PartNumber, ETag)> {
    let number = part_number(part.part_number.unwrap_or_default())?;
    let etag = part.e_tag.as_ref().and_then(etag_of);
    let unknown = || S3Error::with_message(S3ErrorCode::InvalidPart, format!("part {number} has another tag"));
    Ok((number, etag.ok_or_else(unknown)?))
}

pub(crate) async fn complete(
    front: &Front,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    let id = upload_id(&input.upload_id)?;
    let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let parts: Vec<_> = parts.iter().map(completed_part).collect::<S3Result<_>>()?;
    if !parts.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(S3ErrorCode::InvalidPartOrder.into());
    }
    let conditions = describe::conditions(input.if_match.as_ref(), input.if_none_match.as_ref());
    let objects = front.objects.clone();
    let mut completing = Box::pin(async move {
        let status = objects.complete_upload(&name, id, parts, conditions).await.map_err(error::of)?;
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{name}")),
            bucket: Some(name.bucket.to_string()),
            key: Some(name.key.to_string()),
            e_tag: Some(e_tag(&status.etag)),
            version_id: Some(status.version.to_string()),
            ..CompleteMultipartUploadOutput::default()
        })
    });
    let output = match front.clock.timeout(PATIENCE, &mut completing).await {
        Ok(outcome) => outcome?,
        Err(_) => CompleteMultipartUploadOutput { future: Some(completing), ..Default::default() },
    };
    Ok(S3Response::new(output))
}

pub(crate) async fn abort(
    front: &Front,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    front.objects.abort_upload(&name, upload_id(&input.upload_id)?).await.map_err(error::of)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(crate) async fn parts(front: &Front, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    let id = upload_id(&input.upload_id)?;
    let after = part_number(input.part_number_marker.unwrap_or_default())?;
    let max = listed_max(input.max_parts);
    let page = front.objects.parts(&name, id, after, max).await.map_err(error::of)?;
    let next = page.parts.last().filter(|_| !page.is_last).map(|part| i32::from(part.number));
    let part = |part: PartStatus| Part {
        part_number: Some(i32::from(part.number)),
        size: Some(length(part.len)),
        e_tag: Some(e_tag(&part.etag)),
        last_modified: Some(describe::time(part.created_at)),
        ..Part::default()
    };
    Ok(S3Response::new(ListPartsOutput {
        parts: Some(page.parts.into_iter().map(part).collect()),
        is_truncated: Some(!page.is_last),
        next_part_number_marker: next,
        part_number_marker: input.part_number_marker,
        max_parts: i32::try_from(max).ok(),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    }))
}

fn listed_max(max: Option<i32>) -> usize {
    max.map_or(LISTED_MAX, |max| usize::try_from(max).unwrap_or(0).clamp(1, LISTED_MAX))
}

pub(crate) async fn uploads(
    front: &Front,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let tenant = front.tenants.of(req.credentials.as_ref())?;
    let input = req.input;
    let bucket = bucket_name(&input.bucket)?;
    let after = input.upload_id_marker.as_deref().map(upload_id).transpose()?;
    let max = listed_max(input.max_uploads);
    let page = front.objects.uploads(&tenant, &bucket, after, max).await.map_err(error::of)?;
    let next = page.uploads.last().filter(|_| !page.is_last);
    let (next_key_marker, next_upload_id_marker) =
        (next.map(|upload| upload.key.to_string()), next.map(|upload| upload.id.to_string()));
    let prefix = input.prefix.unwrap_or_default();
    let wanted = page.uploads.into_iter().filter(|upload| upload.key.as_str().starts_with(&prefix));
    let uploads = wanted.map(|upload| MultipartUpload {
        key: Some(upload.key.to_string()),
        upload_id: Some(upload.id.to_string()),
        initiated: Some(describe::time(upload.begun_at)),
        ..MultipartUpload::default()
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        is_truncated: Some(!page.is_last),
        next_key_marker,
        next_upload_id_marker,
        max_uploads: i32::try_from(max).ok(),
        bucket: Some(input.bucket),
        prefix: Some(prefix),
        ..ListMultipartUploadsOutput::default()
    }))
}
