//! One run of several nodes: cells move between them, in good order and by force, nodes stand still for ever and new ones
//! come, and what goes between them is late or lost.
//!
//! The journal is what a database is to them: it lives on. A node that stands still is still called by others, so it is
//! what a node that was cut off is as well: one that does not know that its cells have a new owner.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_agents::{
    Answer, Asked, Bodies, Body, Cluster, Elsewhere, Engine, Kind, Listed, NotDone, Parcel, Settings, Snapshots,
    Surroundings, Tell, Told,
};
use stride_ids::{Address, AgentKey, CellId, Code, Epoch, Failure, Layout, Name, Seq};
use stride_sim::{Chance, Clock, Tasks, disk::SimDisk};
use stride_store::Store;

use crate::{
    check,
    plan::plan,
    run::{CELLS, Clients, Outcome, SlowJournal, maintain, quiet},
    town::Town,
};

/// What a run is made of. The same setup gives the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// How many nodes stand still at some time; each time a new one comes.
    pub(crate) deaths: u64,
    pub(crate) moves: u64,
    /// Of a thousand calls between nodes, so many are lost.
    pub(crate) lost_per_mille: u64,
    /// A bug that is put in on purpose: nodes show what they read without asking whether the cell is still theirs.
    pub(crate) reads_unasked: bool,
    /// Agents are close to something, and nodes find that out only by and by.
    pub(crate) has_rules: bool,
    /// A bug that is put in on purpose: nodes replay what others have written before they know what those knew.
    pub(crate) replays_unlearned: bool,
}

impl Setup {
    pub(crate) fn random(seed: u64) -> Self {
        Self {
            seed,
            nodes: 2 + (seed % 3) as usize,
            deaths: seed % 4,
            moves: 5 + seed % 20,
            lost_per_mille: seed % 5 * 30,
            reads_unasked: false,
            has_rules: seed % 2 == 1,
            replays_unlearned: false,
        }
    }
}

/// The nodes, dead ones included, and who owns what.
struct Hub {
    clock: Clock,
    chance: Chance,
    setup: Setup,
    engines: Mutex<Vec<Arc<Engine>>>,
    living: Mutex<Vec<usize>>,
    owners: Mutex<[Option<usize>; CELLS as usize]>,
    /// The epochs of the cells, or older ones.
    epochs: Mutex<[u64; CELLS as usize]>,
}

/// A node's way to the others.
struct Port {
    hub: Arc<Hub>,
    node: usize,
    layout: Layout,
}

/// What is deployed on a node that may not have heard of it.
struct Deployed {
    town: Arc<Town>,
    layout: Layout,
}

fn declare(layout: &Layout, has_rules: bool) {
    let rule = has_rules.then(|| "agent:house/{key}".parse().unwrap());
    layout.declare(&Name::default_tenant(), &[(Name::new("account").unwrap(), rule)].into());
}

impl Bodies for Deployed {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        self.town.kind(tenant, name).filter(|_| self.layout.knows(tenant, name))
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        self.town.kind_of_version(tenant, name, version)
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        self.town.nearest_kind(tenant, name)
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        self.town.start(kind, address)
    }
}

impl Hub {
    fn pick(&self) -> usize {
        let living = self.living.lock();
        living[self.chance.below(living.len() as u64) as usize]
    }

    fn engine(&self, node: usize) -> Arc<Engine> {
        self.engines.lock()[node].clone()
    }

    fn owner(&self, cell: CellId) -> Option<usize> {
        self.owners.lock()[usize::from(cell.0)]
    }

    fn set_owner(&self, cell: CellId, node: Option<usize>) {
        self.owners.lock()[usize::from(cell.0)] = node;
    }

    async fn late(&self) {
        let micros = if self.chance.hits(20) { 300_000 } else { 2_000 };
        self.clock.sleep(Duration::from_micros(self.chance.below(micros))).await;
    }
}

fn lost() -> NotDone {
    NotDone::Unknown(Failure::new(Code::Unavailable, "the link is cut"))
}

impl Port {
    /// Calls the owner of a cell over a link that is slow and loses things, on the way there and on the way back.
    async fn call<T>(
        &self,
        cell: CellId,
        call: impl AsyncFnOnce(Arc<Engine>) -> Result<T, NotDone>,
    ) -> Result<T, NotDone> {
        let owner = self.hub.owner(cell).filter(|owner| *owner != self.node).ok_or(NotDone::NotHere)?;
        self.hub.late().await;
        if self.hub.chance.hits(self.hub.setup.lost_per_mille) {
            return Err(lost());
        }
        let outcome = call(self.hub.engine(owner)).await;
        self.hub.late().await;
        if self.hub.chance.hits(self.hub.setup.lost_per_mille) { Err(lost()) } else { outcome }
    }
}

impl Elsewhere for Port {
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Answer, NotDone>> {
        let cell = self.layout.cell(&asked.ask.address);
        Box::pin(self.call(cell, async move |engine| engine.ask_here(asked).await))
    }

    fn tell(&self, tell: Tell) -> BoxFuture<'_, Result<Told, NotDone>> {
        let cell = self.layout.cell(&tell.address);
        Box::pin(self.call(cell, async move |engine| engine.tell_here(tell).await))
    }

    fn owner(&self, cell: CellId) -> Option<Name> {
        self.hub.owner(cell).map(|node| Name::new(&format!("node-{node}")).unwrap())
    }

    fn deliver<'a>(&'a self, parcels: &'a [Parcel]) -> BoxFuture<'a, Vec<Result<(), NotDone>>> {
        Box::pin(async move {
            let taken = self.call(parcels[0].to, async move |engine| Ok(engine.deliver_here(parcels.to_vec()).await));
            taken.await.unwrap_or_else(|failure| vec![Err(failure); parcels.len()])
        })
    }

    fn list<'a>(
        &'a self,
        _: &'a Name,
        _: &'a Name,
        _: Option<&'a AgentKey>,
        _: usize,
    ) -> BoxFuture<'a, Result<Listed, Failure>> {
        Box::pin(async { Ok(Listed::default()) })
    }

    fn confirm(&self, cell: CellId, _: Epoch) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.hub.late().await;
            let ours = self.hub.owner(cell) == Some(self.node) || self.hub.setup.reads_unasked;
            if ours { Ok(()) } else { Err(Failure::new(Code::Unavailable, "somebody else may have it")) }
        })
    }

    fn learn(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async {
            self.hub.late().await;
            let (layout, has_rules) = (self.layout.clone(), self.hub.setup.has_rules);
            if self.hub.setup.replays_unlearned {
                // Soon enough that nobody misses the code of a type, and too late for the replay.
                let clock = self.hub.clock.clone();
                tokio::spawn(async move {
                    clock.sleep(Duration::from_millis(30)).await;
                    declare(&layout, has_rules);
                });
            } else {
                declare(&layout, has_rules);
            }
            Ok(())
        })
    }

    fn moved(&self, _: CellId) -> BoxFuture<'_, ()> {
        Box::pin(self.hub.clock.sleep(Duration::from_millis(5)))
    }
}

/// No snapshots: the journal has everything.
struct Nowhere;

impl Snapshots for Nowhere {
    fn restore(&self, _: CellId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn keep(&self, _: CellId, _: Epoch) -> BoxFuture<'_, Result<Seq, Failure>> {
        Box::pin(async { Ok(Seq::ZERO) })
    }
}

/// What nodes are made of.
struct Works {
    hub: Arc<Hub>,
    journal: Arc<SlowJournal>,
    town: Arc<Town>,
    chance: Chance,
    dirs: Mutex<Vec<tempfile::TempDir>>,
    /// Those that stand still and have not been replaced.
    dead: Mutex<Vec<usize>>,
    moves: AtomicU64,
    /// Cells stay where they are from now on.
    rests: AtomicBool,
    /// All of them go to the first node.
    gathers: AtomicBool,
}

impl Works {
    /// A new node; it stands still after so many polls.
    async fn start(self: &Arc<Self>, polls_max: u64) -> usize {
        let (hub, clock) = (self.hub.clone(), self.hub.clock.clone());
        let node = hub.engines.lock().len();
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::from(CELLS);
        let store = Arc::new(Store::open(dir.path(), layout.clone(), stride_store::Settings::default()).unwrap());
        let bodies = Arc::new(Deployed { town: self.town.clone(), layout: layout.clone() });
        self.dirs.lock().push(dir);
        let tasks = Tasks::simulated(Chance::seeded(self.chance.next_u64()), polls_max);
        let surroundings = Surroundings {
            journal: self.journal.clone(),
            store,
            bodies: bodies.clone(),
            clock: clock.clone(),
            chance: self.chance.clone(),
            tasks: tasks.clone(),
            cluster: Some(Cluster {
                elsewhere: Arc::new(Port { hub: hub.clone(), node, layout }),
                snapshots: Arc::new(Nowhere),
            }),
        };
        let settings = Settings {
            cells: CELLS,
            backoff: Duration::from_millis(20),
            asking_max: Duration::from_secs(2),
            ..Settings::default()
        };
        let engine = Engine::open(surroundings, settings).await.unwrap();
        let (heard_after, has_rules, at) = (self.chance.below(400), hub.setup.has_rules, clock.clone());
        tasks.spawn(async move {
            at.sleep(Duration::from_millis(heard_after)).await;
            declare(&bodies.layout, has_rules);
        });
        tasks.spawn(maintain(engine.clone(), clock));
        hub.engines.lock().push(engine);
        hub.living.lock().push(node);
        let works = self.clone();
        tokio::spawn(async move {
            tasks.ended().await;
            works.dead.lock().push(node);
        });
        node
    }

    /// A node stands still: the others have its cells after a while, and a new one takes its place.
    async fn bury(self: &Arc<Self>, node: usize) {
        self.hub.living.lock().retain(|living| *living != node);
        self.start(u64::MAX).await;
        self.hub.clock.sleep(Duration::from_millis(500)).await;
        for owner in self.hub.owners.lock().iter_mut().filter(|owner| **owner == Some(node)) {
            *owner = None;
        }
    }

    /// Moves cells about until it is told to rest, and sees to it that each has an owner.
    async fn govern(self: Arc<Self>, mut moves: u64) {
        loop {
            self.hub.clock.sleep(Duration::from_millis(1 + self.chance.below(150))).await;
            let dead = std::mem::take(&mut *self.dead.lock());
            for node in dead {
                self.bury(node).await;
            }
            for cell in (0..CELLS).map(CellId) {
                if self.hub.owner(cell).is_none() {
                    self.give(cell, self.hub.pick()).await;
                }
            }
            if moves == 0 || self.rests.load(Ordering::Relaxed) {
                self.rests.store(true, Ordering::Relaxed);
                if self.gathers.load(Ordering::Relaxed) {
                    for cell in (0..CELLS).map(CellId) {
                        self.shift(cell, 0).await;
                    }
                }
                continue;
            }
            moves -= 1;
            let (cell, to) = (CellId(self.chance.below(u64::from(CELLS)) as u16), self.hub.pick());
            self.shift(cell, to).await;
        }
    }

    async fn shift(&self, cell: CellId, to: usize) {
        let Some(from) = self.hub.owner(cell).filter(|from| *from != to) else { return };
        self.moves.fetch_add(1, Ordering::Relaxed);
        let before = self.hub.engine(from);
        if self.hub.living.lock().contains(&from) && self.chance.hits(600) {
            // A node that stands still in the midst of it holds nothing up.
            let _ = self.hub.clock.timeout(Duration::from_secs(15), before.release(cell)).await;
            self.hub.set_owner(cell, None);
            self.give(cell, to).await;
        } else {
            self.hub.set_owner(cell, None);
            self.give(cell, to).await;
            // Whoever had it finds out sooner or later, and goes on until then.
            self.hub.clock.sleep(Duration::from_millis(self.chance.below(500))).await;
            before.lose(cell);
        }
    }

    async fn give(&self, cell: CellId, to: usize) {
        let (engine, at) = (self.hub.engine(to), usize::from(cell.0));
        // At an epoch that is not the cell's any more nothing is taken over, so the next one is tried.
        let known = self.hub.epochs.lock()[at];
        for epoch in (known..).take(8) {
            if engine.acquire(vec![(cell, Epoch(epoch))]).await.is_err() {
                return;
            }
            if let Some(owned) = engine.cells().iter().find(|owned| owned.cell == cell) {
                self.hub.epochs.lock()[at] = owned.epoch.0;
                return self.hub.set_owner(cell, Some(to));
            }
        }
    }

    /// Waits until nothing is under way between nodes, and brings all cells to one.
    async fn gather(&self, clients: &Clients) -> Option<Arc<Engine>> {
        for _ in 0..600 {
            self.hub.clock.sleep(Duration::from_millis(500)).await;
            let stats: Vec<_> = self.hub.living.lock().iter().map(|node| self.hub.engine(*node).stats()).collect();
            let waits = stats.iter().any(|stats| stats.leaving > 0);
            if self.rests.load(Ordering::Relaxed) && clients.busy.load(Ordering::Relaxed) == 0 && !waits {
                // The first one never stands still.
                let to = 0;
                for cell in (0..CELLS).map(CellId) {
                    self.gathers.store(true, Ordering::Relaxed);
                    while self.hub.owner(cell) != Some(to) {
                        self.hub.clock.sleep(Duration::from_millis(20)).await;
                    }
                }
                return Some(self.hub.engine(to));
            }
        }
        None
    }
}

/// Runs everything, and checks it.
pub(crate) fn run(setup: Setup) -> Outcome {
    let chance = Chance::seeded(setup.seed);
    let disk = SimDisk::new(Chance::seeded(chance.next_u64()));
    let clients = Clients::with(plan(&chance, 4, 12));
    let mut broken = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let moves = runtime.block_on(async {
        let clock = Clock::simulated();
        let hub = Arc::new(Hub {
            clock: clock.clone(),
            chance: chance.clone(),
            setup,
            engines: Mutex::default(),
            living: Mutex::default(),
            owners: Mutex::default(),
            epochs: Mutex::default(),
        });
        let works = Arc::new(Works {
            hub: hub.clone(),
            journal: Arc::new(SlowJournal::open(&disk, &chance, &clock).unwrap()),
            town: Town::new(chance.clone(), clock.clone(), 0, Arc::default()),
            chance: chance.clone(),
            dirs: Mutex::default(),
            dead: Mutex::default(),
            moves: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            gathers: AtomicBool::new(false),
        });
        for node in 0..setup.nodes {
            let dies = (node as u64) < setup.deaths && node > 0;
            works.start(if dies { 200 + chance.below(3_000) } else { u64::MAX }).await;
        }
        let beside = Tasks::simulated(Chance::seeded(chance.next_u64()), u64::MAX);
        beside.spawn(works.clone().govern(setup.moves));
        let doors = hub.clone();
        clients.begin(&beside, &clock, move || doors.engine(doors.pick()));
        match works.gather(&clients).await {
            Some(engine) if quiet(&clients, &engine, &clock).await => {
                check::all(&engine, &clients.all(), &clock, &mut broken).await;
            }
            Some(engine) => broken.push(format!("something waits for ever: {:?}", engine.stats())),
            None => broken.push("something waits for ever between nodes".into()),
        }
        works.moves.load(Ordering::Relaxed)
    });
    drop(runtime);
    let trace = std::mem::take(&mut *clients.trace.lock());
    Outcome { broken, trace, crashes: moves, polls: 0 }
}
