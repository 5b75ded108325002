//! The tables in memory, shared by the nodes of one simulation. Each node has its own [`Way`] to them, which can be slow, cut off,
//! or lose answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_ids::{CellId, DatabaseId, Epoch, Incarnation};
use stride_sim::Clock;

use crate::{
    CellLoad, Change, NodeName, NodeRow, NodeSpec,
    tables::{CellRow, Deployment, Error, News, Pulse, Tables, Wanted, World},
};

/// The tables, and what the journal's fence does to them.
#[derive(Clone)]
pub struct MemoryTables(Arc<Mutex<State>>);

struct State {
    /// The database's.
    clock: Clock,
    nodes: BTreeMap<NodeName, Row>,
    cells: Vec<CellRow>,
    reconciler: Option<(Incarnation, Duration)>,
    nodes_changed: u64,
    wanted_changed: u64,
    /// How many databases there are beside the first one.
    further: u16,
    /// How many tails were moved.
    moves: u64,
    deployments: Vec<Deployment>,
}

struct Row {
    row: NodeRow,
    seen: Duration,
    lease: Duration,
}

impl MemoryTables {
    /// With so many cells, that nobody owns.
    pub fn new(cells: u16, clock: Clock) -> Self {
        let state = State {
            clock,
            nodes: BTreeMap::new(),
            cells: vec![CellRow::default(); usize::from(cells)],
            reconciler: None,
            nodes_changed: 0,
            wanted_changed: 0,
            further: 0,
            moves: 0,
            deployments: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A node's way to them.
    pub fn way(&self) -> Way {
        Way { tables: self.clone(), link: Arc::default() }
    }

    /// What the journal does when a cell is taken over at an epoch: the new one, if nobody was faster.
    pub fn open_at(&self, cell: CellId, epoch: Epoch, holder: Incarnation) -> Option<Epoch> {
        self.move_on(cell, epoch, Some(holder))
    }

    /// What the journal does when a cell is released.
    pub fn release(&self, cell: CellId, epoch: Epoch, holder: Incarnation) -> bool {
        let owned = self.0.lock().cells.get(usize::from(cell.0)).is_some_and(|row| row.holder == Some(holder));
        owned && self.move_on(cell, epoch, None).is_some()
    }

    /// Adds a database.
    pub fn add_database(&self) -> DatabaseId {
        let mut state = self.0.lock();
        state.further += 1;
        DatabaseId(state.further)
    }

    /// What the journal does when a tail is moved by whoever released the cell before: whether nobody else was faster.
    pub fn move_tail(&self, cell: CellId, holder: Incarnation, to: DatabaseId) -> bool {
        let mut state = self.0.lock();
        let row = state.cells.get_mut(usize::from(cell.0)).filter(|row| row.holder.is_none_or(|other| other == holder));
        let Some(row) = row else { return false };
        row.epoch = Epoch(row.epoch.0 + 1);
        row.holder = Some(holder);
        row.database = to;
        row.moves_to = row.moves_to.filter(|wanted| *wanted != to);
        state.moves += 1;
        true
    }

    fn move_on(&self, cell: CellId, epoch: Epoch, holder: Option<Incarnation>) -> Option<Epoch> {
        let mut state = self.0.lock();
        let row = state.cells.get_mut(usize::from(cell.0)).filter(|row| row.epoch == epoch)?;
        row.epoch = Epoch(epoch.0 + 1);
        row.holder = holder;
        Some(row.epoch)
    }

    /// What is in them.
    pub fn look(&self) -> World {
        self.0.lock().world()
    }
}

impl State {
    fn world(&self) -> World {
        let now = self.clock.now();
        let row = |(name, row): (&NodeName, &Row)| {
            (name.clone(), NodeRow { silent: now.saturating_sub(row.seen), ..row.row.clone() })
        };
        World { version: self.wanted_changed, nodes: self.nodes.iter().map(row).collect(), cells: self.cells.clone() }
    }

    fn node(&mut self, incarnation: Incarnation) -> Option<&mut Row> {
        self.nodes.values_mut().find(|node| node.row.spec.incarnation == incarnation)
    }

    fn join(&mut self, spec: &NodeSpec, lease: Duration) -> Result<(), Error> {
        let now = self.clock.now();
        if let Some(known) = self.nodes.get(&spec.name) {
            let theirs = &known.row.spec;
            let over = known.row.dead || known.seen + known.lease < now;
            let same = theirs.incarnation == spec.incarnation || (spec.home.is_some() && theirs.home == spec.home);
            if !over && !same {
                return Err(Error::NameInUse { name: spec.name.clone(), peer: theirs.peer.clone() });
            }
        }
        let row = NodeRow {
            spec: spec.clone(),
            silent: Duration::ZERO,
            dead: false,
            draining: false,
            cells: 0,
            agents: 0,
            queue: 0,
            bytes: 0,
            deployed: 0,
        };
        self.nodes.insert(spec.name.clone(), Row { row, seen: now, lease });
        self.nodes_changed += 1;
        Ok(())
    }

    fn beat(&mut self, pulse: &Pulse) -> Result<News, Error> {
        let now = self.clock.now();
        let node = self.node(pulse.incarnation).ok_or(Error::Replaced)?;
        if node.row.dead {
            return Err(Error::Dead);
        }
        node.seen = now;
        let row = &mut node.row;
        let drains = row.draining != pulse.draining;
        (row.draining, row.cells, row.agents) = (pulse.draining, pulse.cells, pulse.load.agents);
        (row.queue, row.bytes, row.deployed) = (pulse.load.queue, pulse.bytes, pulse.deployed);
        self.nodes_changed += u64::from(drains);
        for CellLoad { cell, bytes, busy, labels } in &pulse.load.cells {
            if let Some(row) = self.cells.get_mut(usize::from(cell.0)) {
                (row.bytes, row.busy) = (bytes.unwrap_or(row.bytes), busy.unwrap_or(row.busy));
                row.labels.clone_from(labels);
            }
        }
        Ok(News {
            nodes: self.nodes_changed,
            wanted: self.wanted_changed,
            owners: self.cells.iter().map(|cell| cell.epoch.0).sum::<u64>() + self.moves,
            deployments: self.deployments.len() as u64,
            now,
        })
    }

    fn reconcile(&mut self, incarnation: Incarnation, lease: Duration, judge: bool) -> Option<usize> {
        let now = self.clock.now();
        if self.reconciler.is_some_and(|(holder, until)| holder != incarnation && until >= now) {
            return None;
        }
        self.reconciler = Some((incarnation, now + lease));
        let awake = self.node(incarnation).is_some_and(|me| me.seen + me.lease / 3 > now);
        if !(judge && awake) {
            return Some(0);
        }
        let silent = self.nodes.values_mut().filter(|node| !node.row.dead && node.seen + node.lease < now);
        let judged = silent.map(|node| node.row.dead = true).count();
        self.nodes_changed += judged as u64;
        Some(judged)
    }

    fn want(&mut self, incarnation: Incarnation, version: u64, changes: &[Change]) -> bool {
        let now = self.clock.now();
        let ours = self.reconciler.is_some_and(|(holder, until)| holder == incarnation && until >= now);
        if !ours || version != self.wanted_changed {
            return false;
        }
        for Change { cell, to, why } in changes {
            if let Some(row) = self.cells.get_mut(usize::from(cell.0)) {
                row.wanted = Some(Wanted { node: to.clone(), why: why.to_string() });
            }
        }
        self.wanted_changed += 1;
        true
    }

    fn set_pin(&mut self, cells: &[CellId], pin: Option<&NodeName>) {
        for cell in cells {
            if let Some(row) = self.cells.get_mut(usize::from(cell.0)) {
                row.pin = pin.cloned();
            }
        }
        self.wanted_changed += 1;
    }

    fn send_tails(&mut self, cells: &[CellId], to: DatabaseId) -> Result<(), Error> {
        if to.0 > self.further {
            return Err(Error::UnknownDatabase { number: to });
        }
        for cell in cells {
            if let Some(row) = self.cells.get_mut(usize::from(cell.0)) {
                row.moves_to = (row.database != to).then_some(to);
            }
        }
        self.wanted_changed += 1;
        Ok(())
    }

    fn deploy(&mut self, deployment: &Deployment, expected: Option<u64>) -> Result<u64, Error> {
        let same =
            |other: &&Deployment| (&other.tenant, &other.component) == (&deployment.tenant, &deployment.component);
        let current = self.deployments.iter().rfind(same).map(|newest| newest.number);
        if current != expected {
            return Err(Error::Conflict { current });
        }
        let number = self.deployments.len() as u64 + 1;
        self.deployments.push(Deployment { number, ..deployment.clone() });
        Ok(number)
    }
}

/// What is wrong with a node's way to the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Nothing.
    #[default]
    Up,
    /// Everything takes this long, there and back together.
    Slow(Duration),
    /// Nothing arrives, and nobody says so.
    Cut,
    /// Everything arrives, and no answer does.
    Deaf,
    /// Everything is refused at once.
    Refused,
}

/// One node's way to the tables. Clones are the same way.
#[derive(Clone)]
pub struct Way {
    tables: MemoryTables,
    link: Arc<Mutex<Link>>,
}

impl Way {
    /// Makes it bad, or good again.
    pub fn set(&self, link: Link) {
        *self.link.lock() = link;
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut State) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async move {
            let link = *self.link.lock();
            let clock = self.tables.0.lock().clock.clone();
            let half = match link {
                Link::Slow(whole) => whole / 2,
                _ => Duration::ZERO,
            };
            match link {
                Link::Cut => std::future::pending().await,
                Link::Refused => return Err(Error::Unavailable("refused".into())),
                Link::Up | Link::Slow(_) | Link::Deaf => clock.sleep(half).await,
            }
            let answer = work(&mut self.tables.0.lock());
            match link {
                Link::Deaf => std::future::pending().await,
                _ => clock.sleep(half).await,
            }
            Ok(answer)
        })
    }
}

impl Tables for Way {
    fn join<'a>(&'a self, spec: &'a NodeSpec, lease: Duration) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.call(|state| state.join(spec, lease)).await? })
    }

    fn beat<'a>(&'a self, pulse: &'a Pulse) -> BoxFuture<'a, Result<News, Error>> {
        Box::pin(async move { self.call(|state| state.beat(pulse)).await? })
    }

    fn world(&self) -> BoxFuture<'_, Result<World, Error>> {
        self.call(|state| state.world())
    }

    fn reconcile(
        &self,
        incarnation: Incarnation,
        lease: Duration,
        judge: bool,
    ) -> BoxFuture<'_, Result<Option<usize>, Error>> {
        self.call(move |state| state.reconcile(incarnation, lease, judge))
    }

    fn want<'a>(
        &'a self,
        incarnation: Incarnation,
        version: u64,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.call(move |state| state.want(incarnation, version, changes))
    }

    fn pin<'a>(&'a self, cells: &'a [CellId], node: &'a NodeName) -> BoxFuture<'a, Result<(), Error>> {
        let pin = |state: &mut State| {
            if !state.nodes.contains_key(node) {
                return Err(Error::UnknownNode { name: node.clone() });
            }
            state.set_pin(cells, Some(node));
            Ok(())
        };
        Box::pin(async move { self.call(pin).await? })
    }

    fn unpin<'a>(&'a self, cells: &'a [CellId]) -> BoxFuture<'a, Result<(), Error>> {
        self.call(|state| state.set_pin(cells, None))
    }

    fn send_tails<'a>(&'a self, cells: &'a [CellId], to: DatabaseId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.call(|state| state.send_tails(cells, to)).await? })
    }

    fn confirm<'a>(
        &'a self,
        incarnation: Incarnation,
        cells: &'a [(CellId, Epoch)],
    ) -> BoxFuture<'a, Result<Vec<CellId>, Error>> {
        self.call(move |state| {
            let ours = |(cell, epoch): &&(CellId, Epoch)| {
                let row = state.cells.get(usize::from(cell.0));
                row.is_some_and(|row| row.epoch == *epoch && row.holder == Some(incarnation))
            };
            cells.iter().filter(ours).map(|(cell, _)| *cell).collect()
        })
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'_, Result<(), Error>> {
        self.call(move |state| {
            let before = state.nodes.len();
            state.nodes.retain(|_, node| node.row.spec.incarnation != incarnation);
            state.nodes_changed += u64::from(state.nodes.len() < before);
            state.reconciler = state.reconciler.filter(|(holder, _)| *holder != incarnation);
        })
    }

    fn deploy<'a>(&'a self, deployment: &'a Deployment, expected: Option<u64>) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move { self.call(|state| state.deploy(deployment, expected)).await? })
    }

    fn deployments(&self, after: u64) -> BoxFuture<'_, Result<Vec<Deployment>, Error>> {
        self.call(move |state| state.deployments.iter().filter(|one| one.number > after).cloned().collect())
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Nodes and worlds for tests of pure code.

    use stride_ids::Name;

    use super::*;

    pub(crate) fn name(name: &str) -> NodeName {
        NodeName(Name::new(name).unwrap())
    }

    pub(crate) fn me() -> Incarnation {
        Incarnation::of_bits(1)
    }

    pub(crate) fn other() -> Incarnation {
        Incarnation::of_bits(2)
    }

    pub(crate) fn spec(name_: &str, incarnation: Incarnation) -> NodeSpec {
        NodeSpec {
            name: name(name_),
            incarnation,
            home: None,
            http: format!("http://{name_}"),
            peer: format!("{name_}:1"),
            labels: BTreeMap::new(),
            price: 0,
            cores: 4,
            memory_bytes: 1 << 30,
            release: "0.1.0".into(),
        }
    }

    /// Nodes that live, with incarnations from one on, and cells that nobody owns.
    pub(crate) fn world(names: &[&str], cells: u16) -> World {
        let clock = Clock::manual();
        let tables = MemoryTables::new(cells, clock);
        for (bits, name) in (1..).zip(names) {
            tables.0.lock().join(&spec(name, Incarnation::of_bits(bits)), Duration::from_secs(1)).unwrap();
        }
        tables.look()
    }
}
