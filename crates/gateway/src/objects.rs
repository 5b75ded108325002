//! `/v1/objects`: put, read, look at, delete and list objects; see and make buckets.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use axum::{
    Json,
    body::{Body, BodyDataStream},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use stride_data::{BucketSpec, BucketStatus, Error, ObjectStatus, Put, Unmet};
use stride_ids::{BucketName, Failure, Name, ObjectKey, ObjectName, VersionId};

use crate::{
    metrics::Work,
    object_headers::{conditions, quoted, range},
    problem::Problem,
    request::{self, Params, invalid},
    routes::{Shared, content_type, page_limit},
};

/// How long the rest of a body is read whose fate is known. Whoever still sends when the connection closes sees a broken
/// pipe instead of the answer.
const LINGER_MAX: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionQuery {
    version: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BucketsQuery {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectsQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configured {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    versions_kept: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct BucketList {
    buckets: Vec<ListedBucket>,
    next: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ListedBucket {
    bucket: String,
    labels: BTreeMap<String, String>,
    versions_kept: u32,
    created_at: u64,
    objects: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(crate) struct ObjectList {
    objects: Vec<ListedObject>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ListedObject {
    key: String,
    version: u64,
    bytes: u64,
    etag: String,
    content_type: String,
    created_at: u64,
}

fn listed_bucket(bucket: &BucketName, status: BucketStatus) -> ListedBucket {
    let BucketStatus { labels, versions_kept, created_at, objects, bytes } = status;
    ListedBucket { bucket: bucket.to_string(), labels, versions_kept, created_at, objects, bytes }
}

fn listed_object(key: &ObjectKey, status: ObjectStatus) -> ListedObject {
    let ObjectStatus { version, len, etag, content_type, created_at, headers: _ } = status;
    let (key, etag) = (key.to_string(), etag.to_string());
    ListedObject { key, version: version.0, bytes: len, etag, content_type, created_at }
}

fn bucket_name(bucket: &str) -> Result<BucketName, Failure> {
    BucketName::new(bucket).map_err(|e| request::invalid_name(&e))
}

fn object_name(headers: &HeaderMap, (bucket, key): &(String, String)) -> Result<ObjectName, Failure> {
    Ok(ObjectName {
        tenant: request::tenant(headers)?,
        bucket: bucket_name(bucket)?,
        key: ObjectKey::new(key).map_err(|e| request::invalid_name(&e))?,
    })
}

/// What went wrong with an object, on its way out.
fn problem(error: Error) -> Problem {
    let (status, header) = match &error {
        Error::Unmet { .. } => (Some(StatusCode::PRECONDITION_FAILED), None),
        Error::Range { len, .. } => {
            let range = HeaderValue::from_str(&format!("bytes */{len}")).expect("numbers are plain text");
            (Some(StatusCode::RANGE_NOT_SATISFIABLE), Some((header::CONTENT_RANGE, range)))
        }
        _ => (None, None),
    };
    let problem = Problem::from(Failure::from(error));
    let problem = status.into_iter().fold(problem, Problem::with_status);
    header.into_iter().fold(problem, |problem, (name, value)| problem.with_header(name, value))
}

/// Does some work with objects within the request's deadline, and counts it.
async fn observed<T>(
    gateway: &Shared,
    work: Work,
    headers: &HeaderMap,
    doing: impl Future<Output = Result<T, Error>>,
) -> Result<T, Problem> {
    let began = gateway.clock.now();
    let deadline = request::deadline(headers)?;
    let outcome = gateway.clock.timeout(deadline, doing).await;
    let outcome = outcome.unwrap_or_else(|_| Err(request::too_late(deadline).into()));
    let failure = outcome.as_ref().err().map(|error| Failure::new(error.code(), error.to_string()));
    gateway.observe(work, began, failure.as_ref());
    outcome.map_err(problem)
}

pub(crate) async fn buckets(
    State(gateway): State<Shared>,
    Params(query): Params<BucketsQuery>,
    headers: HeaderMap,
) -> Result<Json<BucketList>, Problem> {
    let tenant = request::tenant(&headers)?;
    let limit = page_limit(query.limit)?;
    let listing = gateway.objects.buckets(&tenant, query.after.as_deref(), limit);
    let page = observed(&gateway, Work::ObjectRead, &headers, listing).await?;
    let buckets = page.buckets.into_iter().map(|(bucket, status)| listed_bucket(&bucket, status)).collect();
    Ok(Json(BucketList { buckets, next: page.next }))
}

pub(crate) async fn list(
    State(gateway): State<Shared>,
    Path(bucket): Path<String>,
    Params(query): Params<ObjectsQuery>,
    headers: HeaderMap,
) -> Result<Json<ObjectList>, Problem> {
    let tenant = request::tenant(&headers)?;
    let bucket = bucket_name(&bucket)?;
    let limit = page_limit(query.limit)?;
    let listing = gateway.objects.list(&tenant, &bucket, query.prefix, query.after, limit);
    let page = observed(&gateway, Work::ObjectRead, &headers, listing).await?;
    let objects = page.objects.into_iter().map(|(key, status)| listed_object(&key, status)).collect();
    Ok(Json(ObjectList { objects, next: page.next }))
}

pub(crate) async fn configure(
    State(gateway): State<Shared>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ListedBucket>, Problem> {
    let (tenant, bucket): (Name, _) = (request::tenant(&headers)?, bucket_name(&bucket)?);
    let bytes = request::bytes(&headers, body).await?;
    let explain =
        |e| invalid(format!("send what the bucket is to be, such as {{\"labels\": {{\"region\": \"eu\"}}}}: {e}"));
    let Configured { labels, versions_kept } = serde_json::from_slice(&bytes).map_err(explain)?;
    let spec = BucketSpec { labels, versions_kept };
    let configuring = gateway.objects.configure(&tenant, &bucket, spec);
    let status = observed(&gateway, Work::ObjectWrite, &headers, configuring).await?;
    Ok(Json(listed_bucket(&bucket, status)))
}

pub(crate) async fn put(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut body = body.into_data_stream();
    let outcome = try_put(&gateway, &path, &headers, &mut body).await;
    if outcome.is_err() {
        let clock = gateway.clock.clone();
        gateway.tasks.spawn(async move {
            // Until everything is read, the client is gone or the time is over, which are all the same here.
            let _ = clock.timeout(LINGER_MAX, body.for_each(|_| std::future::ready(()))).await;
        });
    }
    outcome
}

async fn try_put(
    gateway: &Shared,
    path: &(String, String),
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Response, Problem> {
    let name = object_name(headers, path)?;
    let content_type = request::text(headers, header::CONTENT_TYPE.as_str())?.map(str::to_owned);
    let announced = request::text(headers, header::CONTENT_LENGTH.as_str())?;
    let len = announced.and_then(|announced| announced.parse().ok());
    let put = Put { content_type, len, conditions: conditions(headers)?, ..Put::default() };
    let putting = gateway.objects.put(&name, body, put);
    let status = observed(gateway, Work::ObjectWrite, headers, Box::pin(putting)).await?;
    let mut response = (StatusCode::CREATED, Json(listed_object(&name.key, status.clone()))).into_response();
    describe(response.headers_mut(), &status);
    Ok(response)
}

pub(crate) async fn delete(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = object_name(&headers, &path)?;
    let deleting = gateway.objects.delete(&name, conditions(&headers)?);
    let version = observed(&gateway, Work::ObjectWrite, &headers, deleting).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert("stride-version", version.0.into());
    Ok(response)
}

pub(crate) async fn look(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    Params(query): Params<VersionQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = object_name(&headers, &path)?;
    let looking = async {
        let status = gateway.objects.status(&name, query.version.map(VersionId)).await?;
        Ok((is_had_already(&name, &headers, &status)?, status))
    };
    let (is_had_already, status) = observed(&gateway, Work::ObjectRead, &headers, looking).await?;
    if is_had_already {
        return Ok(not_modified(&status));
    }
    let mut response = StatusCode::OK.into_response();
    describe(response.headers_mut(), &status);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type(&status.content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, status.len.into());
    Ok(response)
}

/// An object that is being read.
struct Reading<S> {
    status: ObjectStatus,
    range: Range<u64>,
    is_part: bool,
    /// Read before the head of the answer is sent, so that what is wrong with it can still be said.
    first: Option<Bytes>,
    rest: S,
}

pub(crate) async fn read(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    Params(query): Params<VersionQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = object_name(&headers, &path)?;
    let reading = async {
        let reader = gateway.objects.open(&name, query.version.map(VersionId)).await?;
        let status = reader.status().clone();
        if is_had_already(&name, &headers, &status)? {
            return Ok(Err(status));
        }
        let spec = range(&headers, &status.etag)?;
        let range = reader.range(spec)?;
        let mut rest = Box::pin(reader.stream(range.clone()));
        let first = rest.next().await.transpose()?;
        Ok(Ok(Reading { status, range, is_part: spec.is_some(), first, rest }))
    };
    match observed(&gateway, Work::ObjectRead, &headers, reading).await? {
        Ok(reading) => Ok(given_out(name.to_string(), reading)),
        Err(status) => Ok(not_modified(&status)),
    }
}

fn given_out<S>(object: String, Reading { status, range, is_part, first, rest }: Reading<S>) -> Response
where
    S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
{
    let pieces = stream::iter(first.map(Ok)).chain(rest);
    let mut response = Body::from_stream(broken_off(object, pieces)).into_response();
    let out = response.headers_mut();
    describe(out, &status);
    out.insert(header::CONTENT_TYPE, content_type(&status.content_type));
    out.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    if is_part {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, status.len);
        out.insert(header::CONTENT_RANGE, HeaderValue::from_str(&text).expect("numbers are plain text"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// Once the head of an answer is out, an error can only end the connection before all bytes that were announced are
/// there. It is said in the node's log.
fn broken_off<S>(object: String, pieces: S) -> impl Stream<Item = Result<Bytes, Error>>
where
    S: Stream<Item = Result<Bytes, Error>>,
{
    pieces.inspect(move |piece| {
        if let Err(error) = piece {
            tracing::error!(object, %error, "an object could not be read to its end");
        }
    })
}

/// Checks the conditions of a reading request. Whether the client has these bytes already.
fn is_had_already(name: &ObjectName, headers: &HeaderMap, status: &ObjectStatus) -> Result<bool, Error> {
    match conditions(headers)?.check(Some(&status.etag)) {
        Ok(()) => Ok(false),
        Err(Unmet::IfNoneMatch) => Ok(true),
        Err(unmet) => Err(Error::Unmet { object: name.to_string(), unmet }),
    }
}

fn not_modified(status: &ObjectStatus) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    describe(response.headers_mut(), status);
    response
}

/// Says which version of which bytes an answer is about.
fn describe(headers: &mut HeaderMap, status: &ObjectStatus) {
    let etag = HeaderValue::from_str(&quoted(&status.etag)).expect("a tag is plain text");
    headers.insert(header::ETAG, etag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert("stride-version", status.version.0.into());
}
