//! `/v1/maps`: begin maps, look at them, read their results while they run, and cancel them.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;
use serde::Serialize;
use stride_ids::{Code, Failure};
use stride_maps::{Begun, MapId, Spec, Status};

use crate::{
    problem::Problem,
    request::{self, invalid},
    routes::Shared,
};

/// One JSON document a line.
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

#[derive(Serialize)]
pub(crate) struct MapList {
    maps: Vec<ListedMap>,
}

#[derive(Serialize)]
pub(crate) struct ListedMap {
    id: String,
    #[serde(flatten)]
    spec: Spec,
    /// Which version of the function is called.
    version: Option<String>,
    state: &'static str,
    cause: Option<Failure>,
    items: u64,
    planned: bool,
    done: u64,
    failed: u64,
    failures: Vec<Failures>,
    bytes: u64,
    hedged: u64,
    memoised: u64,
    created_at: u64,
    ended_at: Option<u64>,
}

#[derive(Serialize)]
struct Failures {
    code: Code,
    items: u64,
}

impl From<Status> for ListedMap {
    fn from(status: Status) -> Self {
        let Status { id, spec, version, state, created_at, ended_at, .. } = status;
        let Status { items, is_planned: planned, done, failed, bytes, hedged, memoised, .. } = status;
        let (state, cause) = state.told();
        let cause = cause.cloned();
        let id = id.to_string();
        let failures: Vec<_> = failed.into_iter().map(|(code, items)| Failures { code, items }).collect();
        let failed = failures.iter().map(|failures| failures.items).sum();
        Self {
            id,
            spec,
            version,
            state,
            cause,
            items,
            planned,
            done,
            failed,
            failures,
            bytes,
            hedged,
            memoised,
            created_at,
            ended_at,
        }
    }
}

fn map_id(id: &str) -> Result<MapId, Failure> {
    id.parse().map_err(invalid)
}

pub(crate) async fn begin(State(gateway): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let tenant = request::tenant(&headers)?;
    let key = request::idempotency_key(&headers)?;
    let bytes = request::bytes(&headers, body).await?;
    let explain = |e| {
        invalid(format!(
            "send what the map does, such as {{\"function\": \"words/count\", \"over\": \"texts/2024/\"}}: {e}"
        ))
    };
    let spec: Spec = serde_json::from_slice(&bytes).map_err(explain)?;
    let Begun { status, is_replayed } = gateway.maps.begin(&tenant, spec, key).await?;
    let mut response = (StatusCode::CREATED, Json(ListedMap::from(status))).into_response();
    if is_replayed {
        response.headers_mut().insert("stride-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

pub(crate) async fn list(State(gateway): State<Shared>, headers: HeaderMap) -> Result<Json<MapList>, Problem> {
    let maps = gateway.maps.list(&request::tenant(&headers)?).await?;
    Ok(Json(MapList { maps: maps.into_iter().map(ListedMap::from).collect() }))
}

pub(crate) async fn look(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ListedMap>, Problem> {
    let status = gateway.maps.status(&request::tenant(&headers)?, &map_id(&id)?).await?;
    Ok(Json(status.into()))
}

pub(crate) async fn results(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let lines = gateway.maps.results(&request::tenant(&headers)?, &map_id(&id)?).await?;
    // Once the head is out, all that an error can do is to end the connection too early.
    let lines = lines.inspect(move |lines| {
        if let Err(failure) = lines {
            tracing::error!(id, %failure, "the results of a map could not be read to their end");
        }
    });
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, NDJSON);
    Ok(response)
}

pub(crate) async fn cancel(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    gateway.maps.cancel(&request::tenant(&headers)?, &map_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
