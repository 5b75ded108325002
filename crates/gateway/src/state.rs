//! `/v1/agents/{type}/{key}/state[/{state-key}]`: an agent's state, seen and edited without running its code.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stride_ids::{Code, Failure, Payload};

use crate::{
    problem::Problem,
    request::{self, Params},
    routes::{Shared, content_type, page_limit},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct StateListing {
    state: Option<Box<RawValue>>,
    entries: Vec<ListedEntry>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ListedEntry {
    key: String,
    bytes: usize,
}

pub(crate) async fn list(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    Params(query): Params<StateQuery>,
    headers: HeaderMap,
) -> Result<Json<StateListing>, Problem> {
    let address = request::address(&headers, &kind, &key)?;
    let limit = page_limit(query.limit)?;
    let page = gateway.engine.state(&address, &query.prefix, query.after.as_deref(), limit).await?;
    let next = page.more.then(|| page.entries.last().map(|entry| entry.key.clone())).flatten();
    let entries = page.entries.into_iter().map(|entry| ListedEntry { key: entry.key, bytes: entry.bytes }).collect();
    let state = page.state.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(|e| {
        let message = format!("the typed state is not JSON, so it cannot be shown here: {e}");
        Failure::new(Code::InvalidRequest, message)
    })?;
    Ok(Json(StateListing { state, entries, next }))
}

pub(crate) async fn read(
    State(gateway): State<Shared>,
    Path((kind, key, state_key)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let address = request::address(&headers, &kind, &key)?;
    let value = gateway.engine.state_entry(&address, &state_key).await?;
    let mut response = value.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, content_type(Payload::JSON));
    Ok(response)
}

pub(crate) async fn replace(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let address = request::address_of_users(&headers, &kind, &key)?;
    let value = json(&headers, body).await?;
    gateway.engine.edit(&address, None, Some(value)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn write(
    State(gateway): State<Shared>,
    Path((kind, key, state_key)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let address = request::address_of_users(&headers, &kind, &key)?;
    let value = json(&headers, body).await?;
    gateway.engine.edit(&address, Some(state_key), Some(value)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn delete(
    State(gateway): State<Shared>,
    Path((kind, key, state_key)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let address = request::address_of_users(&headers, &kind, &key)?;
    gateway.engine.edit(&address, Some(state_key), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body, which has to be JSON: the SDKs could not read anything else, and the agent would be stuck.
async fn json(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, Failure> {
    let bytes = request::bytes(headers, body).await?;
    serde_json::from_slice::<&RawValue>(&bytes)
        .map_err(|e| Failure::new(Code::InvalidRequest, format!("state has to be JSON: {e}")))?;
    Ok(bytes)
}
