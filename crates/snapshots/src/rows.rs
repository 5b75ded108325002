//! Rows as bytes: a magic number, then blocks of `len (u32) | CRC-32C of len and rows (u32) | rows`, little-endian. A row is
//! `key len (u32) | value len (u32) | key | value`, with a value len of all ones for a row that was deleted.
//!
//! The checksums find damage before a row is used; that nothing is missing at the end is told by the manifest.

use bytes::{Buf as _, Bytes, BytesMut};
use stride_store::Row;

const MAGIC: &[u8; 12] = b"stride-rows\x01";
/// A block ends with the row that brings it here, in bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// No block is longer: it is one row more than that, and a turn does not write as much.
const BLOCK_BYTES_MAX: usize = 64 << 20;
const DELETED: u32 = u32::MAX;

/// What a file begins with.
pub(crate) fn begin() -> Vec<u8> {
    MAGIC.to_vec()
}

/// Rows on their way into bytes.
#[derive(Default)]
pub(crate) struct Encoder {
    block: Vec<u8>,
    pub(crate) rows: u64,
}

impl Encoder {
    pub(crate) fn push(&mut self, row: &Row, into: &mut Vec<u8>) {
        let value_len = row.value.as_ref().map_or(DELETED, |value| value.len() as u32);
        self.block.extend_from_slice(&(row.key.len() as u32).to_le_bytes());
        self.block.extend_from_slice(&value_len.to_le_bytes());
        self.block.extend_from_slice(&row.key);
        self.block.extend_from_slice(row.value.as_deref().unwrap_or_default());
        self.rows += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.end_block(into);
        }
    }

    /// Ends the block that is being filled, if there is one.
    pub(crate) fn end_block(&mut self, into: &mut Vec<u8>) {
        if self.block.is_empty() {
            return;
        }
        assert!(self.block.len() <= BLOCK_BYTES_MAX, "a row is at most what a turn may write");
        let len = (self.block.len() as u32).to_le_bytes();
        into.extend_from_slice(&len);
        into.extend_from_slice(&checksum(&len, &self.block).to_le_bytes());
        into.append(&mut self.block);
    }
}

/// Bytes on their way into rows.
#[derive(Default)]
pub(crate) struct Decoder {
    waiting: BytesMut,
    begun: bool,
}

impl Decoder {
    /// Takes the next bytes and gives the rows of the blocks that are whole now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Row>, &'static str> {
        self.waiting.extend_from_slice(bytes);
        if !self.begun {
            let Some(magic) = self.waiting.first_chunk() else { return Ok(Vec::new()) };
            if magic != MAGIC {
                return Err("it does not begin as a file of rows does");
            }
            self.waiting.advance(MAGIC.len());
            self.begun = true;
        }
        let mut rows = Vec::new();
        while let Some(mut block) = self.next_block()? {
            while !block.is_empty() {
                rows.push(take_row(&mut block).ok_or("a row ends early")?);
            }
        }
        Ok(rows)
    }

    /// Whether nothing is left over.
    pub(crate) fn is_at_an_end(&self) -> bool {
        self.begun && self.waiting.is_empty()
    }

    fn next_block(&mut self) -> Result<Option<Bytes>, &'static str> {
        let Some(head) = self.waiting.first_chunk::<8>() else { return Ok(None) };
        let ([l0, l1, l2, l3], [c0, c1, c2, c3]) =
            ([head[0], head[1], head[2], head[3]], [head[4], head[5], head[6], head[7]]);
        let (len_bytes, sum) = ([l0, l1, l2, l3], u32::from_le_bytes([c0, c1, c2, c3]));
        let len = u32::from_le_bytes(len_bytes) as usize;
        if len == 0 || len > BLOCK_BYTES_MAX {
            return Err("a block has a length that no block has");
        }
        if self.waiting.len() < 8 + len {
            return Ok(None);
        }
        self.waiting.advance(8);
        let block = self.waiting.split_to(len).freeze();
        if checksum(&len_bytes, &block) != sum {
            return Err("a block does not match its checksum");
        }
        Ok(Some(block))
    }
}

fn checksum(len: &[u8], block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(len), block)
}

fn take_row(block: &mut Bytes) -> Option<Row> {
    let key_len = block.try_get_u32_le().ok()? as usize;
    let value_len = block.try_get_u32_le().ok()?;
    let mut take = |len: usize| (len <= block.len()).then(|| block.split_to(len));
    let key = take(key_len)?;
    let value = if value_len == DELETED { None } else { Some(take(value_len as usize)?) };
    Some(Row { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row =
            |key: &str, value: Option<Vec<u8>>| Row { key: Bytes::from(key.to_owned()), value: value.map(Bytes::from) };
        vec![row("a", Some(vec![])), row("b", None), row("c", Some(vec![7; BLOCK_BYTES])), row("d", Some(vec![1]))]
    }

    fn encoded(rows: &[Row]) -> Vec<u8> {
        let (mut encoder, mut bytes) = (Encoder::default(), begin());
        rows.iter().for_each(|row| encoder.push(row, &mut bytes));
        encoder.end_block(&mut bytes);
        bytes
    }

    #[test]
    fn rows_come_back_however_their_bytes_are_cut() {
        for (rows, cuts) in [(rows(), vec![1, 3, 1_000, usize::MAX]), (vec![], vec![1, usize::MAX])] {
            let bytes = encoded(&rows);
            for cut in cuts {
                let (mut decoder, mut found) = (Decoder::default(), Vec::new());
                for piece in bytes.chunks(cut) {
                    found.extend(decoder.push(piece).unwrap());
                }
                assert_eq!((found, decoder.is_at_an_end()), (rows.clone(), true));
            }
        }
    }

    #[test]
    fn a_flipped_bit_gives_no_row_that_was_not_written() {
        let rows = vec![rows()[0].clone(), rows()[1].clone(), rows()[3].clone()];
        let bytes = encoded(&rows);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = Decoder::default();
            // A length that is too long now waits for more.
            let harmless = decoder.push(&bytes).is_ok_and(|found| found.is_empty() && !decoder.is_at_an_end());
            assert!(harmless || Decoder::default().push(&bytes).is_err(), "{bit}");
        }
    }
}
