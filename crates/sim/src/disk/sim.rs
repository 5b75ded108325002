//! A disk in memory that fails on purpose, and the same way for the same seed.
//!
//! Two pictures of every file exist: the *view*, which reads see (the page cache), and what is *durable*. A write
//! changes the view and waits in line; a sync moves the line into what is durable; [`SimDisk::crash`] forgets the view.
//!
//! What a crash does to writes that were never synced: each 512-byte sector of each write is there or not, by chance,
//! and sometimes one write stops at a byte, with nothing of it after that byte. Of directory
//! changes that were not synced, those up to some point of their order happened, or any of them.
//! A device that lies is asked for by [`Faults`]: a write is lost or lands elsewhere although its sync succeeded. A
//! failed sync leaves each sector durable or not, and forgets that it was dirty, as Linux does.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock};
use crate::Chance;

mod world;

use world::{NameChange, World};

/// The unit that a device writes whole or not at all.
const SECTOR: usize = 512;

/// How a simulated disk misbehaves. The default is an honest disk without bounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Of a thousand writes, how many are lost although their sync succeeds.
    pub lost_per_mille: u64,
    /// Of a thousand writes, how many land at another sector or in another file.
    pub misdirected_per_mille: u64,
    /// Of a thousand syncs, how many fail.
    pub failing_sync_per_mille: u64,
    /// The most bytes that all files may have together.
    pub capacity: Option<u64>,
}

/// One operation that changed the disk or made a change durable, as the trace names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file was created.
    Create(PathBuf),
    /// So many bytes were written at a position of a file.
    Write(PathBuf, u64, usize),
    /// A file was synced.
    Sync(PathBuf),
    /// A file was renamed.
    Rename(PathBuf, PathBuf),
    /// A file was removed.
    Remove(PathBuf),
    /// A directory was synced.
    SyncDir(PathBuf),
}

/// A seeded disk in memory. Cheap to clone; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    /// An empty, honest disk.
    pub fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(World::new(chance))))
    }

    /// Another disk with the same contents, which draws from `chance` from now on.
    pub fn fork(&self, chance: Chance) -> Self {
        let mut world = self.0.lock().clone();
        world.chance = chance;
        Self(Arc::new(Mutex::new(world)))
    }

    /// Changes how the disk misbehaves from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Cuts the power: what was not synced is there or not, open files and locks are gone.
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// Cuts the power during the operation with this number, as [`SimDisk::operations`] counts: it and all later ones
    /// fail until [`SimDisk::crash`] is called.
    pub fn crash_at(&self, operation: u64) {
        self.0.lock().crash_at = Some(operation);
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.0.lock().trace.len() as u64
    }

    /// Every operation since the disk was made.
    pub fn trace(&self) -> Vec<Operation> {
        self.0.lock().trace.clone()
    }

    /// What a reader sees of a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.0.lock();
        world.names.get(path).map(|inode| world.inodes[*inode].view.clone())
    }

    /// Changes the bytes of a file behind everybody's back, durably: rot, a flipped bit, a cut file.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.0.lock();
        let inode = *world.names.get(path).unwrap_or_else(|| panic!("no file {} to tamper with", path.display()));
        let inode = &mut world.inodes[inode];
        change(&mut inode.view);
        inode.durable.clone_from(&inode.view);
        inode.unsynced.clear();
    }
}

impl Disk for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.0.lock();
        world.check_up()?;
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.0.lock().check_up()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.0.lock();
        world.check_up()?;
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(path, inode, world.boot))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.0.lock();
        world.check_up()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.add_inode();
        world.change_names(NameChange::Set(path.into(), inode));
        let boot = world.boot;
        world.count(Operation::Create(path.into()))?;
        Ok(self.file(path, inode, boot))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.check_up()?;
        let inode = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.change_names(NameChange::Move(from.into(), to.into(), inode));
        world.count(Operation::Rename(from.into(), to.into()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.check_up()?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(NameChange::Remove(path.into()));
        world.count(Operation::Remove(path.into()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.check_up()?;
        world.count(Operation::SyncDir(dir.into()))?;
        world.sync_names(dir);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut world = self.0.lock();
        world.check_up()?;
        if !world.locks.insert(path.into()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(DiskLock::new(Held { disk: self.clone(), path: path.into(), boot: world.boot }))
    }
}

impl SimDisk {
    fn file(&self, path: &Path, inode: usize, boot: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), path: path.into(), inode, boot })
    }
}

struct Held {
    disk: SimDisk,
    path: PathBuf,
    boot: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut world = self.disk.0.lock();
        if world.boot == self.boot {
            world.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: usize,
    boot: u64,
}

impl SimFile {
    /// The world, unless this handle was opened before the last crash.
    fn world(&self) -> io::Result<parking_lot::MutexGuard<'_, World>> {
        let world = self.disk.0.lock();
        world.check_up()?;
        if world.boot == self.boot { Ok(world) } else { Err(World::power_lost()) }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.inodes[self.inode].view.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let world = self.world()?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let from = world.inodes[self.inode].view.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let mut world = self.world()?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        world.check_space(self.inode, at + buf.len())?;
        let fate = world.draw_fate(at, buf.len());
        world.inodes[self.inode].write(at, buf, fate);
        world.count(Operation::Write(self.path.clone(), at as u64, buf.len()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world()?;
        world.count(Operation::Sync(self.path.clone()))?;
        world.sync(self.inode)
    }
}

#[cfg(test)]
mod tests;
