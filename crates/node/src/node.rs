//! A node from start to end.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::HeaderValue, serve::ListenerExt as _};
use stride_agents::{Engine, Surroundings, native::NativeTypes};
use stride_data::{BUCKETS, DiskCache, Objects, Owner, Storage};
use stride_gateway::{Gateway, NodeInfo, Others, install_recorder, router};
use stride_ids::{Code, Failure, Incarnation, InvalidName, Layout, Name};
use stride_journal::{
    Journal,
    embedded::EmbeddedJournal,
    postgres::{self, PostgresJournal},
};
use stride_maps::{MAPS, Maps};
use stride_placement::{NodeId, Price};
use stride_runs::{FLOWS, Runs};
use stride_runtime::{Functions, Host, Registry, Site};
use stride_sim::{Chance, Clock, Tasks, disk::RealDisk};
use stride_store::Store;
use stride_triggers::{TOPICS, TRIGGERS, Triggers};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    calls::Calls,
    catalog::Catalog,
    cluster::{Member, Membership, Whereabouts},
    config::{Config, DatabaseUrl},
    control::Control,
    error::{Ended, StartError},
    flows::Deployed,
    hardware,
    identity::Identity,
    upkeep::{copy_ahead, look_after, maintain, sweep, take_up},
};

/// So many rows of a cell may have changed for a snapshot to be made of those alone.
const CHANGES_MAX: usize = 100_000;
/// How long requests may take to finish once the node drains.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// A running node.
pub struct Node {
    address: SocketAddr,
    engine: Arc<Engine>,
    journal: Arc<dyn Journal>,
    gateway: Arc<Gateway>,
    member: Option<Member>,
    clock: Clock,
    stop: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
    s3: Option<JoinHandle<io::Result<()>>>,
    mapping: JoinHandle<()>,
    triggering: JoinHandle<()>,
    copying: JoinHandle<()>,
    sweeping: JoinHandle<()>,
    maintenance: JoinHandle<()>,
}

impl Node {
    /// Starts a node; it answers when this returns.
    ///
    /// # Errors
    /// With what is wrong and what to do; nothing acknowledged is given up.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        install_recorder();
        let (clock, chance) = (Clock::real(), Chance::from_os());
        let data_error = |source| StartError::Data { dir: config.data.clone(), source };
        std::fs::create_dir_all(&config.data).map_err(data_error)?;
        let mut identity = Identity::of(&config.data, &chance, config.cluster.is_some()).map_err(data_error)?;
        let catalog = Catalog::open(&config.data).map_err(data_error)?;
        // Bound first, so that a second node on the same address says so at once.
        let listen_error = |source| StartError::Listen { listen: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let s3_listener = match &config.s3 {
            Some(s3) => Some(listen_for_s3(s3.listen).await?),
            None => None,
        };

        let incarnation = Incarnation::of_bits(chance.next_u64());
        let Opened { journal, tails } = open_journal(&config, &mut identity, incarnation, &clock, &chance).await?;
        let storage = open_storage(&config, &mut identity, &clock).await?;
        // Of those of a cluster its tables say which came first; they are looked at before anything is taken over.
        let layout = match &config.cluster {
            Some(_) => Layout::from(identity.cells),
            None => catalog.layout(identity.cells).map_err(data_error)?,
        };
        let store = open_store(&config, &identity, &layout)?;
        let site = site(&config, &identity)?;
        let membership = match config.cluster.as_ref().zip(tails) {
            Some((url, tails)) => {
                let at = Whereabouts { http: address, site: &site, incarnation, layout: &layout, tails };
                Some(Membership::prepare(&config, &url.0, &storage, at, (&clock, &chance)).await?)
            }
            None => None,
        };
        let settings = stride_runtime::Settings {
            instances_max: u32::try_from(config.live_agents_max + config.running_functions_max).unwrap_or(u32::MAX),
            memory_max: guest_memory_max(&config),
            cache_dir: config.data.join("cache"),
        };
        let host = Host::new(&settings, clock.clone(), chance.clone()).map_err(StartError::Runtime)?;
        let host = Arc::new(host);
        let registry = Arc::new(Registry::new(host.clone()));
        let rollout = membership.as_ref().map(|membership| membership.rollout.clone());
        let seams = (&clock, &chance);
        let control = Control::new(host.clone(), registry.clone(), catalog, layout, rollout.clone(), seams);
        control.restore().await.map_err(StartError::Runtime)?;
        if let Some(rollout) = &rollout {
            rollout.begin(&control).await.map_err(StartError::Runtime)?;
        }

        let settings = stride_agents::Settings {
            cells: identity.cells,
            live_max: config.live_agents_max,
            ..stride_agents::Settings::default()
        };
        let runs = Runs::new(stride_runs::Settings::default(), clock.clone(), chance.clone(), Tasks::real());
        let bodies =
            runs.bodies(Arc::new(NativeTypes::new([BUCKETS, MAPS, FLOWS, TOPICS, TRIGGERS]).beside(registry.clone())));
        let (all_bodies, deployed) = (bodies.clone(), registry.clone());
        let surroundings = Surroundings {
            cluster: membership.as_ref().map(|membership| membership.surroundings(&storage, &store, &chance)),
            journal: journal.clone(),
            store,
            bodies,
            clock: clock.clone(),
            chance: chance.clone(),
            tasks: Tasks::real(),
        };
        let engine = Engine::open(surroundings, settings).await?;
        let objects = Arc::new(open_objects(&config, engine.clone(), storage, &clock));
        let info = info(&site, address, config.price_per_hour);
        host.bring_objects(&objects, site);
        let functions = Arc::new(Functions::new(registry, engine.clone()));
        let seams = (clock.clone(), chance, Tasks::real());
        let control = Arc::new(control);
        let calls = Arc::new(Calls { functions: functions.clone(), control: control.clone() });
        let triggers = Triggers::new(engine.clone(), control.triggers.clone(), calls.clone(), seams.clone());
        let maps = Maps::new(engine.clone(), objects.clone(), calls.clone(), stride_maps::Settings::default(), seams);
        let maps = Arc::new(maps);
        host.bring_maps(&maps);
        let deployed = Deployed { registry: deployed, functions: functions.clone(), bodies: all_bodies };
        runs.open(engine.clone(), objects.clone(), (calls.clone(), calls.clone()), Arc::new(deployed));
        let gateway = Arc::new(Gateway {
            node: HeaderValue::from_str(&identity.node).unwrap_or(HeaderValue::from_static("node")),
            info,
            functions: functions.clone(),
            engine: engine.clone(),
            objects: objects.clone(),
            maps,
            runs,
            triggers: Arc::new(triggers),
            control: control.clone(),
            logs: host.logs().clone(),
            clock: clock.clone(),
            tasks: Tasks::real(),
            draining: AtomicBool::new(false),
            others: membership.as_ref().map(|membership| membership.switchboard.clone() as Arc<dyn Others>),
        });
        let router = router(gateway.clone());
        let member = match membership {
            Some(membership) => Some(
                membership.join(engine.clone(), objects.clone(), calls, gateway.runs.clone(), router.clone()).await?,
            ),
            None => None,
        };

        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, stopped.clone()));
        let s3 = s3_listener.zip(config.s3).map(|(listener, s3)| {
            let router = stride_s3::router(objects.clone(), &s3.keys, clock.clone());
            tokio::spawn(serve(listener, router, stopped.clone()))
        });
        let mapping = tokio::spawn(take_up(gateway.clone(), control.clone(), clock.clone(), stopped.clone()));
        let triggering = tokio::spawn(look_after(gateway.triggers.clone(), control, clock.clone(), stopped.clone()));
        let copying = tokio::spawn(copy_ahead(functions.clone(), clock.clone(), stopped.clone()));
        let sweeping = tokio::spawn(sweep(objects, clock.clone(), stopped.clone()));
        let maintenance = tokio::spawn(maintain(engine.clone(), functions, clock.clone(), stopped));
        Ok(Self {
            address,
            engine,
            journal,
            gateway,
            member,
            clock,
            stop,
            server,
            s3,
            mapping,
            triggering,
            copying,
            sweeping,
            maintenance,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its engine, for whoever is in the same process and needs no HTTP.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Its flows, for whoever is in the same process.
    pub fn runs(&self) -> &Runs {
        &self.gateway.runs
    }

    /// Its functions, for whoever is in the same process.
    pub fn functions(&self) -> &Functions {
        &self.gateway.functions
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn failed(&self) -> Ended {
        let lost = async {
            loop {
                let fenced = self.journal.lost().await;
                match &self.member {
                    Some(_) => self.engine.lose_fenced(fenced.cell, fenced.epoch),
                    // It has no others that could go on without it.
                    None => return stride_journal::Error::from(fenced),
                }
            }
        };
        let replaced = async {
            match &self.member {
                Some(member) => member.replaced().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            stopped = self.journal.stopped() => Ended::Journal(stopped),
            error = lost => Ended::Journal(error),
            () = replaced => Ended::Replaced,
        }
    }

    /// Takes no new requests, finishes those that run, and leaves everything in the store.
    pub async fn drain(self) {
        self.gateway.draining.store(true, Ordering::Relaxed);
        if let Some(member) = &self.member {
            // Before anything else ends: requests are still taken, and handed to whoever has the cells by then.
            member.leave().await;
        }
        self.stop.send_replace(true);
        // Not waited for: it may be asking a node that does not answer.
        self.copying.abort();
        self.gateway.maps.stop();
        self.gateway.runs.stop();
        self.gateway.triggers.stop();
        let servers = futures::future::join_all([Some(self.server), self.s3].into_iter().flatten());
        if self.clock.timeout(DRAIN_MAX, servers).await.is_err() {
            tracing::warn!(
                "some requests did not finish within {DRAIN_MAX:?} and are cut off; their turns are not committed"
            );
        }
        if self.clock.timeout(DRAIN_MAX, self.gateway.maps.stopped()).await.is_err() {
            tracing::warn!(
                "some calls of maps did not finish within {DRAIN_MAX:?}; they are made again with the next start"
            );
        }
        if self.clock.timeout(DRAIN_MAX, self.gateway.runs.stopped()).await.is_err() {
            tracing::warn!(
                "some steps of flows did not end within {DRAIN_MAX:?}; they are done again with the next start"
            );
        }
        if self.clock.timeout(DRAIN_MAX, self.gateway.triggers.stopped()).await.is_err() {
            tracing::warn!(
                "some calls of triggers did not finish within {DRAIN_MAX:?}; they are made again with the next start"
            );
        }
        let stored = async {
            for task in [self.mapping, self.triggering, self.sweeping, self.maintenance] {
                if let Err(e) = task.await {
                    tracing::warn!(error = %e, "maintenance ended early");
                }
            }
            self.engine.stop_handling().await;
            self.engine.materialise().await?;
            self.engine.checkpoint().await
        };
        // A journal that is away holds all of this up.
        let stored = self.clock.timeout(DRAIN_MAX, stored).await.unwrap_or_else(|_| {
            Err(Failure::new(Code::Unavailable, format!("the journal did not answer within {DRAIN_MAX:?}")))
        });
        if let Err(failure) = stored {
            tracing::warn!(%failure, "not everything reached the store; the journal has it, so the next start takes longer");
        }
        if let Some(member) = self.member {
            member.close().await;
        }
    }
}

/// A journal, and the same as what keeps tails in databases, if it does.
struct Opened {
    journal: Arc<dyn Journal>,
    tails: Option<Arc<PostgresJournal>>,
}

async fn open_journal(
    config: &Config,
    identity: &mut Identity,
    incarnation: Incarnation,
    clock: &Clock,
    chance: &Chance,
) -> Result<Opened, StartError> {
    let wrong = |source| StartError::WrongJournal { dir: config.data.clone(), source };
    if let Some(url) = &config.cluster {
        identity.may_join(&config.data).map_err(wrong)?;
        let journal = open_postgres(url, identity, incarnation, clock, chance).await?;
        identity.join(&config.data, journal.cluster()).map_err(wrong)?;
        let journal = Arc::new(journal);
        return Ok(Opened { journal: journal.clone(), tails: Some(journal) });
    }
    identity.must_be_embedded().map_err(wrong)?;
    let dir = config.data.join("journal");
    let settings = stride_journal::embedded::Settings {
        cells: identity.cells,
        segment_bytes: config.journal_segment_mib << 20,
        ..Default::default()
    };
    let journal = EmbeddedJournal::open(Arc::new(RealDisk), &dir, settings, chance.clone());
    let journal = journal.map_err(|source| StartError::Journal { dir, source })?;
    // Again, now that nobody else has the directory: a cluster may have taken it just before.
    let now = Identity::of(&config.data, chance, false);
    let now = now.map_err(|source| StartError::Data { dir: config.data.clone(), source })?;
    now.must_be_embedded().map_err(wrong)?;
    Ok(Opened { journal: Arc::new(journal), tails: None })
}

/// Beside the runtime's threads: a database that does not answer is waited for.
async fn open_postgres(
    url: &DatabaseUrl,
    identity: &Identity,
    incarnation: Incarnation,
    clock: &Clock,
    chance: &Chance,
) -> Result<PostgresJournal, StartError> {
    let settings = postgres::Settings { url: url.0.clone(), cells: identity.cells, incarnation };
    let (clock, chance) = (clock.clone(), chance.clone());
    let open = move || PostgresJournal::open(settings, clock, chance);
    Tasks::real().blocking(open).await.map_err(StartError::Database)
}

fn open_store(config: &Config, identity: &Identity, layout: &Layout) -> Result<Arc<Store>, StartError> {
    let dir = config.store_dir();
    let changes_max = if identity.cluster.is_some() { CHANGES_MAX } else { 0 };
    let settings = stride_store::Settings { changes_max, ..Default::default() };
    let store = Store::open(&dir, layout.clone(), settings);
    store.map(Arc::new).map_err(|source| StartError::Store { dir, source })
}

/// How much memory guests may take, in bytes: half of what there is, unless it is said.
fn guest_memory_max(config: &Config) -> u64 {
    let said = config.guest_memory_mib.map(|mib| mib << 20);
    said.or_else(|| hardware::memory_bytes().map(|bytes| bytes / 2)).unwrap_or(u64::MAX)
}

/// What the node is, as its operator and its machine say.
fn site(config: &Config, identity: &Identity) -> Result<Site, StartError> {
    let wrong = |e: InvalidName| StartError::Data { dir: config.data.clone(), source: io::Error::other(e.to_string()) };
    let cores = hardware::cores();
    Ok(Site {
        node: NodeId(Name::new(&identity.node).map_err(wrong)?),
        labels: config.labels.clone(),
        hardware: hardware::classes(&config.hardware),
        // Placement counts in whole numbers; a millionth is fine enough for the cheapest core.
        price: Price((config.price_per_hour * 1e6 / f64::from(cores)).round() as u64),
        cores,
    })
}

/// The same for people, and where the node is.
fn info(site: &Site, address: SocketAddr, price_per_hour: f64) -> NodeInfo {
    NodeInfo {
        node: site.node.to_string(),
        address: format!("http://{address}"),
        version: env!("CARGO_PKG_VERSION").into(),
        cores: site.cores,
        memory_bytes: hardware::memory_bytes(),
        hardware: site.hardware.iter().map(ToString::to_string).collect(),
        labels: site.labels.iter().map(|label| (label.key().to_owned(), label.value().to_owned())).collect(),
        price_per_hour,
    }
}

/// What the environment says, for stores of objects.
pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Where the objects are, found usable before anything else is opened: it is what may be wrong outside of this machine.
async fn open_storage(config: &Config, identity: &mut Identity, clock: &Clock) -> Result<Storage, StartError> {
    let other_place = |e| StartError::OtherPlace { dir: config.data.clone(), source: Box::new(e) };
    let Some(location) = identity.place(&config.data, config.objects.as_ref()).map_err(other_place)? else {
        if identity.cluster.is_some() {
            return Err(StartError::NoSharedStore);
        }
        let dir = config.data.join("objects");
        return Storage::local(&dir, Tasks::real()).map_err(|source| StartError::Data { dir, source });
    };
    let owner = match &identity.cluster {
        Some(cluster) => Owner::cluster(cluster.clone(), identity.node.clone()),
        None => Owner::node(identity.node.clone()),
    };
    let storage = Storage::open(&location, &environment(), &owner, clock.clone(), Tasks::real()).await?;
    let data_error = |source| StartError::Data { dir: config.data.clone(), source };
    identity.settle(&config.data, &location).map_err(data_error)?;
    tracing::info!("objects are kept in {location}");
    let bytes = config.object_disk_cache_bytes(&location);
    if bytes == 0 {
        return Ok(storage);
    }
    let cache = DiskCache::open(&config.data.join("cache/objects"), bytes, Tasks::real()).await.map_err(data_error)?;
    Ok(storage.with_disk_cache(cache))
}

fn open_objects(config: &Config, engine: Arc<Engine>, storage: Storage, clock: &Clock) -> Objects {
    let settings = stride_data::Settings {
        cache_bytes: usize::try_from(config.object_cache_mib << 20).unwrap_or(usize::MAX),
        shared: config.cluster.is_some(),
        ..Default::default()
    };
    Objects::new(engine, storage, settings, clock.clone(), Tasks::real())
}

async fn listen_for_s3(listen: SocketAddr) -> Result<TcpListener, StartError> {
    let error = |source| StartError::ListenS3 { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    tracing::info!("S3 clients are answered at http://{address}");
    Ok(listener)
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    // Replies are small and waited for: holding them back to fill a packet would cost 40 ms.
    let listener = listener.tap_io(|stream| {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "TCP_NODELAY could not be set");
        }
    });
    let stop = async move {
        // The sender is gone only when the node is; both mean stop.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
