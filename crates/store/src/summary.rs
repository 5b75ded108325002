//! What the store knows of a cell beside its rows: which record they add up to, how many they are, and a digest of all
//! of them, so that a row which goes missing without a trace is still missed by `check`.

use stride_ids::Seq;

use crate::{error::Error, value};

/// The position of a cell and what its rows add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The last record whose writes are in the rows.
    pub(crate) seq: Seq,
    /// How many rows the cell has.
    pub(crate) rows: u64,
    /// The sum over all rows, so that it does not depend on their order.
    digest: u64,
}

impl Summary {
    /// The same rows as those of another record.
    pub(crate) fn at(self, seq: Seq) -> Self {
        Self { seq, ..self }
    }

    pub(crate) fn add(&mut self, checksum: u32) {
        self.rows = self.rows.wrapping_add(1);
        self.digest = self.digest.wrapping_add(spread(checksum));
    }

    pub(crate) fn remove(&mut self, checksum: u32) {
        self.rows = self.rows.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(spread(checksum));
    }

    /// Whether both stand for the same rows.
    pub(crate) fn same_rows(&self, other: &Self) -> bool {
        (self.rows, self.digest) == (other.rows, other.digest)
    }

    pub(crate) fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (part, number) in bytes.chunks_exact_mut(8).zip([self.seq.0, self.rows, self.digest]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// The summary that is stored under `key`.
    pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return Err(value::damaged(key)) };
        let [seq, rows, digest] = numbers else { return Err(value::damaged(key)) };
        let [seq, rows, digest] = [seq, rows, digest].map(|bytes| u64::from_le_bytes(*bytes));
        Ok(Self { seq: Seq(seq), rows, digest })
    }
}

/// Spreads a checksum over 64 bits (the finaliser of SplitMix64), so that sums of few rows do not meet by chance.
fn spread(checksum: u32) -> u64 {
    let mut x = u64::from(checksum).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_comes_back_as_it_was_and_other_bytes_do_not() {
        let mut summary = Summary { seq: Seq(7), ..Summary::default() };
        summary.add(1);
        summary.add(2);
        let bytes = summary.encode();
        assert_eq!(Summary::decode(b"key", &bytes).unwrap(), summary);
        for len in 0..bytes.len() {
            assert!(Summary::decode(b"key", &bytes[..len]).is_err());
        }
    }

    #[test]
    fn rows_add_up_in_any_order_and_a_lost_or_older_one_shows() {
        let sum = |checksums: &[u32]| {
            let mut summary = Summary::default();
            checksums.iter().for_each(|checksum| summary.add(*checksum));
            summary
        };
        assert!(sum(&[1, 2, 3]).same_rows(&sum(&[3, 1, 2])));
        assert!(!sum(&[1, 2, 3]).same_rows(&sum(&[1, 2])));
        assert!(!sum(&[1, 2, 3]).same_rows(&sum(&[1, 2, 4])));
        let mut less = sum(&[1, 2, 3]);
        less.remove(2);
        assert!(less.same_rows(&sum(&[1, 3])));
    }
}
