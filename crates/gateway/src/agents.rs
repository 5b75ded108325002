//! `/v1/agents/...`: ask, list, inspect, remove.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use stride_agents::{Answer, Ask};
use stride_ids::{AgentKey, Code, Failure, Name};

use crate::{
    metrics::Work,
    problem::Problem,
    request::{self, Params},
    routes::{Shared, content_type, page_limit},
    timing::server_timing,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskQuery {
    mode: Option<String>,
}

pub(crate) async fn ask(
    State(gateway): State<Shared>,
    Path((kind, key, method)): Path<(String, String, String)>,
    Params(query): Params<AskQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if let Some(mode) = query.mode.filter(|mode| mode != "ask") {
        let message = format!("mode `{mode}` is not available in this version; leave it out to ask");
        return Err(Failure::new(Code::InvalidRequest, message).into());
    }
    let began = gateway.clock.now();
    let outcome = try_ask(&gateway, &kind, &key, method, &headers, body).await;
    gateway.observe(Work::Ask, began, outcome.as_ref().err());
    let Answer { payload, turn, replayed, timing } = outcome?;
    let mut response = payload.body.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, content_type(&payload.content_type));
    out.insert("stride-turn", HeaderValue::from(turn));
    if replayed {
        out.insert("stride-replayed", HeaderValue::from_static("true"));
    }
    let phases = [("queue", timing.queue), ("start", timing.start), ("run", timing.run), ("commit", timing.commit)];
    out.insert("server-timing", server_timing(&phases));
    Ok(response)
}

async fn try_ask(
    gateway: &Shared,
    kind: &str,
    key: &str,
    method: String,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Failure> {
    let address = request::address(headers, kind, key)?;
    let idempotency_key = request::idempotency_key(headers)?;
    let input = request::payload(headers, body).await?;
    let work = gateway.engine.ask(Ask { address, method, input, idempotency_key, trace: None });
    request::within_deadline(&gateway.clock, headers, work).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct AgentList {
    agents: Vec<ListedAgent>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ListedAgent {
    key: String,
}

pub(crate) async fn list(
    State(gateway): State<Shared>,
    Path(kind): Path<String>,
    Params(query): Params<ListQuery>,
    headers: HeaderMap,
) -> Result<Json<AgentList>, Problem> {
    let tenant = request::tenant(&headers)?;
    let kind = Name::new(&kind).map_err(|e| request::invalid_name(&e))?;
    let after = query.after.as_deref().map(AgentKey::new).transpose().map_err(|e| request::invalid_name(&e))?;
    let limit = page_limit(query.limit)?;
    let found = gateway.engine.list(&tenant, &kind, after.as_ref(), limit)?;
    let next = (found.len() == limit).then(|| found.last().map(|last| last.key.to_string())).flatten();
    let agents = found.into_iter().map(|address| ListedAgent { key: address.key.into() }).collect();
    Ok(Json(AgentList { agents, next }))
}

#[derive(Serialize)]
pub(crate) struct Inspected {
    tenant: String,
    r#type: String,
    key: String,
    cell: u16,
    turns: u64,
    created_at: u64,
    live: bool,
    state_bytes: usize,
}

pub(crate) async fn inspect(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Inspected>, Problem> {
    let address = request::address(&headers, &kind, &key)?;
    let status = gateway.engine.inspect(&address).await?;
    Ok(Json(Inspected {
        tenant: address.tenant.into(),
        r#type: address.kind.into(),
        key: address.key.into(),
        cell: status.cell.0,
        turns: status.turns,
        created_at: status.created_at,
        live: status.live,
        state_bytes: status.state_bytes,
    }))
}

pub(crate) async fn remove(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    gateway.engine.remove(&request::address(&headers, &kind, &key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
