//! The disk seam: the few file operations that durable code needs.
//!
//! Always true: what a simulated disk forgets at a crash is only what was not synced, unless a fault says otherwise.
//! [`RealDisk`] adds nothing to the file system; [`SimDisk`] is the seeded one that tears, lies and fails.

use std::{io, path::Path, sync::Arc};

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::{Faults, Operation, SimDisk};

/// A file system, real or simulated.
pub trait Disk: Send + Sync + 'static {
    /// The names in a directory, sorted. A directory that does not exist is empty.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory and its parents.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a new, empty file; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Moves a file within the file system, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock that `path` stands for, creating the file if need be; fails with `WouldBlock` while another
    /// process, or another owner in this one, holds it.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;
}

/// A lock on a file, given back when it is dropped (or when its process dies).
pub struct DiskLock {
    // Held only for its `Drop`.
    _held: Box<dyn Send + Sync>,
}

impl DiskLock {
    /// A lock that is given back by dropping `held`.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

/// An open file. Positions are absolute, so that a file can be shared.
pub trait DiskFile: Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `at`; fails with `UnexpectedEof` past the end.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `buf` at `at`.
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()>;
    /// Makes the bytes durable (`fdatasync`). After a failure, nothing about the file is known.
    fn sync(&self) -> io::Result<()>;
}
