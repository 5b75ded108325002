//! `GET /v1/logs`: what guests printed.

use axum::{Json, extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use stride_ids::Name;

use crate::{
    problem::Problem,
    request::{self, Params},
    routes::{Shared, page_limit},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    component: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct LogPage {
    lines: Vec<Line>,
    next: u64,
}

#[derive(Serialize)]
struct Line {
    seq: u64,
    at: u64,
    component: String,
    call: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    stream: &'static str,
    text: String,
}

pub(crate) async fn read(
    State(gateway): State<Shared>,
    Params(query): Params<LogQuery>,
    headers: HeaderMap,
) -> Result<Json<LogPage>, Problem> {
    let tenant = request::tenant(&headers)?;
    let component = query.component.as_deref().map(Name::new).transpose().map_err(|e| request::invalid_name(&e))?;
    let found = gateway.logs.read(&tenant, component.as_ref(), query.after, page_limit(query.limit)?);
    let next = found.last().map_or(query.after, |line| line.seq);
    let line = |line: stride_runtime::LogLine| Line {
        seq: line.seq,
        at: line.at,
        component: line.component.into(),
        call: line.call.to_string(),
        trace: line.trace,
        stream: line.stream.as_str(),
        text: line.text,
    };
    Ok(Json(LogPage { lines: found.into_iter().map(line).collect(), next }))
}
