//! `/v1/agents/...`: list, inspect, remove.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use stride_agents::{Schedule, TimerStatus};
use stride_ids::AgentKey;

use crate::{
    problem::Problem,
    request::{self, Params},
    routes::{Shared, page_limit},
};

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
    let kind = request::kind(&kind)?;
    let after = query.after.as_deref().map(AgentKey::new).transpose().map_err(|e| request::invalid_name(&e))?;
    let limit = page_limit(query.limit)?;
    let found = gateway.engine.list(&tenant, &kind, after.as_ref(), limit).await?;
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
    created_at: Option<u64>,
    live: bool,
    state_bytes: usize,
    version: Option<String>,
    refused: Option<String>,
    waiting: usize,
    timers: Vec<ListedTimer>,
}

#[derive(Serialize)]
struct ListedTimer {
    name: String,
    schedule: ListedSchedule,
    due: u64,
    method: String,
}

/// Times and periods are in milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ListedSchedule {
    At(u64),
    Every(u64),
    Cron(String),
}

impl From<Schedule> for ListedSchedule {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::At(at) => Self::At(at),
            Schedule::Every(period) => Self::Every(period),
            Schedule::Cron(expression) => Self::Cron(expression),
        }
    }
}

fn listed_timer(timer: TimerStatus) -> ListedTimer {
    let TimerStatus { name, schedule, due, method } = timer;
    ListedTimer { name, schedule: schedule.into(), due, method }
}

pub(crate) async fn inspect(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Inspected>, Problem> {
    let address = request::address(&headers, &kind, &key)?;
    let status = gateway.engine.inspect(&address).await?;
    let timers = gateway.engine.timers_of(&address)?.into_iter().map(listed_timer).collect();
    Ok(Json(Inspected {
        tenant: address.tenant.into(),
        r#type: address.kind.into(),
        key: address.key.into(),
        cell: status.cell.0,
        turns: status.turns,
        created_at: status.created_at,
        live: status.live,
        state_bytes: status.state_bytes,
        version: status.version,
        refused: status.refused,
        waiting: status.waiting,
        timers,
    }))
}

pub(crate) async fn remove(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    gateway.engine.remove(&request::address_of_users(&headers, &kind, &key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
