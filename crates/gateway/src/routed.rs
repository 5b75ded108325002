//! `/r/...`: requests that a trigger has a route for. The answer is the target's.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use stride_agents::{Ask, Tell, Told};
use stride_ids::Failure;
use stride_runtime::Call;
use stride_triggers::Errand;

use crate::{
    ask, functions,
    metrics::Work,
    problem::Problem,
    request::{self, Params},
    routes::Shared,
};

/// Under what all routes lie.
const PREFIX: &str = "/r";

/// A run that has begun, or begins as soon as its message is handled.
#[derive(Serialize)]
struct Started {
    agent: String,
    message: String,
}

pub(crate) async fn handle(
    State(gateway): State<Shared>,
    method: Method,
    uri: Uri,
    Params(query): Params<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = gateway.clock.now();
    let errand = errand(&gateway, &method, &uri, query, &headers, body).await?;
    let work = match &errand {
        Errand::Call(..) => Work::Function,
        Errand::Ask(..) => Work::Ask,
        Errand::Start(..) => Work::Tell,
    };
    let deadline = request::deadline(&headers)?;
    let outcome = gateway.clock.timeout(deadline, run(&gateway, errand, &headers)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(request::too_late(deadline)));
    gateway.observe(work, began, outcome.as_ref().err());
    Ok(outcome?)
}

async fn errand(
    gateway: &Shared,
    method: &Method,
    uri: &Uri,
    query: Vec<(String, String)>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Errand, Failure> {
    let tenant = request::tenant(headers)?;
    let key = request::idempotency_key(headers)?;
    let payload = request::payload(headers, body).await?;
    let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let texts = request::texts(headers);
    gateway.triggers.route(&tenant, (method.as_str(), path), query, &texts, payload, key.as_deref())
}

async fn run(gateway: &Shared, errand: Errand, headers: &HeaderMap) -> Result<Response, Failure> {
    let (idempotency_key, trace) = (request::idempotency_key(headers)?, request::trace(headers));
    match errand {
        Errand::Call(component, function, input) => {
            let (tenant, function) = (request::tenant(headers)?, function.to_string());
            let call = Call { tenant, component, function, input, data: Vec::new(), trace };
            Ok(functions::answered(gateway.functions.call(call).await?))
        }
        Errand::Ask(address, method, input) => {
            let ask = Ask { address, method, input, idempotency_key, trace };
            Ok(ask::answered(gateway.engine.ask(ask).await?))
        }
        Errand::Start(address, method, input) => {
            let agent = format!("{}/{}", address.kind, address.key);
            let tell = Tell { address, method, input, idempotency_key, trace };
            let Told { message, replayed } = gateway.engine.tell(tell).await?;
            let mut response = (StatusCode::ACCEPTED, Json(Started { agent, message })).into_response();
            ask::mark_replayed(response.headers_mut(), replayed);
            Ok(response)
        }
    }
}
