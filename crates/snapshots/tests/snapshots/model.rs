//! Several nodes that take a cell from each other at random, with a journal in memory and an object store that fails: what
//! is loaded is exactly what was materialised at that position.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use stride_ids::{Epoch, Seq};
use stride_sim::Chance;
use stride_snapshots::{Error, Snapshots};
use stride_store::Write;

use crate::{
    unreliable::Unreliable,
    world::{CELL, Model, Node, memory, row, snapshots},
};

const NODES: usize = 3;

struct Run {
    seed: u64,
    chance: Chance,
    remote: Arc<Unreliable>,
    nodes: Vec<Option<(Node, Snapshots)>>,
    /// Durable records, and what the cell was after each.
    journal: Vec<Vec<Write>>,
    history: Vec<Model>,
    /// Who holds the cell, since when.
    owner: usize,
    epoch: u64,
    /// The journal has only what comes after this.
    floor: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let remote = Unreliable::over(memory());
        let as_store: Arc<dyn ObjectStore> = remote.clone();
        let nodes = (0..NODES).map(|n| Some((Node::new(), snapshots(&as_store, seed * 100 + n as u64)))).collect();
        let (chance, journal, history) = (Chance::seeded(seed), Vec::new(), vec![Model::new()]);
        Self { seed, chance, remote, nodes, journal, history, owner: 0, epoch: 1, floor: 0 }
    }

    fn node(&self, n: usize) -> &(Node, Snapshots) {
        self.nodes[n].as_ref().unwrap()
    }

    fn is_right(&self, n: usize) {
        let (node, _) = self.node(n);
        assert_eq!(node.rows(), self.history[node.position() as usize], "seed {} node {n}", self.seed);
    }

    /// Replays what the journal has after the store's position.
    fn replay(&self, n: usize) {
        let (node, _) = self.node(n);
        assert!(node.position() >= self.floor, "seed {}: the journal has been truncated too far", self.seed);
        for seq in node.position() + 1..=self.journal.len() as u64 {
            node.stage(seq, &self.journal[seq as usize - 1]);
        }
    }

    async fn take_over(&mut self, n: usize) {
        self.epoch += 1;
        self.node(self.owner).0.store.unstage(CELL);
        self.owner = n;
        self.node(n).0.store.unstage(CELL);
        self.load(n, Seq(self.floor)).await;
        self.replay(n);
    }

    async fn load(&self, n: usize, at_least: Seq) {
        let (node, snapshots) = self.node(n);
        if self.chance.hits(200) {
            self.remote.fail_after(self.chance.below(8) as i64);
            let failed = snapshots.load(&node.store, CELL, at_least).await;
            self.remote.is_well();
            assert!(
                !matches!(failed, Err(Error::Damaged { .. } | Error::Missing { .. } | Error::Behind { .. })),
                "{failed:?}"
            );
            self.is_right(n);
        }
        snapshots.load(&node.store, CELL, at_least).await.unwrap();
        self.is_right(n);
    }

    /// By whoever it is, in whatever epoch it believes to be.
    async fn save(&mut self, n: usize) {
        let epoch = Epoch(if n == self.owner { self.epoch } else { self.chance.below(self.epoch) });
        if self.chance.hits(300) {
            self.remote.fail_after(self.chance.below(10) as i64);
        }
        let (node, snapshots) = self.node(n);
        let saved = snapshots.save(&node.store, CELL, epoch).await;
        self.remote.is_well();
        match saved {
            Ok(saved) if n == self.owner => self.floor = self.floor.max(saved.position.0),
            Ok(_) | Err(Error::Storage { .. }) => {}
            Err(e) => panic!("seed {}: {e}", self.seed),
        }
    }

    async fn step(&mut self) {
        let n = self.chance.below(NODES as u64) as usize;
        match self.chance.below(24) {
            0 => {
                let (node, snapshots) = self.nodes[n].take().unwrap();
                self.nodes[n] = Some((node.crashed(), snapshots));
                if n == self.owner {
                    self.take_over(n).await;
                }
            }
            1 | 2 => self.take_over(n).await,
            3 if n != self.owner => self.load(n, Seq::ZERO).await,
            4..8 => self.save(self.owner).await,
            8 => self.save(n).await,
            9 => drop(self.node(self.owner).1.sweep(CELL).await.unwrap()),
            // A stale owner believes that it holds the cell.
            10 => drop(self.node(n).1.sweep(CELL).await.unwrap()),
            11 => drop(self.node(n).0.store.persist().unwrap()),
            12..15 => self.node(self.owner).0.materialise(),
            _ => {
                let big = self.chance.hits(30);
                let write = |_| {
                    let value = self.chance.hits(700).then(|| {
                        let len = if big { 100_000 } else { self.chance.below(300) };
                        Bytes::from(vec![self.chance.below(256) as u8; len as usize])
                    });
                    Write { row: row(self.chance.below(80)), value }
                };
                let count = if big { 60 } else { 1 + self.chance.below(4) };
                let writes: Vec<_> = (0..count).map(write).collect();
                let mut model = self.history.last().unwrap().clone();
                for Write { row, value } in writes.clone() {
                    match value {
                        Some(value) => model.insert(row, value),
                        None => model.remove(&row),
                    };
                }
                self.history.push(model);
                self.journal.push(writes.clone());
                self.node(self.owner).0.stage(self.journal.len() as u64, &writes);
            }
        }
    }
}

#[tokio::test]
async fn what_is_loaded_is_what_was_materialised_at_the_position() {
    let seeds = match std::env::var("STRIDE_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=8,
    };
    for seed in seeds {
        println!("replay with: STRIDE_SEED={seed} cargo test -p stride-snapshots what_is_loaded");
        let mut run = Run::new(seed);
        for _ in 0..300 {
            run.step().await;
        }
        // A node that knows nothing has all of it from the snapshots and the journal.
        let as_store: Arc<dyn ObjectStore> = run.remote.clone();
        run.nodes.push(Some((Node::new(), snapshots(&as_store, 0))));
        run.take_over(NODES).await;
        assert_eq!(Some(&run.node(NODES).0.rows()), run.history.last(), "seed {seed}");
    }
}
