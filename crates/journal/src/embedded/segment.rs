//! A segment file: made of zeros ahead of its use, then filled once from front to back.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use stride_sim::disk::{Disk, DiskFile};

use super::{
    format::{HEADER_LEN, Header, Position, SegmentHeader, Whitening, segment_name},
    scan::TEMPORARY,
    state::Entry,
};

/// How much is written at once while a segment is filled with zeros; small, so that commits get in between.
const FILL_LEN: usize = 1 << 20;

/// A segment that is open.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) len: usize,
    pub(crate) seed: u64,
    pub(crate) white: Whitening,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Segment {
    pub(crate) fn new(number: u32, len: u64, seed: u64, file: Arc<dyn DiskFile>) -> Self {
        Self { number, len: usize::try_from(len).unwrap_or(usize::MAX), seed, white: Whitening::new(seed), file }
    }

    /// Makes a segment of zeros that is durable under its name. `prelude` is what it begins with instead.
    pub(crate) fn prepare(
        disk: &dyn Disk,
        dir: &Path,
        number: u32,
        len: u64,
        seed: u64,
        prelude: &[u8],
    ) -> io::Result<Self> {
        let (temporary, path) = (dir.join(TEMPORARY), dir.join(segment_name(number)));
        match disk.remove(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.create(&temporary)?;
        let filled = fill(&*file, len, prelude);
        if filled.is_err() {
            // Gives the space back at once; if that fails too, the next attempt removes it.
            let _ = disk.remove(&temporary);
        }
        filled?;
        disk.rename(&temporary, &path)?;
        disk.sync_dir(dir)?;
        Ok(Self::new(number, len, seed, file))
    }

    /// What the segment's first sector says, given the end of the one before.
    pub(crate) fn header(&self, prev_chain: u32, prev_end: usize) -> SegmentHeader {
        SegmentHeader {
            number: self.number,
            len: self.len as u64,
            prev_chain,
            prev_end: prev_end as u32,
            seed: self.seed,
        }
    }

    /// Reads the payload of a frame that was durable here, and checks it again.
    pub(crate) fn read(&self, entry: Entry, expected: impl Fn(&Header) -> bool) -> Result<Bytes, String> {
        let at = entry.position.offset();
        let mut frame = vec![0; HEADER_LEN + entry.payload_len as usize];
        self.file.read_at(&mut frame, at as u64).map_err(|e| format!("it cannot be read: {e}"))?;
        let header = Header::decode(&frame).map(|(header, _)| header);
        let matches = |h: &Header| h.position == Position::new(self.number, at) && h.payload_len == entry.payload_len;
        let header =
            header.filter(matches).filter(expected).ok_or("the frame header is not the one that was written")?;
        if crc32c::crc32c(&frame[HEADER_LEN..]) != header.payload_crc {
            return Err("the payload does not match its checksum".into());
        }
        self.white.apply(&mut frame[HEADER_LEN..], at + HEADER_LEN);
        Ok(Bytes::from(frame).slice(HEADER_LEN..))
    }
}

fn fill(file: &dyn DiskFile, len: u64, prelude: &[u8]) -> io::Result<()> {
    let zeros = vec![0; FILL_LEN.min(usize::try_from(len).unwrap_or(FILL_LEN))];
    let mut at = 0;
    while at < len {
        let part = (len - at).min(zeros.len() as u64);
        file.write_at(&zeros[..part as usize], at)?;
        at += part;
        file.sync()?;
    }
    if !prelude.is_empty() {
        file.write_at(prelude, 0)?;
        file.sync()?;
    }
    Ok(())
}
