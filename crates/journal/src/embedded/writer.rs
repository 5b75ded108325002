//! Turns queued frames into bytes on the disk, one group per sync.
//!
//! Always true: a group is written only after the sync of the group before returned. A segment's header and checkpoint
//! are durable before the roll frame that leads to it, and that frame is durable before anything behind the checkpoint.
//! After the first error nothing is written any more; the caller stops.

use std::{io, sync::Arc};

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};

use super::{
    format::{FIRST_FRAME, HEADER_LEN, Header, Kind, Position, SegmentHeader, Whitening, frame_len},
    segment::Segment,
};

/// The most bytes that one sync covers, unless a single frame is longer.
const GROUP_LEN_MAX: usize = 4 << 20;
/// A buffer that grew beyond this for a large group is given back.
const BUFFER_KEPT_MAX: usize = 8 << 20;

/// A frame that has its place and waits to be written.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) position: Position,
    pub(crate) payload: Bytes,
}

impl Frame {
    pub(crate) fn len(&self) -> usize {
        frame_len(self.payload.len())
    }

    /// A frame that is about the log and not about a cell.
    pub(crate) fn of_log(kind: Kind, position: Position, payload: Bytes) -> Self {
        Self { kind, cell: CellId(0), epoch: Epoch(0), seq: Seq::ZERO, position, payload }
    }
}

/// What waits to be written, in the order of the log.
pub(crate) enum Item {
    Frame(Frame),
    /// The log goes on in this segment, which begins with this checkpoint.
    Roll(Arc<Segment>, Bytes),
}

/// The end of the log. One thread at a time writes.
pub(crate) struct Writer {
    segment: Arc<Segment>,
    at: usize,
    chain: u32,
    buffer: Vec<u8>,
}

impl Writer {
    /// Continues a log.
    pub(crate) fn new(segment: Arc<Segment>, at: usize, chain: u32) -> Self {
        Self { segment, at, chain, buffer: Vec::new() }
    }

    /// Writes and syncs everything, and calls `durable` with the end of every group that is.
    pub(crate) fn commit(&mut self, items: &[Item], mut durable: impl FnMut(Position)) -> io::Result<()> {
        let mut group: Vec<&Frame> = Vec::new();
        let mut group_len = 0;
        for item in items {
            match item {
                Item::Frame(frame) => {
                    if group_len > 0 && group_len + frame.len() > GROUP_LEN_MAX {
                        durable(self.write_group(&group)?);
                        (group_len, group) = (0, Vec::new());
                    }
                    group_len += frame.len();
                    group.push(frame);
                }
                Item::Roll(next, checkpoint) => {
                    if !group.is_empty() {
                        durable(self.write_group(&group)?);
                        (group_len, group) = (0, Vec::new());
                    }
                    durable(self.roll(Arc::clone(next), checkpoint)?);
                }
            }
        }
        if !group.is_empty() {
            durable(self.write_group(&group)?);
        }
        self.buffer.shrink_to(BUFFER_KEPT_MAX);
        Ok(())
    }

    fn write_group(&mut self, frames: &[&Frame]) -> io::Result<Position> {
        let (from, len) = (self.at, frames.iter().map(|frame| frame.len()).sum::<usize>());
        self.buffer.clear();
        for frame in frames {
            let at = from + self.buffer.len();
            if frame.position != Position::new(self.segment.number, at) {
                return Err(io::Error::other(format!("bug: a frame for {} comes at {at}", frame.position)));
            }
            self.chain = encode(&mut self.buffer, frame, &self.segment.white, (from, from + len), self.chain);
        }
        self.segment.file.write_at(&self.buffer, from as u64)?;
        self.segment.file.sync()?;
        self.at = from + len;
        Ok(Position::new(self.segment.number, self.at))
    }

    fn roll(&mut self, next: Arc<Segment>, checkpoint: &Bytes) -> io::Result<Position> {
        let (prelude, chain) = prelude(&next.header(self.chain, self.at), checkpoint.clone());
        next.file.write_at(&prelude, 0)?;
        next.file.sync()?;
        let mut payload = next.number.to_le_bytes().to_vec();
        payload.extend_from_slice(&next.seed.to_le_bytes());
        let here = Position::new(self.segment.number, self.at);
        self.write_group(&[&Frame::of_log(Kind::Roll, here, payload.into())])?;
        (self.segment, self.at, self.chain) = (next, prelude.len(), chain);
        Ok(Position::new(self.segment.number, self.at))
    }
}

/// What a segment begins with: its header and its checkpoint; and the chain behind them.
pub(crate) fn prelude(header: &SegmentHeader, checkpoint: Bytes) -> (Vec<u8>, u32) {
    let (sector, crc) = header.encode();
    let mut out = sector.to_vec();
    let frame = Frame::of_log(Kind::Checkpoint, Position::new(header.number, FIRST_FRAME), checkpoint);
    let group = (FIRST_FRAME, FIRST_FRAME + frame.len());
    let chain = encode(&mut out, &frame, &Whitening::new(header.seed), group, crc);
    (out, chain)
}

/// Appends a frame to `out` and returns the chain behind it.
fn encode(out: &mut Vec<u8>, frame: &Frame, white: &Whitening, group: (usize, usize), prev: u32) -> u32 {
    let start = out.len();
    let body = start + HEADER_LEN;
    out.resize(body, 0);
    out.extend_from_slice(&frame.payload);
    out.resize(start + frame.len(), 0);
    white.apply(&mut out[body..], frame.position.offset() + HEADER_LEN);
    let header = Header {
        kind: frame.kind,
        cell: frame.cell,
        epoch: frame.epoch,
        seq: frame.seq,
        position: frame.position,
        group: (group.0 as u32, group.1 as u32),
        payload_len: frame.payload.len() as u32,
        payload_crc: crc32c::crc32c(&out[body..body + frame.payload.len()]),
        seed_tag: white.tag,
        prev,
    };
    let (bytes, crc) = header.encode();
    out[start..body].copy_from_slice(&bytes);
    crc
}
