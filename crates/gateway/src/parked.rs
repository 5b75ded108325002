//! `/v1/parked`: messages that failed too often. Not under `/v1/agents`, where a segment is an agent type, a key or a
//! method, and all three may be called `parked`.

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, Uri},
};
use serde::{Deserialize, Serialize};
use stride_agents::ParkedMessage;
use stride_ids::{Address, Code, Failure};

use crate::{
    others::{Forwarded, gathered},
    problem::Problem,
    request::{self, Params},
    routes::{Shared, page_limit},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParkedQuery {
    agent: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ParkedList {
    parked: Vec<Listed>,
    more: bool,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    agent: String,
    message: String,
    method: String,
    from: Option<String>,
    attempts: u32,
    cause: Failure,
    version: Option<String>,
    at: u64,
}

#[derive(Serialize)]
pub(crate) struct Resumed {
    resumed: usize,
}

pub(crate) async fn list(
    State(gateway): State<Shared>,
    Params(query): Params<ParkedQuery>,
    uri: Uri,
    headers: HeaderMap,
    forwarded: Option<Extension<Forwarded>>,
) -> Result<Json<ParkedList>, Problem> {
    let tenant = request::tenant(&headers)?;
    let agent = query.agent.as_deref().map(|agent| named(&headers, agent)).transpose()?;
    let limit = page_limit(query.limit)?;
    let mut found = gateway.engine.parked(&tenant, agent.as_ref(), limit + 1)?;
    let mut more = found.len() > limit;
    found.truncate(limit);
    let mut parked: Vec<_> = found.into_iter().map(listed).collect();
    for there in gathered::<ParkedList>(&gateway, &uri, &headers, forwarded).await? {
        more |= there.more;
        parked.extend(there.parked);
    }
    more |= parked.len() > limit;
    parked.truncate(limit);
    Ok(Json(ParkedList { parked, more }))
}

pub(crate) async fn resume(
    State(gateway): State<Shared>,
    Path((kind, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Resumed>, Problem> {
    let resumed = gateway.engine.resume(&request::address(&headers, &kind, &key)?).await?;
    Ok(Json(Resumed { resumed }))
}

/// An agent as a query names it: `TYPE/KEY`, where the first slash ends the type.
fn named(headers: &HeaderMap, agent: &str) -> Result<Address, Failure> {
    let Some((kind, key)) = agent.split_once('/') else {
        let message = format!("`{agent}` is not an agent; write TYPE/KEY, such as counter/alice");
        return Err(Failure::new(Code::InvalidRequest, message));
    };
    request::address(headers, kind, key)
}

fn listed(message: ParkedMessage) -> Listed {
    let ParkedMessage { agent, id, from, method, attempts, cause, version, at } = message;
    let agent = format!("{}/{}", agent.kind, agent.key);
    Listed { agent, message: id, method, from, attempts, cause, version, at }
}
