//! `POST /v1/functions/{component}/{function}[?data=BUCKET/KEY]`: as many `data` as it will read, so that it runs where they are.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use stride_ids::{BucketName, Failure, Name, ObjectKey, ObjectName};
use stride_runtime::{Call, Called};

use crate::{
    metrics::Work,
    problem::Problem,
    request::{self, Params, invalid},
    routes::{Shared, content_type},
    timing::server_timing,
};

/// How many objects a call may name.
const DATA_MAX: usize = 64;

pub(crate) async fn call(
    State(gateway): State<Shared>,
    Path((component, function)): Path<(String, String)>,
    Params(params): Params<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = gateway.clock.now();
    let outcome = try_call(&gateway, (&component, &function), &params, &headers, body).await;
    gateway.observe(Work::Function, began, outcome.as_ref().err());
    Ok(answered(outcome?))
}

pub(crate) fn answered(called: Called) -> Response {
    let Called { call, payload, queue, start, run, is_memoised, node } = called;
    let mut response = payload.body.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, content_type(&payload.content_type));
    out.insert("stride-call", HeaderValue::from_str(&call.to_string()).expect("a call id is plain text"));
    if is_memoised {
        out.insert("stride-memoised", HeaderValue::from_static("true"));
    }
    if let Some(node) = node.and_then(|node| HeaderValue::from_str(node.as_str()).ok()) {
        out.insert("stride-node", node);
    }
    out.insert("server-timing", server_timing(&[("queue", queue), ("start", start), ("run", run)]));
    response
}

async fn try_call(
    gateway: &Shared,
    (component, function): (&str, &str),
    params: &[(String, String)],
    headers: &HeaderMap,
    body: Body,
) -> Result<Called, Failure> {
    let tenant = request::tenant(headers)?;
    let component = Name::new(component).map_err(|e| request::invalid_name(&e))?;
    let data = data(&tenant, params)?;
    let input = request::payload(headers, body).await?;
    let (function, trace) = (function.to_owned(), request::trace(headers));
    let deadline = request::deadline(headers)?;
    let work = gateway.functions.call(Call { tenant, component, function, input, data, trace });
    gateway.clock.timeout(deadline, work).await.map_err(|_| request::too_late(deadline))?
}

/// The objects that a call names.
fn data(tenant: &Name, params: &[(String, String)]) -> Result<Vec<ObjectName>, Failure> {
    if params.len() > DATA_MAX {
        return Err(invalid(format!("a call may name {DATA_MAX} objects; this one names {}", params.len())));
    }
    let object = |(name, value): &(String, String)| {
        if name != "data" {
            return Err(invalid(format!("there is no parameter `{name}`; there is `data`")));
        }
        let parts = value.split_once('/').ok_or_else(|| invalid("say which objects are read: data=BUCKET/KEY"))?;
        let bucket = BucketName::new(parts.0).map_err(|e| request::invalid_name(&e))?;
        let key = ObjectKey::new(parts.1).map_err(|e| request::invalid_name(&e))?;
        Ok(ObjectName { tenant: tenant.clone(), bucket, key })
    };
    params.iter().map(object).collect()
}
