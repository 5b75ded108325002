//! The way from this node to the others: calls go to whoever owns the cell as the map says, once, and the answer says whether
//! that was right.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream};
use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};
use stride_agents::{Answer, Asked, Elsewhere, Listed, NotDone, Parcel, Tell, Told};
use stride_cluster::{
    Beat, Demand, Labels, Map, NodeName, NodeRow, Questions, Referee, Standing, Tables, World, standings,
};
use stride_data::Piece;
use stride_gateway::{CellPlace, HttpCall, HttpReply, NodeInfo, NodeShare, OtherNode, Others, Scale};
use stride_ids::{AgentKey, CellId, Code, DatabaseId, Epoch, Failure, Incarnation, Layout, Name};
use stride_net::{CallError, PeerAddr, Peers, Service};
use stride_placement::NodeId;
use stride_runtime::{Called, Errand};
use stride_sim::Clock;

use super::{Rollout, in_time};

/// What nodes ask of each other. A number is never used for anything else.
pub(super) mod services {
    use stride_net::Service;

    pub(crate) const ASK: Service = Service(1);
    pub(crate) const TELL: Service = Service(2);
    pub(crate) const DELIVER: Service = Service(3);
    pub(crate) const HTTP: Service = Service(5);
    /// A cell is about to come: fetch its snapshot.
    pub(crate) const PREPARE: Service = Service(6);
    /// Something has changed in the tables.
    pub(crate) const LOOK: Service = Service(7);
    /// Run a function.
    pub(crate) const RUN: Service = Service(22);
    /// How busy a node is, and what it has in its caches.
    pub(crate) const REPORT: Service = Service(21);
    /// Bring bytes into the caches that will be wanted.
    pub(crate) const WARM: Service = Service(18);
    /// List agents, with the cells that they are of.
    pub(crate) const LIST: Service = Service(19);
    /// Do a part of a flow's run.
    pub(crate) const WORK: Service = Service(20);
}

/// How long a turn on another node may take. Clients and guests have deadlines of their own.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// How long anything else may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// How long the map is watched before a cell is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How many nodes are asked at the same time.
const ASKED_AT_ONCE: usize = 16;

/// See the module.
pub(crate) struct Switchboard {
    node: NodeName,
    peers: Peers,
    tables: Arc<dyn Tables>,
    rollout: Arc<Rollout>,
    layout: Layout,
    /// Asked before a read is answered; none where the lease is enough.
    questions: Option<Arc<Questions>>,
    /// How many agents a node has room for.
    agents_max: usize,
    clock: Clock,
    /// None until this node has joined.
    joined: RwLock<Option<Joined>>,
}

/// What a node that has joined goes by.
struct Joined {
    beat: Arc<Beat>,
    referee: Arc<Referee>,
}

/// What goes between nodes besides turns.
#[derive(Serialize, serde::Deserialize)]
pub(super) struct ListAsked {
    pub(super) tenant: Name,
    pub(super) kind: Name,
    pub(super) after: Option<AgentKey>,
    pub(super) limit: usize,
}

/// A request of a client of another node, and the cell that it is about, if it is about one.
#[derive(Serialize, serde::Deserialize)]
pub(super) struct Request {
    pub(super) cell: Option<CellId>,
    pub(super) call: HttpCall,
}

pub(super) fn encoded<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("plain data always encodes").into()
}

pub(super) fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let wrong = |e| Failure::new(Code::Internal, format!("a node of another release said something else: {e}"));
    postcard::from_bytes(bytes).map_err(wrong)
}

impl Switchboard {
    pub(super) fn new(
        node: NodeName,
        peers: Peers,
        tables: Arc<dyn Tables>,
        types: (Arc<Rollout>, Layout),
        questions: Option<Arc<Questions>>,
        agents_max: usize,
        clock: Clock,
    ) -> Self {
        let (rollout, layout) = types;
        Self { node, peers, tables, rollout, layout, questions, agents_max, clock, joined: RwLock::default() }
    }

    /// From now on there are others.
    pub(super) fn join(&self, beat: Arc<Beat>) {
        let referee = match &self.questions {
            Some(questions) => Referee::Strict(questions.clone()),
            None => Referee::Leased(beat.lease(), self.clock.clone()),
        };
        *self.joined.write() = Some(Joined { beat, referee: Arc::new(referee) });
    }

    pub(super) fn beat(&self) -> Option<Arc<Beat>> {
        self.joined.read().as_ref().map(|joined| joined.beat.clone())
    }

    fn map(&self) -> Arc<Map> {
        self.beat().map_or_else(Arc::default, |beat| beat.map())
    }

    /// Calls a node.
    async fn call(&self, to: &NodeRow, service: Service, body: Bytes, within: Duration) -> Result<Bytes, NotDone> {
        let unavailable = |e: &dyn std::fmt::Display| {
            Failure::new(Code::Unavailable, format!("node {} at {}: {e}", to.spec.name, to.spec.peer))
        };
        let address: PeerAddr = to.spec.peer.parse().map_err(|e| NotDone::Failed(unavailable(&e)))?;
        self.peers.call(&address, service, body, within).await.map_err(|e| match &e {
            CallError::NotSent(_) => NotDone::NotHere,
            CallError::Overloaded => NotDone::Failed(Failure::new(Code::Overloaded, e.to_string())),
            CallError::TooLarge(_) => NotDone::Failed(Failure::new(Code::PayloadTooLarge, e.to_string())),
            CallError::NoAnswer(_) | CallError::Late => NotDone::Unknown(unavailable(&e)),
        })
    }

    /// Calls whoever owns a cell, unless that is nobody or this node.
    async fn call_owner<T: DeserializeOwned>(
        &self,
        cell: CellId,
        service: Service,
        body: Bytes,
        within: Duration,
    ) -> Result<T, NotDone> {
        let map = self.map();
        let owner = map.owner(cell).filter(|owner| owner.spec.name != self.node).ok_or(NotDone::NotHere)?;
        let answer = self.call(owner, service, body, within).await?;
        decoded::<Result<T, NotDone>>(&answer)?
    }

    /// Calls a node by its name.
    pub(super) async fn call_node<T: DeserializeOwned>(
        &self,
        node: &NodeName,
        service: Service,
        body: Bytes,
    ) -> Result<T, Failure> {
        let map = self.map();
        let gone = || Failure::new(Code::Unavailable, format!("node {node} is not there"));
        let row = map.living().find(|row| row.spec.name == *node).ok_or_else(gone)?;
        let answer = self.call(row, service, body, CALL_MAX).await.map_err(|e| failure_of(e, &gone))?;
        decoded::<Result<T, NotDone>>(&answer)?.map_err(|e| failure_of(e, &gone))
    }

    /// Calls all other nodes that live.
    async fn call_all<T: DeserializeOwned>(&self, service: Service, body: Bytes) -> Vec<Result<T, Failure>> {
        let map = self.map();
        let names: Vec<NodeName> =
            map.living().map(|row| row.spec.name.clone()).filter(|name| *name != self.node).collect();
        stream::iter(names)
            .map(async |name| self.call_node(&name, service, body.clone()).await)
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await
    }

    /// What a node that lives says to something that it may refuse.
    async fn sent<T: DeserializeOwned>(&self, node: &NodeId, service: Service, body: Bytes) -> Result<T, NotDone> {
        let map = self.map();
        let row = map.living().find(|row| row.spec.name.0 == node.0).ok_or(NotDone::NotHere)?;
        let answer = self.call(row, service, body, ANSWER_MAX).await.map_err(|e| match e {
            // The node has not even looked at it.
            NotDone::Failed(Failure { code: Code::Overloaded, .. }) => NotDone::NotHere,
            other => other,
        })?;
        decoded::<Result<T, NotDone>>(&answer)?
    }

    /// The other nodes that live, and which start of each it is.
    pub(super) fn others(&self) -> Vec<(NodeName, Incarnation)> {
        let map = self.map();
        let others = map.living().map(|row| (row.spec.name.clone(), row.spec.incarnation));
        others.filter(|(name, _)| *name != self.node).collect()
    }

    async fn watch(&self) {
        let Some(beat) = self.beat() else { return self.clock.sleep(LOOK_AGAIN).await };
        let mut map = beat.watch();
        map.mark_unchanged();
        beat.look_now();
        // Whichever comes first.
        let _ = self.clock.timeout(LOOK_AGAIN, map.changed()).await;
    }
}

fn failure_of(not_done: NotDone, gone: &dyn Fn() -> Failure) -> Failure {
    match not_done {
        NotDone::Failed(failure) | NotDone::Unknown(failure) => failure,
        _ => gone(),
    }
}

impl Elsewhere for Switchboard {
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Answer, NotDone>> {
        Box::pin(async move {
            let cell = self.layout.cell(&asked.ask.address);
            let owner = self.map().owner(cell).map(|owner| owner.spec.name.to_string());
            let answer: Answer = self.call_owner(cell, services::ASK, encoded(&asked), ANSWER_MAX).await?;
            Ok(Answer { node: owner, ..answer })
        })
    }

    fn tell(&self, tell: Tell) -> BoxFuture<'_, Result<Told, NotDone>> {
        Box::pin(async move {
            self.call_owner(self.layout.cell(&tell.address), services::TELL, encoded(&tell), CALL_MAX).await
        })
    }

    fn owner(&self, cell: CellId) -> Option<Name> {
        self.map().owner(cell).map(|owner| owner.spec.name.0.clone())
    }

    fn deliver<'a>(&'a self, parcels: &'a [Parcel]) -> BoxFuture<'a, Vec<Result<(), NotDone>>> {
        Box::pin(async move {
            let Some(first) = parcels.first() else { return Vec::new() };
            let taken = self.call_owner(first.to, services::DELIVER, encoded(&parcels), CALL_MAX).await;
            taken.unwrap_or_else(|failure: NotDone| vec![Err(failure); parcels.len()])
        })
    }

    fn list<'a>(
        &'a self,
        tenant: &'a Name,
        kind: &'a Name,
        after: Option<&'a AgentKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Listed, Failure>> {
        Box::pin(async move {
            let asked = ListAsked { tenant: tenant.clone(), kind: kind.clone(), after: after.cloned(), limit };
            let pages: Vec<Result<Listed, Failure>> = self.call_all(services::LIST, encoded(&asked)).await;
            let mut all = Listed::default();
            for page in pages {
                let Listed { agents, cells } = page?;
                all.agents.extend(agents);
                all.cells.extend(cells);
            }
            Ok(all)
        })
    }

    fn learn(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.rollout.learn())
    }

    fn confirm(&self, cell: CellId, epoch: Epoch) -> BoxFuture<'_, Result<(), Failure>> {
        let referee = self.joined.read().as_ref().map(|joined| joined.referee.clone());
        Box::pin(async move {
            match referee {
                Some(referee) => referee.confirm(cell, epoch).await,
                None => Err(Failure::new(Code::Unavailable, "this node has not joined its cluster yet; try again")),
            }
        })
    }

    fn moved(&self, _: CellId) -> BoxFuture<'_, ()> {
        Box::pin(self.watch())
    }
}

impl stride_runtime::Elsewhere for Switchboard {
    fn run<'a>(&'a self, node: &'a NodeId, errand: Errand) -> BoxFuture<'a, Result<Called, NotDone>> {
        Box::pin(self.sent(node, services::RUN, encoded(&errand)))
    }

    fn work<'a>(&'a self, node: &'a NodeId, work: Bytes) -> BoxFuture<'a, Result<Bytes, NotDone>> {
        Box::pin(self.sent(node, services::WORK, work))
    }

    fn warm<'a>(&'a self, node: &'a NodeId, pieces: Vec<Piece>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.call_node(&NodeName(node.0.clone()), services::WARM, encoded(&pieces)).await })
    }

    fn home(&self, cell: CellId) -> Option<NodeId> {
        Elsewhere::owner(self, cell).map(NodeId)
    }
}

impl Others for Switchboard {
    fn forward(&self, cell: CellId, call: HttpCall) -> BoxFuture<'_, Result<Option<HttpReply>, Failure>> {
        Box::pin(async move {
            let body = encoded(&Request { cell: Some(cell), call });
            match self.call_owner(cell, services::HTTP, body, CALL_MAX).await {
                Ok(reply) => Ok(Some(reply)),
                Err(NotDone::Failed(failure) | NotDone::Unknown(failure)) => Err(failure),
                Err(_) => {
                    self.watch().await;
                    Ok(None)
                }
            }
        })
    }

    fn ask_all(&self, call: HttpCall) -> BoxFuture<'_, Vec<Result<HttpReply, Failure>>> {
        Box::pin(async move { self.call_all(services::HTTP, encoded(&Request { cell: None, call })).await })
    }

    fn nodes(&self) -> BoxFuture<'_, (Vec<OtherNode>, Scale)> {
        Box::pin(async move {
            // What this node knows is as old as the last change of who owns what; how busy the others are is only in the tables.
            let world = in_time(&self.clock, self.tables.world()).await;
            let map = world.map_or_else(|_| self.map(), |world| Arc::new(world.map()));
            let mut owned: BTreeMap<&NodeName, u32> = BTreeMap::new();
            for owner in map.cells.iter().filter_map(|place| place.owner.as_ref()) {
                *owned.entry(owner).or_default() += 1;
            }
            let cells = |name: &NodeName| owned.get(name).copied().unwrap_or(0);
            let Demand { nodes, wanted, reason } = Demand::of(map.nodes.values(), self.agents_max);
            let all = map.nodes.iter().map(|(name, row)| other_node(row, cells(name))).collect();
            (all, Scale { nodes, wanted, reason })
        })
    }

    fn cell(&self, cell: CellId) -> BoxFuture<'_, Result<CellPlace, Failure>> {
        Box::pin(async move {
            let away = |e: stride_cluster::Error| Failure::new(Code::Unavailable, e.to_string());
            let world = in_time(&self.clock, self.tables.world()).await.map_err(away)?;
            let row = world.cells.get(usize::from(cell.0)).cloned().unwrap_or_default();
            let owner = world.map().owner(cell).map(|owner| owner.spec.name.to_string());
            let why = row.wanted.as_ref().map(|wanted| wanted.why.clone()).unwrap_or_default();
            Ok(CellPlace {
                cell: cell.0,
                owner,
                wanted: row.wanted.map(|wanted| wanted.node.to_string()),
                why,
                pinned: row.pin.map(|node| node.to_string()),
                epoch: row.epoch.0,
                bytes: row.bytes,
                busy: row.busy,
                nodes: standings(&world).into_iter().map(|standing| share(standing, &row.labels, &world)).collect(),
                labels: row.labels.iter().map(shown).collect(),
                database: row.database.0,
                moves_to: row.moves_to.map(|to| to.0),
            })
        })
    }

    fn move_cells(&self, cells: Vec<CellId>, to: Option<String>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let done = match to {
                Some(to) => {
                    let name = Name::new(&to).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
                    in_time(&self.clock, self.tables.pin(&cells, &NodeName(name))).await
                }
                None => in_time(&self.clock, self.tables.unpin(&cells)).await,
            };
            self.moved_by_hand(done)
        })
    }

    fn move_tails(&self, cells: Vec<CellId>, to: DatabaseId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { self.moved_by_hand(in_time(&self.clock, self.tables.send_tails(&cells, to)).await) })
    }
}

impl Switchboard {
    /// Somebody asked for cells to be elsewhere, and the tables know it now, or do not.
    fn moved_by_hand(&self, done: Result<(), stride_cluster::Error>) -> Result<(), Failure> {
        use stride_cluster::Error;

        done.map_err(|e| {
            let code = match e {
                Error::UnknownNode { .. } | Error::UnknownDatabase { .. } => Code::NotFound,
                _ => Code::Unavailable,
            };
            Failure::new(code, e.to_string())
        })?;
        if let Some(beat) = self.beat() {
            beat.look_now();
        }
        Ok(())
    }
}

/// What a node has, and what it lacks of these labels.
fn share(standing: Standing, labels: &Labels, world: &World) -> NodeShare {
    let Standing { node, is_open, cores, cells, bytes, busy, fill } = standing;
    let lacking = world.nodes.get(&node).into_iter().flat_map(|row| row.spec.lacks(labels));
    let lacks = lacking.map(shown).collect();
    NodeShare { node: node.to_string(), open: is_open, cores, cells, bytes, busy, fill, lacks }
}

fn shown((name, value): &(String, String)) -> String {
    format!("{name}={value}")
}

fn other_node(row: &NodeRow, cells: u32) -> OtherNode {
    let spec = &row.spec;
    OtherNode {
        info: NodeInfo {
            node: spec.name.to_string(),
            address: spec.http.clone(),
            version: spec.release.clone(),
            cores: spec.cores,
            memory_bytes: Some(spec.memory_bytes).filter(|bytes| *bytes > 0),
            hardware: Vec::new(),
            labels: spec.labels.clone(),
            price_per_hour: spec.price as f64 * f64::from(spec.cores) / 1e6,
        },
        state: match row {
            NodeRow { dead: true, .. } => "dead",
            NodeRow { draining: true, .. } => "draining",
            _ => "ready",
        },
        cells,
        agents_live: row.agents,
        messages_waiting: row.queue,
        silent_ms: u64::try_from(row.silent.as_millis()).unwrap_or(u64::MAX),
    }
}
