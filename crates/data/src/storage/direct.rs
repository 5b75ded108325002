//! Large files on their way to and from the disk, past the page cache.
//!
//! Why: a page has to be found, cleared, filled and, when it was written, written back. Of a put and of a first get of 1 GB that
//! was more than half of all the work, for pages that the node, which has a cache of its own, may never look at again.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// What addresses, offsets and lengths must be a multiple of, in bytes: the block length of the disks that there are.
const ALIGNMENT: usize = 4096;
/// From how many bytes on it pays.
const DIRECT_MIN: usize = 256 << 10;

/// A file that is written past the page cache where bytes, file system and disk allow it, and as ever where they do not.
///
/// Nothing is durable before the file is synced, either way.
#[derive(Debug)]
pub struct DirectFile {
    file: File,
    direct: Option<File>,
}

impl DirectFile {
    /// `file`, which is open for writing and found at `path`.
    ///
    /// # Errors
    /// If the process has as many files open as it may have.
    pub fn new(file: &File, path: &Path) -> io::Result<Self> {
        // Some file systems refuse the flag here, others at the first write.
        let flags = OFlags::DIRECT.bits().cast_signed();
        let direct = File::options().write(true).custom_flags(flags).open(path).ok();
        Ok(Self { file: file.try_clone()?, direct })
    }

    /// Writes all of `bytes` at `offset`. Past the cache go whole blocks, if they are many and lie in memory as the disk
    /// wants them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let blocks = if offset.is_multiple_of(ALIGNMENT as u64) { blocks_of(bytes) } else { 0 };
        let Some(direct) = self.direct.as_ref().filter(|_| blocks >= DIRECT_MIN) else {
            return self.file.write_all_at(bytes, offset);
        };
        match direct.write_all_at(&bytes[..blocks], offset) {
            Ok(()) => self.file.write_all_at(&bytes[blocks..], offset + blocks as u64),
            // The disk has larger blocks, or the file system does not do it. What was written is written again.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => self.file.write_all_at(bytes, offset),
            Err(e) => Err(e),
        }
    }
}

/// Reads a file from its beginning until it or `into` ends. How much there was. Nobody else may be using this handle.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn read(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let blocks = blocks_of(into);
    let mut done = 0;
    if blocks >= DIRECT_MIN && set_direct(file, true).is_ok() {
        done = read_from(file, &mut into[..blocks], 0).or_else(|e| match e.kind() {
            // As with writing: then not past the cache.
            io::ErrorKind::InvalidInput => Ok(0),
            _ => Err(e),
        })?;
        set_direct(file, false)?;
    }
    read_from(file, into, done)
}

fn read_from(file: &File, into: &mut [u8], mut done: usize) -> io::Result<usize> {
    while done < into.len() {
        match file.read_at(&mut into[done..], done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// How many of these bytes, from the first on, can go past the cache.
fn blocks_of(bytes: &[u8]) -> usize {
    let is_aligned = bytes.as_ptr().addr().is_multiple_of(ALIGNMENT);
    if is_aligned { bytes.len() / ALIGNMENT * ALIGNMENT } else { 0 }
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;

    #[test]
    fn a_file_has_the_bytes_wherever_they_lay_and_however_many_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = MmapMut::map_anon(2 * DIRECT_MIN).unwrap();
        memory.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
        for (from, len) in [(0, DIRECT_MIN), (0, DIRECT_MIN + 5), (1, DIRECT_MIN), (0, 7), (0, 0)] {
            let path = dir.path().join("file");
            let file = File::create(&path).unwrap();
            let bytes = &memory[from..from + len];
            let direct = DirectFile::new(&file, &path).unwrap();
            direct.write_all_at(bytes, 0).unwrap();
            direct.write_all_at(bytes, len as u64).unwrap();
            let both = [bytes, bytes].concat();
            assert!(std::fs::read(&path).unwrap() == both, "{len} bytes from {from}");
            let mut back = MmapMut::map_anon(4 * DIRECT_MIN).unwrap();
            for room in [4 * DIRECT_MIN, both.len(), both.len() / 2 + 3] {
                let count = read(&File::open(&path).unwrap(), &mut back[..room]).unwrap();
                assert!(back[..count] == both[..room.min(both.len())], "{room} of twice {len} bytes");
            }
        }
    }
}
