//! What a simulated disk is made of, and what a crash leaves of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{Faults, Operation, SECTOR};
use crate::Chance;

/// What becomes of a write when it is synced.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Honest,
    Lost,
    /// Lands in this file at this position instead.
    Misdirected(usize, usize),
}

#[derive(Clone)]
pub(super) struct Write {
    at: usize,
    bytes: Vec<u8>,
    fate: Fate,
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) view: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Write>,
}

impl Inode {
    pub(super) fn write(&mut self, at: usize, bytes: &[u8], fate: Fate) {
        put(&mut self.view, at, bytes);
        self.unsynced.push(Write { at, bytes: bytes.to_vec(), fate });
    }
}

#[derive(Clone)]
pub(super) enum NameChange {
    Set(PathBuf, usize),
    Move(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Set(path, _) | Self::Move(_, path, _) | Self::Remove(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Move(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) faults: Faults,
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) boot: u64,
    pub(super) trace: Vec<Operation>,
    pub(super) crash_at: Option<u64>,
    down: bool,
}

impl World {
    pub(super) fn new(chance: Chance) -> Self {
        Self {
            chance,
            faults: Faults::default(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locks: BTreeSet::new(),
            boot: 0,
            trace: Vec::new(),
            crash_at: None,
            down: false,
        }
    }

    pub(super) fn power_lost() -> io::Error {
        io::Error::other("simulated power loss")
    }

    pub(super) fn check_up(&self) -> io::Result<()> {
        if self.down { Err(Self::power_lost()) } else { Ok(()) }
    }

    /// Writes an operation down, and cuts the power if this is the one.
    pub(super) fn count(&mut self, operation: Operation) -> io::Result<()> {
        self.down = self.crash_at == Some(self.trace.len() as u64);
        self.trace.push(operation);
        self.check_up()
    }

    pub(super) fn add_inode(&mut self) -> usize {
        self.inodes.push(Inode::default());
        self.inodes.len() - 1
    }

    pub(super) fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    pub(super) fn sync_names(&mut self, dir: &Path) {
        let (here, elsewhere) =
            std::mem::take(&mut self.unsynced_names).into_iter().partition(|c| c.dir() == Some(dir));
        self.unsynced_names = elsewhere;
        let here: Vec<NameChange> = here;
        here.iter().for_each(|change| change.apply(&mut self.durable_names));
    }

    pub(super) fn check_space(&self, inode: usize, end: usize) -> io::Result<()> {
        let Some(capacity) = self.faults.capacity else { return Ok(()) };
        let used: usize = self.names.values().map(|inode| self.inodes[*inode].view.len()).sum();
        let grows = end.saturating_sub(self.inodes[inode].view.len());
        if grows > 0 && (used + grows) as u64 > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn draw_fate(&mut self, at: usize, len: usize) -> Fate {
        if self.faults.lost_per_mille > 0 && self.chance.hits(self.faults.lost_per_mille) {
            return Fate::Lost;
        }
        if self.faults.misdirected_per_mille > 0 && self.chance.hits(self.faults.misdirected_per_mille) {
            return self.misdirect(at, len);
        }
        Fate::Honest
    }

    /// Somewhere else where the write fits, at the same place within a sector.
    fn misdirect(&mut self, at: usize, len: usize) -> Fate {
        let targets: Vec<usize> = self.names.values().copied().collect();
        let target = targets[self.chance.below(targets.len() as u64) as usize];
        let room = self.inodes[target].view.len().saturating_sub(len + at % SECTOR);
        let sector = self.chance.below((room / SECTOR) as u64 + 1) as usize;
        Fate::Misdirected(target, sector * SECTOR + at % SECTOR)
    }

    pub(super) fn sync(&mut self, inode: usize) -> io::Result<()> {
        let writes = std::mem::take(&mut self.inodes[inode].unsynced);
        if self.faults.failing_sync_per_mille > 0 && self.chance.hits(self.faults.failing_sync_per_mille) {
            self.keep_some(inode, &writes);
            return Err(io::Error::other("simulated sync failure"));
        }
        for write in &writes {
            self.land(inode, write, 0, write.bytes.len());
        }
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        for inode in 0..self.inodes.len() {
            let writes = std::mem::take(&mut self.inodes[inode].unsynced);
            self.keep_some(inode, &writes);
            let inode = &mut self.inodes[inode];
            inode.view.clone_from(&inode.durable);
        }
        self.keep_some_names();
        self.names.clone_from(&self.durable_names);
        self.locks.clear();
        self.boot += 1;
        self.crash_at = None;
        self.down = false;
    }

    /// Makes directory changes durable by chance: some of the first in their order, or any of them.
    fn keep_some_names(&mut self) {
        let changes = std::mem::take(&mut self.unsynced_names);
        let (ordered, first) = (self.chance.hits(500), self.chance.below(changes.len() as u64 + 1) as usize);
        for (nth, change) in changes.iter().enumerate() {
            let happened = if ordered { nth < first } else { self.chance.hits(500) };
            if happened {
                change.apply(&mut self.durable_names);
            }
        }
    }

    /// Makes by chance all, none or some of the sectors of these writes durable; sometimes the last write stops at a
    /// byte.
    fn keep_some(&mut self, inode: usize, writes: &[Write]) {
        let keep_per_mille = [0, 1000, 500, 900][self.chance.below(4) as usize];
        for (nth, write) in writes.iter().enumerate() {
            let mut stop = write.bytes.len();
            if nth + 1 == writes.len() && stop > 0 && self.chance.hits(500) {
                stop = self.chance.below(stop as u64) as usize;
            }
            let mut from = 0;
            while from < stop {
                let to = stop.min(from + SECTOR - (write.at + from) % SECTOR);
                if self.chance.hits(keep_per_mille) {
                    self.land(inode, write, from, to);
                }
                from = to;
            }
        }
    }

    /// Makes a part of a write durable, wherever its fate sends it.
    fn land(&mut self, inode: usize, write: &Write, from: usize, to: usize) {
        let (inode, at) = match write.fate {
            Fate::Honest => (inode, write.at),
            Fate::Lost => return,
            Fate::Misdirected(inode, at) => (inode, at),
        };
        put(&mut self.inodes[inode].durable, at + from, &write.bytes[from..to]);
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
