//! `/v1/topics`: publish, read what is kept, list. What is a CloudEvent, in structured or binary mode, is taken as one.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use stride_ids::{Failure, Name};
use stride_triggers::{Published, Window, publishable};

use crate::{
    metrics::Work,
    problem::Problem,
    request::{self, Params},
    routes::{Shared, page_limit},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    after: Option<Name>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct TopicList {
    topics: Vec<Listed>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    name: Name,
}

fn topic(name: &str) -> Result<Name, Failure> {
    Name::new(name).map_err(|e| request::invalid_name(&e))
}

pub(crate) async fn publish(
    State(gateway): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = gateway.clock.now();
    let outcome = try_publish(&gateway, &name, &headers, body).await;
    gateway.observe(Work::Tell, began, outcome.as_ref().err());
    let published = outcome?;
    let mut response = (StatusCode::ACCEPTED, Json(&published)).into_response();
    if published.duplicate {
        response.headers_mut().insert("stride-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn try_publish(gateway: &Shared, name: &str, headers: &HeaderMap, body: Body) -> Result<Published, Failure> {
    let (tenant, topic) = (request::tenant(headers)?, topic(name)?);
    let key = request::idempotency_key(headers)?;
    let payload = request::payload(headers, body).await?;
    let payload = publishable(&request::texts(headers), payload)?;
    let deadline = request::deadline(headers)?;
    let work = gateway.triggers.publish(&tenant, &topic, payload, (key, request::trace(headers)));
    gateway.clock.timeout(deadline, work).await.map_err(|_| request::too_late(deadline))?
}

pub(crate) async fn read(
    State(gateway): State<Shared>,
    Path(name): Path<String>,
    Params(query): Params<ReadQuery>,
    headers: HeaderMap,
) -> Result<Json<Window>, Problem> {
    let (tenant, topic) = (request::tenant(&headers)?, topic(&name)?);
    let limit = page_limit(query.limit)?;
    Ok(Json(gateway.triggers.read(&tenant, &topic, query.after, limit).await?))
}

pub(crate) async fn list(
    State(gateway): State<Shared>,
    Params(query): Params<ListQuery>,
    headers: HeaderMap,
) -> Result<Json<TopicList>, Problem> {
    let limit = page_limit(query.limit)?;
    let found = gateway.triggers.topics(&request::tenant(&headers)?, query.after.as_ref(), limit).await?;
    let next = (found.len() == limit).then(|| found.last().map(Name::to_string)).flatten();
    Ok(Json(TopicList { topics: found.into_iter().map(|name| Listed { name }).collect(), next }))
}
