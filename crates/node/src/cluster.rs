//! A node among others: what it has beside a node that is alone.
//!
//! ```text
//! switchboard: from here to other nodes      door: from other nodes to here
//! keeper: cells come and go as the beat wants it      rollout: deployments of all nodes      scaling: how many nodes are wanted
//! herald: tells the others how busy this node is and what it has
//! ```
//! Not here: who is to own what (`cluster`), how a cell comes and goes (`agents`).

mod door;
mod herald;
mod keeper;
mod rollout;
mod scaling;
mod switchboard;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use stride_agents::Engine;
use stride_cluster::{Beat, Ended, Error, NodeName, NodeSpec, PostgresTables, Questions, Reads, Tables, home_of};
use stride_data::{Objects, Storage};
use stride_ids::{Incarnation, Layout, Name};
use stride_journal::postgres::PostgresJournal;
use stride_net::{Peers, Tls, serve};
use stride_runs::Runs;
use stride_runtime::Site;
use stride_sim::{Chance, Clock, Tasks};
use stride_snapshots::Snapshots;
use stride_store::{Store, lock_file};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task::JoinHandle};

use self::{
    door::{Door, Inside},
    herald::Herald,
    keeper::{Keeper, Kept, Sizes},
    scaling::Scaling,
};
pub(crate) use self::{rollout::Rollout, switchboard::Switchboard};
use crate::{Config, calls::Calls, error::StartError, hardware};

/// How long a node waits at its start until every cell has an owner.
const OWNED_WITHIN: Duration = Duration::from_secs(10);
/// How long giving all cells away may take when a node ends.
const GIVEN_WITHIN: Duration = Duration::from_secs(30);

/// How long the tables may take to answer a request.
const TABLES_MAX: Duration = Duration::from_secs(5);

/// What the tables answer to a request, whose client is not to wait for as long as they are away.
async fn in_time<T>(clock: &Clock, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Unavailable(format!("no answer within {TABLES_MAX:?}; what was asked for may still be done"));
    clock.timeout(TABLES_MAX, call).await.unwrap_or_else(|_| Err(late()))
}

/// What a node of a cluster has before its engine.
pub(crate) struct Membership {
    spec: NodeSpec,
    tables: Arc<dyn Tables>,
    listener: TcpListener,
    settings: stride_net::Settings,
    tls: Option<Tls>,
    door: Arc<Door>,
    sizes: Sizes,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) rollout: Arc<Rollout>,
    scaling: Option<Scaling>,
    tails: Arc<PostgresJournal>,
    clock: Clock,
}

/// Where a node is, as others reach it.
pub(crate) struct Whereabouts<'a> {
    pub(crate) http: SocketAddr,
    pub(crate) site: &'a Site,
    pub(crate) incarnation: Incarnation,
    pub(crate) layout: &'a Layout,
    /// The databases of the cluster.
    pub(crate) tails: Arc<PostgresJournal>,
}

/// A node that has joined.
pub(crate) struct Member {
    beat: Arc<Beat>,
    server: JoinHandle<()>,
    following: JoinHandle<()>,
    telling: JoinHandle<()>,
    /// No work is to come from others any more.
    leaving: Arc<AtomicBool>,
    scaling: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Membership {
    /// Listens for other nodes, without joining them yet.
    pub(crate) async fn prepare(
        config: &Config,
        url: &str,
        storage: &Storage,
        at: Whereabouts<'_>,
        seams: (&Clock, &Chance),
    ) -> Result<Self, StartError> {
        let (clock, chance) = seams;
        let listen_error = |source| StartError::ListenPeers { listen: config.peers, source };
        let listener = TcpListener::bind(config.peers).await.map_err(listen_error)?;
        let peer = config.reached_at(listener.local_addr().map_err(listen_error)?);
        let tls = config.certificates.as_ref().map(|dir| Tls::load(dir, clock)).transpose()?;
        let name = Name::new(at.tails.cluster())
            .map_err(|e| StartError::Data { dir: config.data.clone(), source: io::Error::other(e.to_string()) })?;
        let settings = stride_net::Settings::of(name);
        let peers = Peers::new(settings.clone(), tls.clone(), clock.clone(), chance.clone(), Tasks::real());
        let home = home_of(&lock_file(&config.store_dir()));
        let spec = NodeSpec {
            name: NodeName(at.site.node.0.clone()),
            incarnation: at.incarnation,
            home: home.map_err(|source| StartError::Data { dir: config.data.clone(), source })?,
            http: format!("http://{}", config.reached_at(at.http)),
            peer,
            labels: at.site.labels.iter().map(|l| (l.key().to_owned(), l.value().to_owned())).collect(),
            price: at.site.price.0,
            cores: at.site.cores,
            memory_bytes: hardware::memory_bytes().unwrap_or(0),
            release: env!("CARGO_PKG_VERSION").into(),
        };
        // Those of the beat are its own: a connection lives on the runtime that made it.
        let tables: Arc<dyn Tables> = Arc::new(PostgresTables::new(url).map_err(StartError::Join)?);
        let questions = match config.reads {
            Reads::Leased => None,
            // On a connection of their own: reads do not wait behind anything else.
            Reads::Strict => {
                let tables = Arc::new(PostgresTables::new(url).map_err(StartError::Join)?);
                Some(Questions::new(tables, at.incarnation, clock.clone()))
            }
        };
        let room = config.live_agents_max;
        let rollout = Rollout::new(tables.clone(), storage.components(), at.layout.clone(), clock.clone());
        let rollout = Arc::new(rollout);
        let types = (rollout.clone(), at.layout.clone());
        let switchboard =
            Switchboard::new(spec.name.clone(), peers, tables.clone(), types, questions, room, clock.clone());
        let switchboard = Arc::new(switchboard);
        let scaling = config.scale_hook.clone().map(|hook| Scaling {
            hook,
            agents_max: room,
            switchboard: switchboard.clone(),
            tables,
            clock: clock.clone(),
        });
        Ok(Self {
            spec,
            tables: Arc::new(PostgresTables::new(url).map_err(StartError::Join)?),
            listener,
            settings,
            tls,
            door: Arc::default(),
            sizes: Sizes::default(),
            switchboard,
            rollout,
            scaling,
            tails: at.tails,
            clock: clock.clone(),
        })
    }

    /// What the engine needs of the others.
    pub(crate) fn surroundings(
        &self,
        storage: &Storage,
        store: &Arc<Store>,
        chance: &Chance,
    ) -> stride_agents::Cluster {
        let snapshots = Snapshots::new(storage.beside("snapshots"), self.clock.clone(), chance.clone(), Tasks::real());
        stride_agents::Cluster {
            elsewhere: self.switchboard.clone(),
            snapshots: Arc::new(Kept { snapshots, store: store.clone(), sizes: self.sizes.clone() }),
        }
    }

    /// Joins, takes the cells that are this node's, and waits until each cell has an owner.
    pub(crate) async fn join(
        self,
        engine: Arc<Engine>,
        objects: Arc<Objects>,
        calls: Arc<Calls>,
        runs: Runs,
        router: Router,
    ) -> Result<Member, StartError> {
        let (stop, stopped) = watch::channel(false);
        let keeper = Arc::new(Keeper {
            engine: engine.clone(),
            switchboard: self.switchboard.clone(),
            objects: objects.clone(),
            sizes: self.sizes,
            tails: self.tails,
            runtime: Handle::current(),
        });
        let (control, functions) = (calls.control.clone(), calls.functions.clone());
        functions.bring_others(self.switchboard.clone());
        self.door.open(Inside { engine, calls, runs, switchboard: self.switchboard.clone(), router });
        let server = serve(
            self.listener,
            self.settings,
            self.tls,
            self.door,
            self.clock.clone(),
            Tasks::real(),
            stopped.clone(),
        );
        let server = tokio::spawn(server);
        let beat = Beat::start(self.spec, self.tables, keeper, self.clock.clone()).await.map_err(StartError::Join)?;
        let beat = Arc::new(beat);
        self.switchboard.join(beat.clone());
        self.rollout.join(beat.clone());
        let scaling = self.scaling.map(|scaling| tokio::spawn(scaling.run(stopped.clone())));
        let following = self.rollout.clone().follow(control, beat.deployments(), stopped.clone());
        let following = tokio::spawn(following);
        let leaving = Arc::new(AtomicBool::new(false));
        let herald = Herald {
            functions,
            objects,
            switchboard: self.switchboard,
            leaving: leaving.clone(),
            clock: self.clock.clone(),
            tasks: Tasks::real(),
            told: Default::default(),
        };
        let telling = tokio::spawn(Arc::new(herald).run(stopped));
        let member = Member { beat, server, following, telling, leaving, scaling, stop };
        if self.clock.timeout(OWNED_WITHIN, member.all_owned()).await.is_err() {
            tracing::warn!("some cells have no owner yet; requests for their agents wait or are told so");
        }
        Ok(member)
    }
}

impl Member {
    async fn all_owned(&self) {
        let mut map = self.beat.watch();
        // The sender lives as long as the beat.
        let _ = map.wait_for(|map| !map.cells.is_empty() && map.cells.iter().all(|place| place.owner.is_some())).await;
    }

    /// Waits until another node has this one's name.
    pub(crate) async fn replaced(&self) {
        if self.beat.ended().await != Ended::Replaced {
            std::future::pending::<()>().await;
        }
    }

    /// Gives all cells to others and leaves. Requests are still taken, and handed on.
    pub(crate) async fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.beat.drain(GIVEN_WITHIN).await;
    }

    /// Answers no other node any more.
    pub(crate) async fn close(self) {
        self.stop.send_replace(true);
        // They end by themselves now.
        let _ = self.telling.await;
        let _ = self.following.await;
        if let Some(scaling) = self.scaling {
            // Not waited for: its command may take a minute, and is killed with it.
            scaling.abort();
        }
        let _ = self.server.await;
    }
}
