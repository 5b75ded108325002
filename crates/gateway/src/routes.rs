//! The router, and what all handlers share.

use std::sync::{Arc, atomic::AtomicBool};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, Uri},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{any, get, post},
};
use stride_agents::Engine;
use stride_data::Objects;
use stride_ids::{Code, Failure, Payload};
use stride_maps::Maps;
use stride_runs::Runs;
use stride_runtime::{Functions, Logs};
use stride_sim::{Clock, Tasks};
use stride_triggers::Triggers;

use crate::{
    agents, ask, cells,
    control::ControlPlane,
    deployments::{self, DEPLOYMENT_LEN_MAX},
    explain, flows, functions, health, logs, maps,
    nodes::{self, NodeInfo},
    objects,
    others::{self, Others},
    parked,
    problem::Problem,
    routed, state, topics, triggers,
};

/// What the handlers work with.
pub struct Gateway {
    /// The node's name, which every answer carries.
    pub node: HeaderValue,
    /// What it says of itself.
    pub info: NodeInfo,
    /// Calls functions.
    pub functions: Arc<Functions>,
    /// Asks and tells agents.
    pub engine: Arc<Engine>,
    /// Stores and reads objects.
    pub objects: Arc<Objects>,
    /// Runs maps.
    pub maps: Arc<Maps>,
    /// Keeps flows and runs them.
    pub runs: Runs,
    /// Starts work.
    pub triggers: Arc<Triggers>,
    /// Takes deployments.
    pub control: Arc<dyn ControlPlane>,
    /// What guests print.
    pub logs: Arc<Logs>,
    /// The node's clock.
    pub clock: Clock,
    /// What goes on after an answer.
    pub tasks: Tasks,
    /// The other nodes, in a cluster.
    pub others: Option<Arc<dyn Others>>,
    /// Set while the node finishes its last requests.
    pub draining: AtomicBool,
}

pub(crate) type Shared = Arc<Gateway>;

/// All routes of a node.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let of_one_agent = Router::new()
        .route("/v1/agents/{kind}/{key}", get(agents::inspect).delete(agents::remove))
        .route("/v1/agents/{kind}/{key}/state", get(state::list).put(state::replace))
        .route("/v1/agents/{kind}/{key}/state/{state_key}", get(state::read).put(state::write).delete(state::delete))
        .route("/v1/parked/{kind}/{key}/resume", post(parked::resume))
        .route_layer(from_fn_with_state(gateway.clone(), others::where_the_agent_is));
    Router::new()
        .merge(of_one_agent)
        .route("/v1/functions/{component}/{function}", post(functions::call))
        .route("/v1/agents/{kind}", get(agents::list))
        .route("/v1/agents/{kind}/{key}/{method}", post(ask::ask_or_tell))
        .route("/v1/parked", get(parked::list))
        .route("/v1/objects", get(objects::buckets))
        .route("/v1/objects/{bucket}", get(objects::list).put(objects::configure))
        .route(
            "/v1/objects/{bucket}/{*key}",
            get(objects::read).head(objects::look).put(objects::put).delete(objects::delete),
        )
        .route("/v1/maps", get(maps::list).post(maps::begin))
        .route("/v1/maps/{id}", get(maps::look).delete(maps::cancel))
        .route("/v1/maps/{id}/results", get(maps::results))
        .route("/v1/flows", get(flows::list).post(flows::deploy))
        .route("/v1/flows/{flow}", get(flows::look).delete(flows::remove))
        .route("/v1/flows/{flow}/plan", get(flows::explain))
        .route("/v1/flows/{flow}/runs", get(flows::runs).post(flows::start))
        .route("/v1/flows/{flow}/runs/{run}", get(flows::status).delete(flows::cancel))
        .route("/v1/flows/{flow}/runs/{run}/plan", get(flows::explain_run))
        .route("/v1/flows/{flow}/runs/{run}/move", post(flows::shift))
        .route("/v1/flows/{flow}/runs/{run}/events", post(flows::event))
        .route("/v1/flows/{flow}/runs/{run}/approvals", post(flows::approve))
        .route("/v1/topics", get(topics::list))
        .route("/v1/topics/{topic}", get(topics::read).post(topics::publish))
        .route("/v1/triggers", get(triggers::list))
        .route("/v1/triggers/{component}/{trigger}/pause", post(triggers::pause))
        .route("/v1/triggers/{component}/{trigger}/resume", post(triggers::resume))
        .route("/v1/triggers/{component}/{trigger}/dead", get(triggers::dead).delete(triggers::drop_letters))
        .route("/v1/triggers/{component}/{trigger}/replay", post(triggers::replay))
        .route("/r/{*path}", any(routed::handle))
        .route("/v1/deployments/{id}/rollback", post(deployments::rollback))
        .route(
            "/v1/deployments",
            get(deployments::list).post(deployments::create).layer(DefaultBodyLimit::max(DEPLOYMENT_LEN_MAX)),
        )
        .route("/v1/cells", get(cells::list))
        .route("/v1/cells/move", post(cells::shift))
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/logs", get(logs::read))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(health::openapi))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(gateway.clone(), name_the_node))
        .with_state(gateway)
}

async fn name_the_node(
    axum::extract::State(gateway): axum::extract::State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    // One that another node gave says so itself.
    response.headers_mut().entry("stride-node").or_insert_with(|| gateway.node.clone());
    response
}

async fn no_route(uri: Uri) -> Problem {
    Failure::new(Code::NotFound, format!("there is no route {}; see /openapi.json", uri.path())).into()
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{} does not take {method}; see /openapi.json", uri.path());
    Failure::new(Code::InvalidRequest, message).into()
}

/// A guest's content type as a header. What is not a valid header value is not passed on.
pub(crate) fn content_type(text: &str) -> HeaderValue {
    if text == Payload::JSON {
        return HeaderValue::from_static(Payload::JSON);
    }
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// How many entries a page has.
pub(crate) fn page_limit(asked: Option<usize>) -> Result<usize, Failure> {
    const DEFAULT: usize = 100;
    const MAX: usize = 1_000;
    match asked.unwrap_or(DEFAULT) {
        limit @ 1..=MAX => Ok(limit),
        other => Err(Failure::new(Code::InvalidRequest, format!("limit is {other}; use 1 to {MAX}"))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_describes_every_route_and_no_other() {
        // Of this file, up to this test.
        let source = include_str!("routes.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let texts = source.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
        // The document has no word for a parameter that may hold slashes.
        let mut routes: Vec<_> = texts.map(|route| route.replace("{*", "{")).collect();
        let document: serde_json::Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let mut described: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        routes.sort_unstable();
        described.sort_unstable();
        assert_eq!(routes, described);
    }

    #[test]
    fn the_document_refers_to_nothing_that_is_not_in_it() {
        let document: serde_json::Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let text = document.to_string();
        let referred = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
        let missing: Vec<_> = referred.filter(|pointer| document.pointer(pointer).is_none()).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
