//! The bytes of a segment: positions, frames and the segment header.
//!
//! ```text
//! segment   [ header, one sector ][ checkpoint frame ][ frame ][ frame ] ... [ roll frame ][ zeros to the end ]
//! frame     [ header, 64 bytes ][ payload ][ padding, 16 bytes or more, up to a multiple of 64 ]
//! ```
//!
//! Always true: a frame header lies within one sector, so a device writes it whole or not at all. Payload and padding
//! are whitened, so 16 zero bytes at the end of a sector's part of a frame mean that this part was never written; a
//! write that stops within the last 16 bytes of a frame touches only padding, which carries nothing.
//! All integers are little-endian. Not here: what a sequence of frames means (see `walk`).

use std::fmt;

use stride_ids::{CellId, Epoch, Seq};

/// The unit that a device writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 64;
/// The length of a frame header.
pub(crate) const HEADER_LEN: usize = 64;
/// The least padding behind a payload, and the run of zeros that means "never written".
pub(crate) const PADDING_MIN: usize = 16;
/// The shortest frame.
pub(crate) const FRAME_LEN_MIN: usize = frame_len(0);
/// The length of a roll frame, whose place is kept free in every segment.
pub(crate) const ROLL_LEN: usize = frame_len(ROLL_PAYLOAD_LEN);
/// The payload of a roll frame: the next segment's number and seed.
pub(crate) const ROLL_PAYLOAD_LEN: usize = 12;
/// Where the first frame of a segment, its checkpoint, begins.
pub(crate) const FIRST_FRAME: usize = SECTOR;

const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"SLf1");
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"STRIDLOG");
const SEGMENT_VERSION: u32 = 1;
const SEGMENT_HEADER_LEN: usize = 48;

/// The bytes that a frame with a payload of this length takes.
pub(crate) const fn frame_len(payload_len: usize) -> usize {
    (HEADER_LEN + payload_len + PADDING_MIN).next_multiple_of(ALIGN)
}

/// A place in the log: a segment and an offset. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
    pub(crate) fn new(segment: u32, offset: usize) -> Self {
        debug_assert!(offset as u64 <= u64::from(u32::MAX), "a segment is shorter than 4 GiB");
        Self(u64::from(segment) << 32 | offset as u64)
    }

    pub(crate) fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn offset(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", segment_name(self.segment()), self.offset())
    }
}

/// The file name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:08}.log")
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".log")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record of a cell.
    Record = 1,
    /// A cell was taken over.
    Epoch = 2,
    /// The epoch and last position of every cell, at the beginning of a segment.
    Checkpoint = 3,
    /// The log goes on in the next segment.
    Roll = 4,
    /// The journal was closed; its group proves that everything before was acknowledged.
    Seal = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Record, Self::Epoch, Self::Checkpoint, Self::Roll, Self::Seal].into_iter().find(|k| *k as u8 == byte)
    }
}

/// The header of a frame. It says where it belongs, so that a write that went astray is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) position: Position,
    /// Where the group of this frame begins and ends. A group is what one sync made durable, and it is written only
    /// after the sync of the group before returned: a frame of a later group proves that everything before that
    /// group was acknowledged.
    pub(crate) group: (u32, u32),
    pub(crate) payload_len: u32,
    /// Over the payload as it is stored.
    pub(crate) payload_crc: u32,
    /// Which incarnation of the segment this frame was written for.
    pub(crate) seed_tag: u32,
    /// The checksum of the header before: the chain.
    pub(crate) prev: u32,
}

impl Header {
    /// The header's bytes, and its checksum: the next link of the chain.
    pub(crate) fn encode(&self) -> ([u8; HEADER_LEN], u32) {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[4] = self.kind as u8;
        out[6..8].copy_from_slice(&self.cell.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.seq.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.position.0.to_le_bytes());
        out[32..36].copy_from_slice(&self.group.0.to_le_bytes());
        out[36..40].copy_from_slice(&self.group.1.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_len.to_le_bytes());
        out[44..48].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[48..52].copy_from_slice(&self.seed_tag.to_le_bytes());
        out[52..56].copy_from_slice(&self.prev.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// The header at the beginning of `bytes`, and its checksum, if it is one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..HEADER_LEN)?;
        if u32_at(bytes, 0) != FRAME_MAGIC {
            return None;
        }
        let crc = u32_at(bytes, 60);
        if crc32c::crc32c(&bytes[..60]) != crc {
            return None;
        }
        let header = Self {
            kind: Kind::from_byte(bytes[4])?,
            cell: CellId(u16::from_le_bytes([bytes[6], bytes[7]])),
            epoch: Epoch(u64_at(bytes, 8)),
            seq: Seq(u64_at(bytes, 16)),
            position: Position(u64_at(bytes, 24)),
            group: (u32_at(bytes, 32), u32_at(bytes, 36)),
            payload_len: u32_at(bytes, 40),
            payload_crc: u32_at(bytes, 44),
            seed_tag: u32_at(bytes, 48),
            prev: u32_at(bytes, 52),
        };
        Some((header, crc))
    }

    /// Whether `bytes` hold the remains of a header for this place: two of its three marks are there.
    pub(crate) fn is_wreck(bytes: &[u8], position: Position, seed_tag: u32) -> bool {
        let marks = [u32_at(bytes, 0) == FRAME_MAGIC, u64_at(bytes, 24) == position.0, u32_at(bytes, 48) == seed_tag];
        marks.into_iter().filter(|mark| *mark).count() >= 2
    }

    /// The bytes of the whole frame.
    pub(crate) fn frame_len(&self) -> usize {
        frame_len(self.payload_len as usize)
    }
}

/// The first sector of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    /// The length of the file.
    pub(crate) len: u64,
    /// The chain at the end of the segment before, and where that end was: all of it was durable already.
    pub(crate) prev_chain: u32,
    pub(crate) prev_end: u32,
    /// What payloads in this segment are whitened with.
    pub(crate) seed: u64,
}

impl SegmentHeader {
    /// The header as a whole sector, and its checksum: the first link of this segment's chain.
    pub(crate) fn encode(&self) -> ([u8; SECTOR], u32) {
        let mut out = [0; SECTOR];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.len.to_le_bytes());
        out[24..28].copy_from_slice(&self.prev_chain.to_le_bytes());
        out[28..32].copy_from_slice(&self.prev_end.to_le_bytes());
        out[32..40].copy_from_slice(&self.seed.to_le_bytes());
        let crc = crc32c::crc32c(&out[..SEGMENT_HEADER_LEN - 4]);
        out[SEGMENT_HEADER_LEN - 4..SEGMENT_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// The header at the beginning of a segment, and its checksum; otherwise what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32), String> {
        let bytes = bytes.get(..SEGMENT_HEADER_LEN).ok_or("the file is shorter than a segment header")?;
        if bytes.iter().all(|b| *b == 0) {
            return Err("the segment header is missing: there are only zeros".into());
        }
        let crc = u32_at(bytes, SEGMENT_HEADER_LEN - 4);
        if u64_at(bytes, 0) != SEGMENT_MAGIC || crc32c::crc32c(&bytes[..SEGMENT_HEADER_LEN - 4]) != crc {
            return Err("the segment header does not match its checksum".into());
        }
        let version = u32_at(bytes, 8);
        if version != SEGMENT_VERSION {
            return Err(format!("segment format {version} is unknown; this build reads {SEGMENT_VERSION}"));
        }
        let header = Self {
            number: u32_at(bytes, 12),
            len: u64_at(bytes, 16),
            prev_chain: u32_at(bytes, 24),
            prev_end: u32_at(bytes, 28),
            seed: u64_at(bytes, 32),
        };
        Ok((header, crc))
    }
}

/// What makes stored zeros mean "never written": a keystream that repeats every 4 KiB, drawn from the segment's seed.
/// It hides nothing and is not meant to.
pub(crate) struct Whitening {
    pad: Box<[u8]>,
    /// Which incarnation of the segment it is, for frame headers; never zero.
    pub(crate) tag: u32,
}

impl Whitening {
    const LEN: usize = 4096;

    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let words = std::iter::repeat_with(|| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        let pad = words.take(Self::LEN / 8).flat_map(u64::to_le_bytes).collect();
        Self { pad, tag: (seed ^ (seed >> 32)) as u32 | 1 }
    }

    /// Whitens bytes that belong at `offset` of the segment, or takes the whitening off again.
    pub(crate) fn apply(&self, bytes: &mut [u8], offset: usize) {
        let (head, rest) = bytes.split_at_mut(bytes.len().min(Self::LEN - offset % Self::LEN));
        xor(head, &self.pad[offset % Self::LEN..]);
        for chunk in rest.chunks_mut(Self::LEN) {
            xor(chunk, &self.pad);
        }
    }
}

fn xor(bytes: &mut [u8], pad: &[u8]) {
    bytes.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Record,
            cell: CellId(3),
            epoch: Epoch(4),
            seq: Seq(5),
            position: Position::new(6, 640),
            group: (640, 1280),
            payload_len: 7,
            payload_crc: 8,
            seed_tag: 9,
            prev: 10,
        }
    }

    #[test]
    fn a_frame_header_comes_back_and_no_flipped_bit_passes() {
        let (bytes, crc) = header().encode();
        assert_eq!(Header::decode(&bytes), Some((header(), crc)));
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), None, "bit {bit}");
            assert!(Header::is_wreck(&flipped, header().position, 9), "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_comes_back_and_no_flipped_bit_passes() {
        let header = SegmentHeader { number: 2, len: 3 << 20, prev_chain: 4, prev_end: 5, seed: 6 };
        let (bytes, crc) = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header, crc)));
        for bit in 0..SEGMENT_HEADER_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn whitening_is_its_own_inverse_at_any_offset_and_leaves_no_run_of_zeros() {
        let white = Whitening::new(42);
        for (offset, len) in [(0, 64), (4090, 20), (100, 9000)] {
            let mut bytes = vec![0; len];
            white.apply(&mut bytes, offset);
            assert!(bytes.windows(PADDING_MIN).all(|run| run.iter().any(|b| *b != 0)));
            white.apply(&mut bytes, offset);
            assert!(is_zero(&bytes));
        }
    }

    #[test]
    fn only_exact_names_are_segments() {
        assert_eq!(segment_number("00000012.log"), Some(12));
        for other in ["12.log", "00000012.log.damaged", "+0000012.log", "lock", "next.tmp"] {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }
}
