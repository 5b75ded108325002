//! The other nodes of a cluster, as far as requests need them: what concerns an agent of another node goes there, once, and what
//! concerns all of them is gathered.
//!
//! Asks, tells and objects are not handled here: the engine takes them to wherever they belong.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{FromRequestParts as _, RawPathParams, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Response as HttpResponse, Uri, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stride_ids::{CellId, Code, DatabaseId, Failure};
use tower::ServiceExt as _;

use crate::{
    nodes::NodeInfo,
    problem::Problem,
    request::{self, bytes},
    routes::Shared,
};

/// How long a request about an agent follows its cell if that moves.
const FOLLOWED_MAX: Duration = Duration::from_secs(10);

/// Marks a request that comes from another node: it is not handed on again. It is no header, so no client can say it.
#[derive(Clone, Copy)]
pub(crate) struct Forwarded;

/// The nodes of a cluster.
pub trait Others: Send + Sync + 'static {
    /// Hands a request to the node that has a cell; none if no other node has it now, after waiting a moment for news.
    fn forward(&self, cell: CellId, call: HttpCall) -> BoxFuture<'_, Result<Option<HttpReply>, Failure>>;

    /// Hands a request to every other node that lives. Each answer, or why there is none.
    fn ask_all(&self, call: HttpCall) -> BoxFuture<'_, Vec<Result<HttpReply, Failure>>>;

    /// All nodes, as the database sees them; while it is away, as they were when they were seen last.
    /// How many there should be goes with it.
    fn nodes(&self) -> BoxFuture<'_, (Vec<OtherNode>, Scale)>;

    /// Where a cell is and why, as the database says.
    fn cell(&self, cell: CellId) -> BoxFuture<'_, Result<CellPlace, Failure>>;

    /// Has cells owned by a node until somebody says otherwise; with no node, by whichever suits.
    fn move_cells(&self, cells: Vec<CellId>, to: Option<String>) -> BoxFuture<'_, Result<(), Failure>>;

    /// Has the tails of cells brought to another database.
    fn move_tails(&self, cells: Vec<CellId>, to: DatabaseId) -> BoxFuture<'_, Result<(), Failure>>;
}

/// How many nodes there are and should be.
#[derive(Clone, Debug, Serialize)]
pub struct Scale {
    /// Nodes that take work.
    pub nodes: u32,
    /// How many there should be.
    pub wanted: u32,
    /// Why, in words.
    pub reason: String,
}

/// A node as the others see it.
#[derive(Clone, Debug, Serialize)]
pub struct OtherNode {
    /// What it says of itself.
    #[serde(flatten)]
    pub info: NodeInfo,
    /// `ready`, `draining` or `dead`.
    pub state: &'static str,
    /// How many cells it owns.
    pub cells: u32,
    /// How many agents it has in memory.
    pub agents_live: u64,
    /// How many messages and calls wait there.
    pub messages_waiting: u64,
    /// How long ago it was heard from.
    pub silent_ms: u64,
}

/// Where a cell is, and why.
#[derive(Clone, Debug, Serialize)]
pub struct CellPlace {
    /// Which cell.
    pub cell: u16,
    /// The node that has it.
    pub owner: Option<String>,
    /// The node that is to have it.
    pub wanted: Option<String>,
    /// Why that one.
    pub why: String,
    /// Where somebody asked for it to be.
    pub pinned: Option<String>,
    /// How often it has changed hands.
    pub epoch: u64,
    /// How large its state is, as its owner said last.
    pub bytes: u64,
    /// How busy its turns keep a core, in thousandths, as its owner said last.
    pub busy: u32,
    /// What a node has to carry for its agents to reach the data that they use, as its owner said last: `region=eu`.
    pub labels: Vec<String>,
    /// In which database its tail is.
    pub database: u16,
    /// Where its tail is to be, if it is to be elsewhere.
    pub moves_to: Option<u16>,
    /// The nodes that could have it.
    pub nodes: Vec<NodeShare>,
}

/// What a node has of the cells.
#[derive(Clone, Debug, Serialize)]
pub struct NodeShare {
    /// Which node.
    pub node: String,
    /// Whether it may be given cells; one that drains may not.
    pub open: bool,
    /// Its cores.
    pub cores: u32,
    /// How many cells it is to own.
    pub cells: usize,
    /// How large their state is.
    pub bytes: u64,
    /// How busy their turns keep cores, in thousandths of one.
    pub busy: u64,
    /// What it has against its share: cells move if it is more than a tenth off 1, as far as their labels allow.
    pub fill: Option<f64>,
    /// What it does not carry of the labels that the cell demands.
    pub lacks: Vec<String>,
}

/// A request on its way between nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpCall {
    method: String,
    uri: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpReply {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl HttpCall {
    fn new(method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let uri = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Self { method: method.to_string(), uri, headers: listed(headers), body }
    }

    /// Has the routes of this node answer it.
    ///
    /// # Errors
    /// If it is no request.
    pub async fn answered_by(self, router: Router) -> Result<HttpReply, Failure> {
        let wrong = |e: axum::http::Error| Failure::new(Code::Internal, format!("a forwarded request is none: {e}"));
        let mut request = Request::builder().method(self.method.as_str()).uri(self.uri);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.extension(Forwarded).body(Body::from(self.body)).map_err(wrong)?;
        let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        let body = body.collect().await;
        let body = body.map_err(|e| Failure::new(Code::Internal, format!("an answer broke off: {e}")))?.to_bytes();
        Ok(HttpReply { status: parts.status.as_u16(), headers: listed(&parts.headers), body })
    }
}

fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

impl HttpReply {
    fn into_response(self) -> Result<Response, Failure> {
        let wrong = |e: axum::http::Error| Failure::new(Code::Internal, format!("another node's answer is none: {e}"));
        let mut response = HttpResponse::builder().status(self.status).body(Body::from(self.body)).map_err(wrong)?;
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        Ok(response)
    }

    /// What it says, as JSON.
    fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let wrong = |e: serde_json::Error| Failure::new(Code::Internal, format!("another node's answer is none: {e}"));
        serde_json::from_slice(&self.body).map_err(wrong)
    }
}

/// Has the node answer that owns the agent which the path names, and follows the agent if it moves.
pub(crate) async fn where_the_agent_is(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let Some(others) = &gateway.others else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let cell = cell_of(&gateway, &mut parts).await;
    let is_forwarded = parts.extensions.get::<Forwarded>().is_some();
    let Some(cell) = cell.filter(|cell| !is_forwarded && !gateway.engine.serves(*cell)) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let followed = async {
        let body = bytes(&parts.headers, body).await?;
        let until = gateway.clock.now() + FOLLOWED_MAX;
        while gateway.clock.now() < until {
            if gateway.engine.serves(cell) {
                return Ok(Err(body));
            }
            let call = HttpCall::new(&parts.method, &parts.uri, &parts.headers, body.clone());
            if let Some(reply) = others.forward(cell, call).await? {
                return reply.into_response().map(Ok);
            }
        }
        Err(Failure::new(Code::Unavailable, format!("{cell} has no owner now; try again")))
    };
    match followed.await {
        Ok(Ok(response)) => response,
        // It has come here meanwhile.
        Ok(Err(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(failure) => Problem::from(failure).into_response(),
    }
}

/// What the owner of a cell answers to the same request; none if that is this node, or nobody at the moment.
pub(crate) async fn owner_says(
    gateway: &Shared,
    cell: CellId,
    (uri, headers): (&Uri, &HeaderMap),
    forwarded: Option<Extension<Forwarded>>,
) -> Result<Option<Response>, Failure> {
    let Some(others) = gateway.others.as_ref().filter(|_| forwarded.is_none()) else { return Ok(None) };
    if gateway.engine.serves(cell) {
        return Ok(None);
    }
    let reply = others.forward(cell, HttpCall::new(&Method::GET, uri, headers, Bytes::new())).await?;
    reply.map(HttpReply::into_response).transpose()
}

/// The cell of the agent that a path names. A name that is none is refused by whoever handles the request.
async fn cell_of(gateway: &Shared, parts: &mut Parts) -> Option<CellId> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    let named = |wanted| params.iter().find_map(|(name, value)| (name == wanted).then_some(value));
    let address = request::address(&parts.headers, named("kind")?, named("key")?).ok()?;
    Some(gateway.engine.cell_id(&address))
}

/// What the other nodes answer to the same request, as JSON, unless it came from one of them.
pub(crate) async fn gathered<T: DeserializeOwned>(
    gateway: &Shared,
    uri: &Uri,
    headers: &HeaderMap,
    forwarded: Option<Extension<Forwarded>>,
) -> Result<Vec<T>, Failure> {
    let Some(others) = gateway.others.as_ref().filter(|_| forwarded.is_none()) else { return Ok(Vec::new()) };
    let replies = others.ask_all(HttpCall::new(&Method::GET, uri, headers, Bytes::new())).await;
    replies.into_iter().map(|reply| reply?.json()).collect()
}

/// This node as the others see it, for a node that has none.
pub(crate) fn alone(gateway: &Shared) -> OtherNode {
    let turns = gateway.engine.stats();
    let draining = gateway.draining.load(Ordering::Relaxed);
    OtherNode {
        info: gateway.info.clone(),
        state: if draining { "draining" } else { "ready" },
        cells: u32::try_from(gateway.engine.cells().len()).unwrap_or(u32::MAX),
        agents_live: turns.live,
        messages_waiting: turns.waiting,
        silent_ms: 0,
    }
}
