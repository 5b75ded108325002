//! Reading: objects, what is known of them, and lists of them.

use futures::StreamExt as _;
use s3s::{
    Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        Bucket, CommonPrefix, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
        ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
        ObjectStorageClass, Range, StreamingBlob,
    },
};
use stride_data::{ObjectStatus, RangeSpec};
use stride_ids::ObjectKey;

use crate::{
    describe::{self, Readable, e_tag, give_back},
    error,
    front::{Front, bucket_name, version},
    listing::{self, After, Asked, PAGE_MAX, Page},
};

/// How many buckets are told at once, if the client does not say.
const BUCKETS_MAX: usize = 1_000;

pub(crate) fn range_spec(range: Range) -> RangeSpec {
    match range {
        Range::Int { first, last: Some(last) } => RangeSpec::Between(first, last),
        Range::Int { first, last: None } => RangeSpec::From(first),
        Range::Suffix { length } => RangeSpec::Last(length),
    }
}

/// Objects are not kept in the parts in which they came, so that all of it is the first and only one.
fn only_part(part: Option<i32>) -> S3Result<()> {
    match part {
        None | Some(1) => Ok(()),
        Some(_) => Err(S3Error::with_message(S3ErrorCode::InvalidPart, "objects are kept whole; ask for a range")),
    }
}

pub(crate) async fn object(front: &Front, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let input = req.input;
    let name = front.readable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    only_part(input.part_number)?;
    let reader = front.objects.open(&name, version(input.version_id.as_deref())?).await.map_err(error::of)?;
    let status = reader.status();
    readable(&input).check(status)?;
    let range = reader.range(input.range.map(range_spec)).map_err(error::of)?;
    let mut output = GetObjectOutput::default();
    give_back!(output, status);
    output.content_length = Some(length(range.end - range.start));
    if input.range.is_some() {
        output.content_range = Some(format!("bytes {}-{}/{}", range.start, range.end - 1, status.len));
    }
    let mut pieces = Box::pin(reader.stream(range));
    // Read before the head of the answer is sent, so that what is wrong with it can still be said.
    let first = pieces.next().await.transpose().map_err(error::of)?;
    let object = name.to_string();
    let pieces = futures::stream::iter(first.map(Ok)).chain(pieces).inspect(move |piece| {
        if let Err(error) = piece {
            tracing::error!(object, %error, "an object could not be read to its end");
        }
    });
    let body = Body::http_body_unsync(axum::body::Body::from_stream(pieces));
    output.body = Some(StreamingBlob::from(body));
    Ok(S3Response::new(output))
}

fn readable(input: &GetObjectInput) -> Readable<'_> {
    Readable {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    }
}

pub(crate) async fn head(front: &Front, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = req.input;
    let name = front.readable(req.credentials.as_ref(), &input.bucket, &input.key)?;
    only_part(input.part_number)?;
    let status = front.objects.status(&name, version(input.version_id.as_deref())?).await.map_err(error::of)?;
    let readable = Readable {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    };
    readable.check(&status)?;
    let mut output = HeadObjectOutput::default();
    give_back!(output, &status);
    output.content_length = Some(length(status.len));
    Ok(S3Response::new(output))
}

pub(crate) fn length(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

pub(crate) async fn buckets(
    front: &Front,
    req: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let tenant = front.tenants.of(req.credentials.as_ref())?;
    let ListBucketsInput { continuation_token, max_buckets, prefix, .. } = req.input;
    let max = max_buckets.map_or(BUCKETS_MAX, |max| usize::try_from(max).unwrap_or(0).clamp(1, BUCKETS_MAX));
    let page = front.objects.buckets(&tenant, continuation_token.as_deref(), max).await.map_err(error::of)?;
    let wanted = |name: &str| prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix));
    let buckets = page.buckets.into_iter().filter(|(name, _)| wanted(name.as_str())).map(|(name, status)| Bucket {
        name: Some(name.to_string()),
        creation_date: Some(describe::time(status.created_at)),
        ..Bucket::default()
    });
    let output = ListBucketsOutput {
        buckets: Some(buckets.collect()),
        continuation_token: page.next,
        prefix: prefix.clone(),
        ..ListBucketsOutput::default()
    };
    Ok(S3Response::new(output))
}

fn asked(prefix: Option<&String>, delimiter: Option<&String>, max: Option<i32>) -> Asked {
    let max = max.map_or(PAGE_MAX, |max| usize::try_from(max).unwrap_or(0).min(PAGE_MAX));
    Asked { prefix: prefix.cloned().unwrap_or_default(), delimiter: delimiter.cloned(), max }
}

pub(crate) async fn list(
    front: &Front,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let tenant = front.tenants.of(req.credentials.as_ref())?;
    let input = req.input;
    let bucket = bucket_name(&input.bucket)?;
    let asked = asked(input.prefix.as_ref(), input.delimiter.as_ref(), input.max_keys);
    let unreadable = || error::invalid("the continuation token is none that a listing has given out".into());
    let after = match &input.continuation_token {
        Some(token) => Some(After::of_token(token).ok_or_else(unreadable)?),
        None => input.start_after.clone().map(After::Key),
    };
    let Page { objects, prefixes, last, is_truncated } =
        listing::page(&front.objects, &tenant, &bucket, &asked, after).await?;
    let output = ListObjectsV2Output {
        key_count: i32::try_from(objects.len() + prefixes.len()).ok(),
        max_keys: i32::try_from(asked.max).ok(),
        is_truncated: Some(is_truncated),
        next_continuation_token: last.filter(|_| is_truncated).map(|last| last.token()),
        contents: Some(objects.into_iter().map(listed).collect()),
        common_prefixes: Some(prefixes.into_iter().map(common).collect()),
        name: Some(input.bucket),
        prefix: Some(asked.prefix),
        delimiter: asked.delimiter,
        continuation_token: input.continuation_token,
        start_after: input.start_after,
        ..ListObjectsV2Output::default()
    };
    Ok(S3Response::new(output))
}

pub(crate) async fn list_first_version(
    front: &Front,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let tenant = front.tenants.of(req.credentials.as_ref())?;
    let input = req.input;
    let bucket = bucket_name(&input.bucket)?;
    let asked = asked(input.prefix.as_ref(), input.delimiter.as_ref(), input.max_keys);
    let after = input.marker.clone().filter(|marker| !marker.is_empty()).map(|marker| asked.after_marker(marker));
    let Page { objects, prefixes, last, is_truncated } =
        listing::page(&front.objects, &tenant, &bucket, &asked, after).await?;
    let next = last.filter(|_| is_truncated).map(|(After::Key(text) | After::Prefix(text))| text);
    let output = ListObjectsOutput {
        max_keys: i32::try_from(asked.max).ok(),
        is_truncated: Some(is_truncated),
        next_marker: next,
        contents: Some(objects.into_iter().map(listed).collect()),
        common_prefixes: Some(prefixes.into_iter().map(common).collect()),
        name: Some(input.bucket),
        prefix: Some(asked.prefix),
        delimiter: asked.delimiter,
        marker: input.marker,
        ..ListObjectsOutput::default()
    };
    Ok(S3Response::new(output))
}

fn listed((key, status): (ObjectKey, ObjectStatus)) -> Object {
    Object {
        key: Some(key.to_string()),
        e_tag: Some(e_tag(&status.etag)),
        size: Some(length(status.len)),
        last_modified: Some(describe::time(status.created_at)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Object::default()
    }
}

fn common(prefix: String) -> CommonPrefix {
    CommonPrefix { prefix: Some(prefix) }
}
