//! `/v1/triggers`: list them, pause and resume them, and their dead letters.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stride_ids::{Failure, Name};
use stride_triggers::{Letter, Status};

use crate::{
    problem::Problem,
    request::{self, Params},
    routes::{Shared, page_limit},
};

#[derive(Serialize)]
pub(crate) struct TriggerList {
    triggers: Vec<Status>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LettersQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// Which dead letter; all without it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichQuery {
    letter: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct LetterList {
    letters: Vec<Listed>,
    more: bool,
}

#[derive(Serialize)]
struct Listed {
    number: u64,
    event: Value,
    attempts: u32,
    cause: Failure,
    at: u64,
}

#[derive(Serialize)]
pub(crate) struct Replayed {
    replayed: u64,
}

#[derive(Serialize)]
pub(crate) struct Dropped {
    dropped: u64,
}

/// The trigger that a path names.
fn named((component, trigger): &(String, String)) -> Result<(Name, Name), Failure> {
    let name = |text: &str| Name::new(text).map_err(|e| request::invalid_name(&e));
    Ok((name(component)?, name(trigger)?))
}

pub(crate) async fn list(State(gateway): State<Shared>, headers: HeaderMap) -> Result<Json<TriggerList>, Problem> {
    Ok(Json(TriggerList { triggers: gateway.triggers.list(&request::tenant(&headers)?).await? }))
}

pub(crate) async fn pause(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (component, trigger) = named(&path)?;
    gateway.triggers.pause(&request::tenant(&headers)?, &component, &trigger).await?;
    tracing::info!(target: "stride::audit", %component, %trigger, "trigger paused");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn resume(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (component, trigger) = named(&path)?;
    gateway.triggers.resume(&request::tenant(&headers)?, &component, &trigger).await?;
    tracing::info!(target: "stride::audit", %component, %trigger, "trigger resumed");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn dead(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    Params(query): Params<LettersQuery>,
    headers: HeaderMap,
) -> Result<Json<LetterList>, Problem> {
    let (component, trigger) = named(&path)?;
    let (tenant, limit) = (request::tenant(&headers)?, page_limit(query.limit)?);
    let (letters, more) = gateway.triggers.letters(&tenant, (&component, &trigger), query.after, limit).await?;
    Ok(Json(LetterList { letters: letters.into_iter().map(listed).collect(), more }))
}

fn listed(Letter { number, event, attempts, cause, at }: Letter) -> Listed {
    // It was an event when it was stored; if that is damaged, it is shown as it is.
    let event = serde_json::from_str(&event).unwrap_or(Value::String(event));
    Listed { number, event, attempts, cause, at }
}

pub(crate) async fn replay(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    Params(WhichQuery { letter }): Params<WhichQuery>,
    headers: HeaderMap,
) -> Result<Json<Replayed>, Problem> {
    let (component, trigger) = named(&path)?;
    let replayed = gateway.triggers.replay(&request::tenant(&headers)?, (&component, &trigger), letter).await?;
    tracing::info!(target: "stride::audit", %component, %trigger, replayed, "dead letters replayed");
    Ok(Json(Replayed { replayed }))
}

pub(crate) async fn drop_letters(
    State(gateway): State<Shared>,
    Path(path): Path<(String, String)>,
    Params(WhichQuery { letter }): Params<WhichQuery>,
    headers: HeaderMap,
) -> Result<Json<Dropped>, Problem> {
    let (component, trigger) = named(&path)?;
    let dropped = gateway.triggers.drop_letters(&request::tenant(&headers)?, (&component, &trigger), letter).await?;
    tracing::info!(target: "stride::audit", %component, %trigger, dropped, "dead letters dropped");
    Ok(Json(Dropped { dropped }))
}
