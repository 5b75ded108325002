//! A cluster in one thread: the tables, nodes with engines that do nothing but own, and the checker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_cluster::{
    Beat, CellLoad, Cells, Error, Labels, Lease, Load, NodeName, NodeSpec, Questions, Reads, Referee, Takeover, World,
    memory::{MemoryTables, Way},
};
use stride_ids::{CellId, DatabaseId, Epoch, Failure, Incarnation, Name};
use stride_sim::{Chance, Clock};

pub(crate) const CELLS: u16 = 24;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName(Name::new(text).unwrap())
}

/// Owns cells, and does so as slowly as it is told to.
pub(crate) struct Engine {
    me: Incarnation,
    tables: MemoryTables,
    clock: Clock,
    chance: Chance,
    owned: Mutex<BTreeMap<CellId, Epoch>>,
    /// What the data of each cell's agents demands.
    pub(crate) labels: Mutex<BTreeMap<CellId, Labels>>,
    lease: OnceLock<Arc<Lease>>,
    /// How long acquiring and releasing take at most.
    pub(crate) slow: Mutex<Duration>,
    pub(crate) lost: Mutex<usize>,
}

impl Engine {
    async fn dawdle(&self) {
        let most = u64::try_from(self.slow.lock().as_micros()).unwrap();
        let wait = self.chance.below(most + 1);
        self.clock.sleep(Duration::from_micros(wait)).await;
    }

    /// The cells that it would answer for now.
    fn answers(&self) -> Vec<(CellId, Epoch)> {
        let valid = self.lease.get().is_some_and(|lease| lease.is_valid(self.clock.now()));
        if valid { self.owned() } else { Vec::new() }
    }
}

impl Cells for Engine {
    fn owned(&self) -> Vec<(CellId, Epoch)> {
        self.owned.lock().iter().map(|(cell, epoch)| (*cell, *epoch)).collect()
    }

    fn acquire(&self, cells: Vec<Takeover>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let labels = cells.iter().map(|takeover| (takeover.cell, takeover.labels.clone()));
            self.labels.lock().extend(labels);
            // However long it was held up, what it has decided on is still there or it takes nothing.
            self.dawdle().await;
            let opened: Vec<_> = cells
                .into_iter()
                .filter_map(|Takeover { cell, epoch, .. }| Some((cell, self.tables.open_at(cell, epoch, self.me)?)))
                .collect();
            self.dawdle().await;
            self.owned.lock().extend(opened);
            Ok(())
        })
    }

    fn release(&self, cell: CellId, _: Option<NodeName>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let epoch = self.owned.lock().remove(&cell);
            self.dawdle().await;
            if let Some(epoch) = epoch {
                self.tables.release(cell, epoch, self.me);
            }
            Ok(())
        })
    }

    fn rehome(&self, cell: CellId, to: DatabaseId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.release(cell, None).await?;
            self.dawdle().await;
            self.tables.move_tail(cell, self.me, to);
            Ok(())
        })
    }

    fn lose(&self, cell: CellId) {
        self.owned.lock().remove(&cell);
        *self.lost.lock() += 1;
    }

    fn load(&self) -> Load {
        let all = self.labels.lock();
        let load = |cell: &CellId| {
            let labels = all.get(cell).cloned().unwrap_or_default();
            CellLoad { cell: *cell, bytes: Some(1 << 20), busy: None, labels }
        };
        Load { cells: self.owned.lock().keys().map(load).collect(), ..Load::default() }
    }
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) beat: Beat,
    pub(crate) engine: Arc<Engine>,
    pub(crate) way: Way,
}

pub(crate) struct Town {
    pub(crate) tables: MemoryTables,
    pub(crate) clock: Clock,
    chance: Chance,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    /// Those that the checker looks at.
    alive: Arc<Mutex<BTreeMap<NodeName, Arc<Engine>>>>,
}

impl Town {
    pub(crate) fn new(chance: Chance) -> Self {
        let town = Self::without_checker(chance);
        tokio::spawn(check(town.tables.clone(), town.clock.clone(), town.alive.clone()));
        town
    }

    /// Where a node may answer for what another has, because its clock is worse than is allowed.
    pub(crate) fn without_checker(chance: Chance) -> Self {
        let clock = Clock::simulated();
        let tables = MemoryTables::new(CELLS, clock.clone());
        Self { tables, clock, chance, nodes: BTreeMap::new(), alive: Arc::default() }
    }

    /// On what a node answers reads.
    pub(crate) fn reads(&self, node: &str, reads: Reads) -> Referee {
        let Node { beat, engine, way } = self.node(node);
        match reads {
            Reads::Leased => Referee::Leased(beat.lease(), engine.clock.clone()),
            Reads::Strict => Referee::Strict(Questions::new(Arc::new(way.clone()), engine.me, engine.clock.clone())),
        }
    }

    pub(crate) fn spec(&self, node: &str, home: Option<&str>) -> NodeSpec {
        NodeSpec {
            name: name(node),
            incarnation: Incarnation::of_bits(self.chance.next_u64()),
            home: home.map(str::to_owned),
            http: format!("http://{node}"),
            peer: format!("{node}:1"),
            labels: BTreeMap::new(),
            price: 0,
            cores: 4,
            memory_bytes: 0,
            release: String::new(),
        }
    }

    /// Starts a node whose clock runs at so many milliseconds a second.
    pub(crate) async fn try_start(&mut self, spec: NodeSpec, per_mille: u32) -> Result<(), Error> {
        let (name, way, clock) = (spec.name.clone(), self.tables.way(), Clock::drifting(per_mille));
        let engine = Arc::new(Engine {
            me: spec.incarnation,
            tables: self.tables.clone(),
            clock: clock.clone(),
            chance: self.chance.clone(),
            owned: Mutex::default(),
            labels: Mutex::default(),
            lease: OnceLock::new(),
            slow: Mutex::new(ms(40)),
            lost: Mutex::default(),
        });
        let beat = Beat::start_within(spec, Arc::new(way.clone()), engine.clone(), clock).await?;
        engine.lease.set(beat.lease()).unwrap();
        self.alive.lock().insert(name.clone(), engine.clone());
        self.nodes.insert(name, Node { beat, engine, way });
        Ok(())
    }

    pub(crate) async fn start(&mut self, node: &str) {
        self.try_start(self.spec(node, None), 1000).await.unwrap();
    }

    /// Ends a node without a word.
    pub(crate) fn kill(&mut self, node: &str) {
        self.nodes.remove(&name(node));
        self.alive.lock().remove(&name(node));
    }

    pub(crate) fn node(&self, node: &str) -> &Node {
        &self.nodes[&name(node)]
    }

    /// The cells for which a node would answer now.
    pub(crate) fn answers(&self, node: &str) -> usize {
        self.node(node).engine.answers().len()
    }

    /// Of each cell its epoch, and who is to own it.
    pub(crate) fn places(&self) -> Vec<(u64, String)> {
        let cells = self.tables.look().map().cells;
        cells
            .iter()
            .map(|place| (place.epoch.0, place.wanted.as_ref().map_or_else(String::new, ToString::to_string)))
            .collect()
    }

    /// How many cells have somebody who would answer for them.
    pub(crate) fn answered(&self) -> usize {
        self.nodes.values().map(|node| node.engine.answers().len()).sum()
    }

    /// Waits for a condition, and says how long that took.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) -> Duration {
        let began = self.clock.now();
        while !condition(self) {
            let world = self.tables.look();
            assert!(self.clock.now() - began < Duration::from_secs(120), "never: {what}\n{}", shown(&world));
            self.clock.sleep(ms(1)).await;
        }
        self.clock.now() - began
    }

    /// Waits until every cell is with whom it is to be, and the nodes have about as many each.
    pub(crate) async fn until_settled(&self) -> Duration {
        self.until("every cell is where it is to be", Self::is_settled).await
    }

    fn is_settled(&self) -> bool {
        let world = self.tables.look();
        let map = world.map();
        let placed = map.cells.iter().all(|place| place.owner.is_some() && place.owner == place.wanted)
            && world.cells.iter().all(|row| row.moves_to.is_none());
        let each = usize::from(CELLS) / self.nodes.len().max(1);
        let even = self.nodes.values().all(|node| node.engine.answers().len().abs_diff(each) <= 1);
        placed && even && self.answered() == usize::from(CELLS)
    }
}

fn shown(world: &World) -> String {
    let nodes: Vec<_> =
        world.nodes.values().map(|n| format!("{} dead={} draining={}", n.spec.name, n.dead, n.draining)).collect();
    let cells: Vec<_> = world
        .map()
        .cells
        .iter()
        .map(|p| {
            format!("{:?}/{:?}", p.owner.as_ref().map(ToString::to_string), p.wanted.as_ref().map(ToString::to_string))
        })
        .collect();
    format!("{nodes:?} {cells:?}")
}

/// At most one answers for a cell, and it has the newest epoch.
async fn check(tables: MemoryTables, clock: Clock, alive: Arc<Mutex<BTreeMap<NodeName, Arc<Engine>>>>) {
    loop {
        clock.sleep(ms(1)).await;
        let (world, mut answered) = (tables.look(), BTreeSet::new());
        for (name, engine) in alive.lock().iter() {
            for (cell, epoch) in engine.answers() {
                let newest = world.cells[usize::from(cell.0)].epoch;
                if epoch != newest || !answered.insert(cell) {
                    eprintln!("{name} answers for {cell} at epoch {epoch}, and it is at {newest}: a stale read");
                    // The panic of a task would only end the task.
                    std::process::abort();
                }
            }
        }
    }
}
