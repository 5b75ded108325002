//! Reads the frames of one segment, and judges what lies behind the last good one.
//!
//! Always true: what is called [`Tail::Torn`] can be explained by a crash in the middle of the last group, and nothing
//! that is there contradicts it; everything else that is not plainly the end is damage. Pure: bytes in, verdict out.
//!
//! The judgement, at the first frame that is bad:
//! 1. only zeros from here on: the end;
//! 2. a frame behind it belongs to a later group, or lies where it does not belong, or there are bytes behind the end
//!    of the group: the group had been acknowledged, so this is damage;
//! 3. a part of the frame was never written (it ends in zeros): torn;
//! 4. everything was written, and it is wrong: damage.

use super::format::{
    ALIGN, FIRST_FRAME, FRAME_LEN_MIN, HEADER_LEN, Header, Kind, PADDING_MIN, Position, ROLL_PAYLOAD_LEN, SECTOR,
    SegmentHeader, Whitening, is_zero, u32_at, u64_at,
};

/// What follows the last good frame of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tail {
    /// The log goes on in the next segment.
    Rolled(Roll),
    /// Nothing.
    Clean,
    /// The remains of a group that was being written when the power went.
    Torn,
    /// Something that a crash does not explain.
    Damaged { what: String },
    /// The segment is whole, but behind its end lies a frame that belongs elsewhere.
    Stray { at: usize, what: String },
}

/// How a segment was left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roll {
    /// Where the roll frame lies, and the chain before it; the next segment's header repeats both.
    pub(crate) at: u32,
    pub(crate) chain: u32,
    /// The seed that the next segment was given.
    pub(crate) seed: u64,
}

/// The good part of a segment.
#[derive(Debug)]
pub(crate) struct Walked {
    /// The checksum of the last good header.
    pub(crate) chain: u32,
    /// Where the first byte behind the last good frame is.
    pub(crate) end: usize,
    /// Where the group of the last good frame begins.
    pub(crate) last_group: usize,
    pub(crate) tail: Tail,
}

/// Walks through a segment whose header is good. `accept` sees every good frame with its payload, as stored, and may
/// object.
pub(crate) fn walk(
    image: &[u8],
    segment: &SegmentHeader,
    header_crc: u32,
    mut accept: impl FnMut(&Header, &[u8]) -> Result<(), String>,
) -> Walked {
    let white = Whitening::new(segment.seed);
    let place = Place { image, number: segment.number, tag: white.tag };
    let mut walked = Walked { chain: header_crc, end: FIRST_FRAME, last_group: FIRST_FRAME, tail: Tail::Clean };
    loop {
        let at = walked.end;
        let (header, crc) = match place.frame(at) {
            Ok(frame) => frame,
            Err(found) => {
                walked.tail = place.judge(at, found);
                return walked;
            }
        };
        let payload = place.payload(at, &header);
        let objection = check_links(&header, at, &walked).and_then(|()| accept(&header, payload));
        if let Err(what) = objection {
            walked.tail = Tail::Damaged { what };
            return walked;
        }
        let before = walked.chain;
        walked.chain = crc;
        walked.last_group = header.group.0 as usize;
        walked.end = at + header.frame_len();
        if header.kind == Kind::Roll {
            walked.tail = rolled(&place, &white, &header, before);
            return walked;
        }
    }
}

/// The good records from `from` to the end of a segment that is known to be damaged, whatever lies between them.
pub(crate) fn salvage(image: &[u8], number: u32, from: usize, mut found: impl FnMut(&Header)) {
    let mut at = from.next_multiple_of(ALIGN).max(FIRST_FRAME);
    while at + FRAME_LEN_MIN <= image.len() {
        let here = Header::decode(&image[at..]).filter(|(h, _)| h.position == Position::new(number, at));
        let whole = here.filter(|(h, _)| {
            let place = Place { image, number, tag: h.seed_tag };
            place.frame(at).is_ok()
        });
        match whole {
            Some((header, _)) => {
                found(&header);
                at += header.frame_len();
            }
            None => at += ALIGN,
        }
    }
}

/// The first frame header that lies anywhere from `from` on, where it does not belong or in what should be unused.
pub(crate) fn stray(image: &[u8], from: usize) -> Option<(usize, Header)> {
    let slots = (from.next_multiple_of(ALIGN)..image.len()).step_by(ALIGN);
    slots.into_iter().find_map(|at| Header::decode(&image[at..]).map(|(header, _)| (at, header)))
}

fn check_links(header: &Header, at: usize, walked: &Walked) -> Result<(), String> {
    if header.prev != walked.chain {
        return Err("the frame does not continue the frame before: the chain of checksums is broken".into());
    }
    let (from, to) = (header.group.0 as usize, header.group.1 as usize);
    let continues = from == at || from == walked.last_group;
    if !continues || to < at + header.frame_len() {
        return Err("the frame's group contradicts its place".into());
    }
    Ok(())
}

fn rolled(place: &Place<'_>, white: &Whitening, header: &Header, chain: u32) -> Tail {
    let at = header.position.offset();
    let mut payload = place.payload(at, header).to_vec();
    white.apply(&mut payload, at + HEADER_LEN);
    if payload.len() != ROLL_PAYLOAD_LEN || Some(u32_at(&payload, 0)) != place.number.checked_add(1) {
        return Tail::Damaged { what: "the roll frame does not name the next segment".into() };
    }
    match stray(place.image, at + header.frame_len()) {
        Some((at, header)) => Tail::Stray { at, what: astray(&header) },
        None => Tail::Rolled(Roll { at: at as u32, chain, seed: u64_at(&payload, 4) }),
    }
}

fn astray(header: &Header) -> String {
    format!("a frame that was written for {} lies here", header.position)
}

/// Why there is no good frame.
enum Bad {
    /// The header is not good.
    Header,
    /// The header is good, the payload is not.
    Payload(Header),
    /// The header is good and cannot be true.
    Impossible(String),
}

struct Place<'a> {
    image: &'a [u8],
    number: u32,
    tag: u32,
}

impl<'a> Place<'a> {
    fn frame(&self, at: usize) -> Result<(Header, u32), Bad> {
        let (header, crc) = self.image.get(at..).and_then(Header::decode).ok_or(Bad::Header)?;
        if header.position != Position::new(self.number, at) {
            return Err(Bad::Impossible(astray(&header)));
        }
        if header.seed_tag != self.tag {
            return Err(Bad::Impossible("a frame of another incarnation of this segment lies here".into()));
        }
        if at + header.frame_len() > self.image.len() {
            return Err(Bad::Impossible("the frame runs past the end of the file".into()));
        }
        if crc32c::crc32c(self.payload(at, &header)) != header.payload_crc {
            return Err(Bad::Payload(header));
        }
        Ok((header, crc))
    }

    fn payload(&self, at: usize, header: &Header) -> &'a [u8] {
        let from = at + HEADER_LEN;
        &self.image[from..from + header.payload_len as usize]
    }

    fn judge(&self, at: usize, bad: Bad) -> Tail {
        if is_zero(&self.image[at.min(self.image.len())..]) {
            return Tail::Clean;
        }
        match self.find_damage(at, bad) {
            Some(what) => Tail::Damaged { what },
            None => Tail::Torn,
        }
    }

    fn find_damage(&self, at: usize, bad: Bad) -> Option<String> {
        let (mut group_end, extent, what) = match bad {
            Bad::Impossible(what) => return Some(what),
            Bad::Header => (None, FRAME_LEN_MIN, "the frame header does not match its checksum"),
            Bad::Payload(h) => (Some(h.group.1), h.frame_len(), "the payload does not match its checksum"),
        };
        let mut slot = at + ALIGN;
        while slot + FRAME_LEN_MIN <= self.image.len() {
            if let Some(found) = self.contradiction(at, slot, &mut group_end) {
                return Some(found);
            }
            slot += ALIGN;
        }
        if let Some(end) = group_end.map(|end| end as usize).filter(|end| *end <= self.image.len())
            && !is_zero(&self.image[end..])
        {
            return Some(format!("there are bytes behind the end of its group, at {end}: it had been acknowledged"));
        }
        (!self.never_written(at, extent)).then(|| what.into())
    }

    /// What at `slot` says that the bad frame at `at` cannot be the victim of a crash.
    fn contradiction(&self, at: usize, slot: usize, group_end: &mut Option<u32>) -> Option<String> {
        let here = Position::new(self.number, slot);
        match Header::decode(&self.image[slot..]) {
            Some((h, _)) if h.position != here || h.seed_tag != self.tag => {
                Some(format!("this frame is missing, and at {slot} {}", astray(&h)))
            }
            Some((h, _)) if h.group.0 as usize > at => {
                Some(format!("a later group begins at {}: this frame had been acknowledged", h.group.0))
            }
            Some((h, _)) => {
                *group_end = Some(h.group.1);
                None
            }
            None => {
                let wreck = Header::is_wreck(&self.image[slot..slot + ALIGN], here, self.tag);
                (wreck && !self.never_written(slot, FRAME_LEN_MIN))
                    .then(|| format!("this frame and the frame header at {slot} do not match their checksums"))
            }
        }
    }

    /// Whether some sector's part of these bytes ends in zeros, as no written part does.
    fn never_written(&self, at: usize, len: usize) -> bool {
        let end = (at + len).min(self.image.len());
        let mut from = at;
        while from < end {
            let to = end.min((from + 1).next_multiple_of(SECTOR));
            if is_zero(&self.image[to.saturating_sub(PADDING_MIN).max(from)..to]) {
                return true;
            }
            from = to;
        }
        false
    }
}

#[cfg(test)]
mod tests;
