//! `POST /v1/agents/{type}/{key}/{method}`: ask, and with `?mode=tell` tell.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use stride_agents::{Answer, Ask, Tell, Told};
use stride_ids::{Code, Failure};

use crate::{
    metrics::Work,
    problem::Problem,
    request::{self, Params},
    routes::{Shared, content_type},
    timing::server_timing,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeQuery {
    mode: Option<String>,
}

#[derive(Serialize)]
struct Accepted {
    message: String,
}

pub(crate) async fn ask_or_tell(
    State(gateway): State<Shared>,
    Path((kind, key, method)): Path<(String, String, String)>,
    Params(query): Params<ModeQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = gateway.clock.now();
    match query.mode.as_deref() {
        None | Some("ask") => {
            let outcome = ask(&gateway, &kind, &key, method, &headers, body).await;
            gateway.observe(Work::Ask, began, outcome.as_ref().err());
            Ok(answered(outcome?))
        }
        Some("tell") => {
            let outcome = tell(&gateway, &kind, &key, method, &headers, body).await;
            gateway.observe(Work::Tell, began, outcome.as_ref().err());
            Ok(accepted(outcome?))
        }
        Some(other) => {
            let message = format!("there is no mode `{other}`; use ask, which is meant if it is left out, or tell");
            Err(Failure::new(Code::InvalidRequest, message).into())
        }
    }
}

async fn ask(
    gateway: &Shared,
    kind: &str,
    key: &str,
    method: String,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Failure> {
    let (address, method) = (request::address(headers, kind, key)?, request::method(method)?);
    let idempotency_key = request::idempotency_key(headers)?;
    let trace = request::trace(headers);
    let input = request::payload(headers, body).await?;
    let deadline = request::deadline(headers)?;
    let work = gateway.engine.ask(Ask { address, method, input, idempotency_key, trace });
    gateway.clock.timeout(deadline, work).await.map_err(|_| request::too_late(deadline))?
}

async fn tell(
    gateway: &Shared,
    kind: &str,
    key: &str,
    method: String,
    headers: &HeaderMap,
    body: Body,
) -> Result<Told, Failure> {
    let (address, method) = (request::address(headers, kind, key)?, request::method(method)?);
    let idempotency_key = request::idempotency_key(headers)?;
    let trace = request::trace(headers);
    let input = request::payload(headers, body).await?;
    let deadline = request::deadline(headers)?;
    let work = gateway.engine.tell(Tell { address, method, input, idempotency_key, trace });
    gateway.clock.timeout(deadline, work).await.map_err(|_| request::too_late(deadline))?
}

pub(crate) fn answered(Answer { payload, turn, replayed, timing, node }: Answer) -> Response {
    let mut response = payload.body.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, content_type(&payload.content_type));
    out.insert("stride-turn", HeaderValue::from(turn));
    mark_replayed(out, replayed);
    if let Some(node) = node.and_then(|node| HeaderValue::try_from(node).ok()) {
        out.insert("stride-node", node);
    }
    let phases = [("queue", timing.queue), ("start", timing.start), ("run", timing.run), ("commit", timing.commit)];
    out.insert("server-timing", server_timing(&phases));
    response
}

fn accepted(Told { message, replayed }: Told) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(Accepted { message })).into_response();
    mark_replayed(response.headers_mut(), replayed);
    response
}

pub(crate) fn mark_replayed(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert("stride-replayed", HeaderValue::from_static("true"));
    }
}
