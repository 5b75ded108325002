//! `POST /v1/functions/{component}/{function}`

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use stride_ids::{Failure, Name};
use stride_runtime::{Call, Called};

use crate::{
    metrics::Work,
    problem::Problem,
    request,
    routes::{Shared, content_type},
    timing::server_timing,
};

pub(crate) async fn call(
    State(gateway): State<Shared>,
    Path((component, function)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = gateway.clock.now();
    let outcome = try_call(&gateway, &component, &function, &headers, body).await;
    gateway.observe(Work::Function, began, outcome.as_ref().err());
    let Called { call, payload, queue, start, run, is_memoised } = outcome?;
    let mut response = payload.body.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, content_type(&payload.content_type));
    out.insert("stride-call", HeaderValue::from_str(&call.to_string()).expect("a call id is plain text"));
    if is_memoised {
        out.insert("stride-memoised", HeaderValue::from_static("true"));
    }
    out.insert("server-timing", server_timing(&[("queue", queue), ("start", start), ("run", run)]));
    Ok(response)
}

async fn try_call(
    gateway: &Shared,
    component: &str,
    function: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Called, Failure> {
    let tenant = request::tenant(headers)?;
    let component = Name::new(component).map_err(|e| request::invalid_name(&e))?;
    let input = request::payload(headers, body).await?;
    let (function, trace) = (function.to_owned(), request::trace(headers));
    let deadline = request::deadline(headers)?;
    let work = gateway.functions.call(Call { tenant, component, function, input, trace });
    gateway.clock.timeout(deadline, work).await.map_err(|_| request::too_late(deadline))?
}
