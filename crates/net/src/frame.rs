//! What is on the wire after the hello: frames of a fixed header and a body.
//!
//! ```text
//!  body's length u32 │ kind u8 │ tag u8 │ 0 u16 │ deadline in ms u32 │ id u64 │ body
//! ```
//!
//! All numbers are big-endian. The id is that of a call; calls of a connection have growing ids, so that a goodbye can say with one
//! number which of them are begun. What is not used is zero.

use std::time::Duration;

/// How long the body of a call or an answer may be: a batch of 32 MiB and what its sender wraps it into.
pub const BODY_LEN_MAX: usize = (32 << 20) + (64 << 10);
pub(crate) const HEADER_LEN: usize = 20;

/// Which part of a node a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service(pub u8);

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than anything may be.
    #[error("a frame of {0} bytes; {max} are allowed", max = BODY_LEN_MAX)]
    Length(usize),
    /// A kind of frame that does not exist, or not with this tag.
    #[error("an unknown kind of frame: {0}, {1}")]
    Kind(u8, u8),
    /// A frame that this side is never sent.
    #[error("a frame that only the other side sends")]
    Direction,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call, which is of no use to anybody once its deadline has passed.
    Call { service: Service, deadline: Duration },
    /// The answer to a call.
    Answer,
    /// A call that has no answer.
    Refusal(Refusal),
    /// To be answered with a pong.
    Ping,
    /// The answer to a ping.
    Pong,
    /// No call with a greater id is begun on this connection.
    Goodbye,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Overloaded,
    NotServed,
    Late,
    AnswerTooLarge,
    Failed,
}

impl Refusal {
    const ALL: [(u8, Self); 5] =
        [(1, Self::Overloaded), (2, Self::NotServed), (3, Self::Late), (4, Self::AnswerTooLarge), (5, Self::Failed)];

    fn tag(self) -> u8 {
        Self::ALL.iter().find(|(_, refusal)| *refusal == self).map_or(0, |(tag, _)| *tag)
    }

    fn of(tag: u8) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == tag).map(|(_, refusal)| *refusal)
    }
}

/// All of a frame but its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) len: usize,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let (kind, tag, deadline) = match self.kind {
            Kind::Call { service, deadline } => (1, service.0, to_ms(deadline)),
            Kind::Answer => (2, 0, 0),
            Kind::Refusal(refusal) => (3, refusal.tag(), 0),
            Kind::Ping => (4, 0, 0),
            Kind::Pong => (5, 0, 0),
            Kind::Goodbye => (6, 0, 0),
        };
        let len = u32::try_from(self.len).expect("whoever makes a frame has looked at its length");
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes[4] = kind;
        bytes[5] = tag;
        bytes[8..12].copy_from_slice(&deadline.to_be_bytes());
        bytes[12..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, Malformed> {
        let [l0, l1, l2, l3, kind, tag, _, _, d0, d1, d2, d3, id @ ..] = *bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if len > BODY_LEN_MAX {
            return Err(Malformed::Length(len));
        }
        let unknown = Malformed::Kind(kind, tag);
        let kind = match (kind, tag) {
            (1, service) => {
                let deadline = Duration::from_millis(u32::from_be_bytes([d0, d1, d2, d3]).into());
                Kind::Call { service: Service(service), deadline }
            }
            (2, 0) => Kind::Answer,
            (3, tag) => Kind::Refusal(Refusal::of(tag).ok_or(unknown)?),
            (4, 0) => Kind::Ping,
            (5, 0) => Kind::Pong,
            (6, 0) => Kind::Goodbye,
            _ => return Err(unknown),
        };
        Ok(Self { kind, id: u64::from_be_bytes(id), len })
    }
}

/// Rounded up, so that a call does not arrive with no time left; more than seven weeks are seven weeks.
fn to_ms(deadline: Duration) -> u32 {
    u32::try_from(deadline.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> Vec<Kind> {
        let call = Kind::Call { service: Service(7), deadline: Duration::from_millis(1500) };
        let refusals = Refusal::ALL.map(|(_, refusal)| Kind::Refusal(refusal));
        [call, Kind::Answer, Kind::Ping, Kind::Pong, Kind::Goodbye].into_iter().chain(refusals).collect()
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for kind in kinds() {
            let header = Header { kind, id: u64::MAX - 1, len: BODY_LEN_MAX };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_deadline_is_rounded_up_and_bounded() {
        assert_eq!(to_ms(Duration::from_micros(1)), 1);
        assert_eq!(to_ms(Duration::from_millis(20)), 20);
        assert_eq!(to_ms(Duration::MAX), u32::MAX);
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_anything_is_allocated_for_it() {
        let bytes = Header { kind: Kind::Answer, id: 1, len: BODY_LEN_MAX + 1 }.encode();
        assert_eq!(Header::decode(&bytes), Err(Malformed::Length(BODY_LEN_MAX + 1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_that_says_the_same_again_or_are_refused(bytes: [u8; HEADER_LEN]) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!(header.len <= BODY_LEN_MAX);
                prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
            }
        }
    }
}
