//! `/v1/flows`: keep flows, show their plans, begin runs, look at them, answer what they ask, and cancel them.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use stride_ids::{Failure, Name, Payload};
use stride_runs::{FlowStatus, Format, Status};

use crate::{
    problem::Problem,
    request::{self, Params, invalid},
    routes::{Shared, page_limit},
};

/// How long somebody may wait for a run to end.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn name(flow: &str) -> Result<Name, Failure> {
    Name::new(flow).map_err(|e| request::invalid_name(&e))
}

/// How a plan is shown, and without which passes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanQuery {
    format: Option<String>,
    without: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployQuery {
    without: Option<String>,
    /// Only shows the plan, in this form.
    explain: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct FlowList {
    flows: Vec<FlowStatus>,
}

#[derive(Serialize)]
pub(crate) struct Flow {
    versions: Vec<FlowStatus>,
    artefact: serde_json::Value,
}

fn names(text: Option<&str>) -> Vec<String> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn format(text: Option<&str>) -> Result<Format, Failure> {
    match text {
        None | Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some("svg") => Ok(Format::Svg),
        Some(other) => Err(invalid(format!("there is no format `{other}`; use text, json or svg"))),
    }
}

fn plan(text: String, format: Format) -> Response {
    let content_type = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Json => "application/json",
        Format::Svg => "image/svg+xml",
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
}

pub(crate) async fn deploy(
    State(gateway): State<Shared>,
    Params(query): Params<DeployQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = request::tenant(&headers)?;
    let artefact = request::bytes(&headers, body).await?;
    let without = names(query.without.as_deref());
    if let Some(explain) = query.explain.as_deref() {
        let format = format(Some(explain))?;
        return Ok(plan(gateway.runs.explain_artefact(&tenant, &artefact, &without, format).await?, format));
    }
    let status = gateway.runs.deploy(&tenant, &artefact, without).await?;
    Ok((StatusCode::CREATED, Json(status)).into_response())
}

pub(crate) async fn list(State(gateway): State<Shared>, headers: HeaderMap) -> Result<Json<FlowList>, Problem> {
    Ok(Json(FlowList { flows: gateway.runs.flows(&request::tenant(&headers)?).await? }))
}

pub(crate) async fn look(
    State(gateway): State<Shared>,
    Path(flow): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Flow>, Problem> {
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    let versions = gateway.runs.versions(&tenant, &flow).await?;
    let artefact = gateway.runs.artefact(&tenant, &flow, None).await?;
    let unreadable = |e| Failure::new(stride_ids::Code::Internal, format!("a flow that is kept is not JSON: {e}"));
    Ok(Json(Flow { versions, artefact: serde_json::from_str(&artefact).map_err(unreadable)? }))
}

pub(crate) async fn remove(
    State(gateway): State<Shared>,
    Path(flow): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    gateway.runs.remove(&request::tenant(&headers)?, &name(&flow)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn explain(
    State(gateway): State<Shared>,
    Path(flow): Path<String>,
    Params(query): Params<PlanQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (tenant, format) = (request::tenant(&headers)?, format(query.format.as_deref())?);
    let without = names(query.without.as_deref());
    Ok(plan(gateway.runs.explain(&tenant, &name(&flow)?, &without, format).await?, format))
}

// --- runs ---

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartQuery {
    run: Option<String>,
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct RunList {
    runs: Vec<Status>,
    next: Option<String>,
}

/// What somebody says to a step that asks.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    approve: bool,
    step: Option<String>,
    by: Option<String>,
    #[serde(default)]
    payload: serde_json::Value,
    reason: Option<String>,
}

fn wait(wait_ms: Option<u64>) -> Duration {
    Duration::from_millis(wait_ms.unwrap_or(0)).min(WAIT_MAX)
}

pub(crate) async fn start(
    State(gateway): State<Shared>,
    Path(flow): Path<String>,
    Params(query): Params<StartQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    // A client that repeats its request under a key means the same run.
    let key =
        request::idempotency_key(&headers)?.map(|key| format!("key-{}", &blake3::hash(key.as_bytes()).to_hex()[..32]));
    let run = query.run.or(key);
    let input = request::payload(&headers, body).await?;
    let status = gateway.runs.start(&tenant, &flow, run.as_deref(), input, wait(query.wait_ms)).await?;
    let code = if status.ended_ms.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((code, Json(status)).into_response())
}

pub(crate) async fn runs(
    State(gateway): State<Shared>,
    Path(flow): Path<String>,
    Params(query): Params<ListQuery>,
    headers: HeaderMap,
) -> Result<Json<RunList>, Problem> {
    let limit = page_limit(query.limit)?;
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    let (runs, next) = gateway.runs.list(&tenant, &flow, query.after.as_deref(), limit).await?;
    Ok(Json(RunList { runs, next }))
}

pub(crate) async fn status(
    State(gateway): State<Shared>,
    Path((flow, run)): Path<(String, String)>,
    Params(query): Params<WaitQuery>,
    headers: HeaderMap,
) -> Result<Json<Status>, Problem> {
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    Ok(Json(gateway.runs.wait_for(&tenant, &flow, &run, wait(query.wait_ms)).await?))
}

pub(crate) async fn cancel(
    State(gateway): State<Shared>,
    Path((flow, run)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    gateway.runs.cancel(&request::tenant(&headers)?, &name(&flow)?, &run).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveQuery {
    version: Option<u64>,
}

pub(crate) async fn shift(
    State(gateway): State<Shared>,
    Path((flow, run)): Path<(String, String)>,
    Params(query): Params<MoveQuery>,
    headers: HeaderMap,
) -> Result<Json<Status>, Problem> {
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    gateway.runs.move_run(&tenant, &flow, &run, query.version).await?;
    Ok(Json(gateway.runs.status(&tenant, &flow, &run).await?))
}

pub(crate) async fn explain_run(
    State(gateway): State<Shared>,
    Path((flow, run)): Path<(String, String)>,
    Params(query): Params<PlanQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if query.without.is_some() {
        return Err(invalid("a run has the plan that it began with; leave out `without`").into());
    }
    let (tenant, format) = (request::tenant(&headers)?, format(query.format.as_deref())?);
    Ok(plan(gateway.runs.explain_run(&tenant, &name(&flow)?, &run, format).await?, format))
}

pub(crate) async fn event(
    State(gateway): State<Shared>,
    Path((flow, run)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    let event = request::payload(&headers, body).await?;
    gateway.runs.event(&tenant, &flow, &run, event).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(crate) async fn approve(
    State(gateway): State<Shared>,
    Path((flow, run)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let (tenant, flow) = (request::tenant(&headers)?, name(&flow)?);
    let said = request::bytes(&headers, body).await?;
    let wrong =
        |e| invalid(format!("say for example {{\"approve\": true, \"step\": \"review\", \"by\": \"ann\"}}: {e}"));
    let Said { approve, step, by, payload, reason } = serde_json::from_slice(&said).map_err(wrong)?;
    let said = serde_json::json!({"step": step, "by": by, "payload": payload, "reason": reason});
    gateway.runs.approve(&tenant, &flow, &run, approve, Payload::json(said.to_string())).await?;
    Ok(StatusCode::ACCEPTED)
}
