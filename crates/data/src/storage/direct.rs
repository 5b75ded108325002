//! Large files on their way to the disk, past the page cache.
//!
//! Why: a page that is written for the first time has to be found, cleared, filled and written back. Of a put of 1 GB that was
//! more than half of all the work, for pages that the node, which has a cache of its own, may never look at.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// What addresses, offsets and lengths must be a multiple of, in bytes: the block length of the disks that there are.
const ALIGNMENT: usize = 4096;
/// From how many bytes on it pays.
const DIRECT_MIN: usize = 256 << 10;

/// A file that is written past the page cache where bytes, file system and disk allow it, and as ever where they do not.
///
/// Nothing is durable before the file is synced, either way.
#[derive(Debug)]
pub struct DirectFile<'a> {
    file: &'a File,
    direct: Option<File>,
}

impl<'a> DirectFile<'a> {
    /// `file`, which is open for writing and found at `path`.
    pub fn new(file: &'a File, path: &Path) -> Self {
        // Some file systems refuse the flag here, others at the first write.
        let flags = OFlags::DIRECT.bits().cast_signed();
        Self { file, direct: File::options().write(true).custom_flags(flags).open(path).ok() }
    }

    /// Writes all of `bytes` at `offset`. Past the cache go whole blocks, if they are many and lie in memory as the disk
    /// wants them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let is_aligned = bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) && offset.is_multiple_of(ALIGNMENT as u64);
        let blocks = if is_aligned { bytes.len() / ALIGNMENT * ALIGNMENT } else { 0 };
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
            let direct = DirectFile::new(&file, &path);
            direct.write_all_at(bytes, 0).unwrap();
            direct.write_all_at(bytes, len as u64).unwrap();
            assert!(std::fs::read(&path).unwrap() == [bytes, bytes].concat(), "{len} bytes from {from}");
        }
    }
}
