//! The archives that the tree keeps its manifest and its tables in: sections, their table of contents, a trailer.
//!
//! The tree reads a table of contents before it compares its checksum, and trusts the number of entries for an
//! allocation, so one wrong bit ends the process for want of 40 GB. So the checksums are compared here, first.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;

const TRAILER_LEN: u64 = 38;
/// A handful of sections with short names.
const CONTENTS_LEN_MAX: u64 = 64 << 10;

/// An open archive whose table of contents is what was written.
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    contents: Vec<u8>,
}

impl Archive {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Error::damaged_files(path, "it is missing"),
            _ => Error::from_io("open", path, &e),
        };
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let wrong = || Error::damaged_files(path, "its end is not what was written");
        let trailer_at = len.checked_sub(TRAILER_LEN).ok_or_else(wrong)?;
        let mut trailer = [0; TRAILER_LEN as usize];
        file.read_exact_at(&mut trailer, trailer_at).map_err(failed)?;
        let (checksum, at) = decode_trailer(&trailer, trailer_at).ok_or_else(wrong)?;
        let mut contents = vec![0; (trailer_at - at) as usize];
        file.read_exact_at(&mut contents, at).map_err(failed)?;
        if xxh3_128(&contents) != checksum {
            return Err(wrong());
        }
        Ok(Self { path: path.to_owned(), file, contents })
    }

    /// The bytes of a section. They carry no checksum of their own.
    pub(crate) fn section(&self, name: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong = || Error::damaged_files(&self.path, "a section is not where it was written");
        let (at, len) = find(&self.contents, name).ok_or_else(wrong)?;
        let all = self.file.metadata().map_err(|e| Error::from_io("open", &self.path, &e))?.len();
        if at.checked_add(len).is_none_or(|end| end > all) {
            return Err(wrong());
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|e| Error::from_io("open", &self.path, &e))?;
        Ok(bytes)
    }
}

/// The checksum of the table of contents, and where it begins. It ends where the trailer begins.
fn decode_trailer(trailer: &[u8], trailer_at: u64) -> Option<(u128, u64)> {
    let mut rest = trailer.strip_prefix(b"SFA!\x01\x00")?;
    let checksum = u128::from_le_bytes(take(&mut rest)?);
    let (at, len) = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
    (len <= CONTENTS_LEN_MAX && at.checked_add(len) == Some(trailer_at)).then_some((checksum, at))
}

/// Where a section is, and how long.
fn find(contents: &[u8], name: &[u8]) -> Option<(u64, u64)> {
    let mut rest = contents.strip_prefix(b"TOC!")?;
    for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
        let (at, len) = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let name_len = u16::from_le_bytes(take(&mut rest)?);
        let (found, after) = rest.split_at_checked(usize::from(name_len))?;
        if found == name {
            return Some((at, len));
        }
        rest = after;
    }
    None
}

/// The next bytes of a fixed length.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}
