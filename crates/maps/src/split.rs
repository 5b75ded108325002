//! Where an object is cut. Pure: it knows lengths and asks for line breaks.
//!
//! Always true: the parts of an object, one behind the other, are the object; none is empty; and if it is cut at line breaks,
//! every part but the last ends with one.

use stride_ids::Failure;

/// Where the next part ends that begins at `from`, for parts of `part_len` bytes in an object of `len`.
pub(crate) fn fixed(from: u64, len: u64, part_len: u64) -> u64 {
    from.saturating_add(part_len.max(1)).min(len)
}

/// Finds line breaks.
pub(crate) trait Breaks {
    /// The place behind the first line break at or after `at`; none if there is no more.
    fn behind_break(&mut self, at: u64) -> impl Future<Output = Result<Option<u64>, Failure>> + Send;
}

/// The same where parts end behind a line break: at the first one that makes the part `part_len` bytes or more.
pub(crate) async fn at_line(from: u64, len: u64, part_len: u64, breaks: &mut impl Breaks) -> Result<u64, Failure> {
    let end = fixed(from, len, part_len);
    if end == len {
        return Ok(len);
    }
    // The last byte of the part may be the break itself.
    Ok(breaks.behind_break(end - 1).await?.map_or(len, |end| end.min(len)))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;

    struct Bytes<'a>(&'a [u8]);

    impl Breaks for Bytes<'_> {
        async fn behind_break(&mut self, at: u64) -> Result<Option<u64>, Failure> {
            let at = usize::try_from(at).unwrap();
            Ok(self.0[at..].iter().position(|byte| *byte == b'\n').map(|found| (at + found + 1) as u64))
        }
    }

    fn parts(bytes: &[u8], mut next: impl FnMut(u64) -> u64) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < bytes.len() {
            let end = usize::try_from(next(from as u64)).unwrap();
            parts.push(from..end);
            from = end;
        }
        parts
    }

    proptest! {
        #[test]
        fn the_parts_are_the_object_and_cut_no_line(
            bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\n".to_vec()), 0..200),
            part_len in 1u64..20,
        ) {
            let len = bytes.len() as u64;
            let parts = parts(&bytes, |from| block_on(at_line(from, len, part_len, &mut Bytes(&bytes))).unwrap());
            let joined: Vec<u8> = parts.iter().flat_map(|part| bytes[part.clone()].to_vec()).collect();
            prop_assert_eq!(&joined, &bytes);
            for (n, part) in parts.iter().enumerate() {
                prop_assert!(!part.is_empty());
                let is_last = n + 1 == parts.len();
                prop_assert!(is_last || bytes[part.end - 1] == b'\n');
                prop_assert!(is_last || part.len() as u64 >= part_len);
                // No longer than it has to be: before its last line it was too short.
                let before_last = bytes[part.start..part.end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                prop_assert!((before_last as u64) < part_len);
            }
        }

        #[test]
        fn fixed_parts_are_the_object(len in 0usize..500, part_len in 1u64..50) {
            let bytes = vec![0; len];
            let parts = parts(&bytes, |from| fixed(from, len as u64, part_len));
            prop_assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), len);
            prop_assert!(parts.iter().rev().skip(1).all(|part| part.len() as u64 == part_len));
            prop_assert!(parts.iter().all(|part| (1..=part_len).contains(&(part.len() as u64))));
        }
    }
}
