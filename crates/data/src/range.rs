//! Which bytes of an object are asked for.

use std::ops::Range;

/// A range as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `a-b`, both included.
    Between(u64, u64),
    /// `a-`
    From(u64),
    /// `-n`: the last `n` bytes.
    Last(u64),
}

impl RangeSpec {
    /// The bytes of an object of `len` bytes that are meant; none if there are none there.
    pub fn within(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Between(first, last) if first <= last => first..last.saturating_add(1).min(len),
            Self::Between(..) => return None,
            Self::From(first) => first..len,
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_is_there_and_refused_if_nothing_is() {
        use RangeSpec::{Between, From, Last};
        for (spec, len, meant) in [
            (Between(0, 0), 10, Some(0..1)),
            (Between(2, 5), 10, Some(2..6)),
            (Between(2, 50), 10, Some(2..10)),
            (Between(0, u64::MAX), 10, Some(0..10)),
            (Between(10, 12), 10, None),
            (Between(5, 2), 10, None),
            (From(0), 10, Some(0..10)),
            (From(9), 10, Some(9..10)),
            (From(10), 10, None),
            (Last(3), 10, Some(7..10)),
            (Last(30), 10, Some(0..10)),
            (Last(0), 10, None),
            (From(0), 0, None),
            (Last(1), 0, None),
        ] {
            assert_eq!(spec.within(len), meant, "{spec:?} of {len}");
        }
    }
}
