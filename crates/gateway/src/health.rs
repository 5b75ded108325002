//! `/healthz`, `/readyz`, `/metrics` and `/openapi.json`.

use std::sync::atomic::Ordering;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use stride_ids::{Code, Failure};

use crate::{problem::Problem, routes::Shared};

pub(crate) async fn alive() -> Response {
    json(r#"{"status":"ok"}"#)
}

pub(crate) async fn ready(State(gateway): State<Shared>) -> Result<Response, Problem> {
    if gateway.draining.load(Ordering::Relaxed) {
        return Err(Failure::new(Code::Unavailable, "this node drains; use another one").into());
    }
    Ok(json(r#"{"status":"ready"}"#))
}

pub(crate) async fn metrics(State(gateway): State<Shared>) -> Response {
    let text = gateway.render_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

pub(crate) async fn openapi() -> Response {
    json(include_str!("../openapi.json"))
}

fn json(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
