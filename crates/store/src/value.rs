//! Values with a checksum over key and value, so that a wrong row is an error and never an answer.

use bytes::Bytes;

use crate::{error::Error, key::RowKey};

pub(crate) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(4 + value.len());
    sealed.extend_from_slice(&checksum(key, value).to_le_bytes());
    sealed.extend_from_slice(value);
    sealed
}

pub(crate) fn open(key: &[u8], sealed: &[u8]) -> Result<Bytes, Error> {
    match sealed.split_first_chunk() {
        Some((sum, value)) if u32::from_le_bytes(*sum) == checksum(key, value) => Ok(Bytes::copy_from_slice(value)),
        _ => Err(damaged(key)),
    }
}

/// The checksum that a sealed value carries, unverified.
pub(crate) fn checksum_of(key: &[u8], sealed: &[u8]) -> Result<u32, Error> {
    sealed.first_chunk().map(|sum| u32::from_le_bytes(*sum)).ok_or_else(|| damaged(key))
}

/// The error for a row whose bytes are wrong.
pub(crate) fn damaged(key: &[u8]) -> Error {
    let at_risk = match RowKey::decode(key) {
        Some(row) => match row.agent() {
            Some(agent) => format!("a row of agent {agent}"),
            None => format!("the row {row:?}"),
        },
        None => "one row".to_owned(),
    };
    Error::Damaged { what: "a row does not match its checksum".into(), at_risk }
}

/// The checksum of a row.
pub(crate) fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_in_key_or_value_is_seen() {
        let (key, value) = (b"some key".to_vec(), b"some value".to_vec());
        let sealed = seal(&key, &value);
        assert_eq!(open(&key, &sealed).unwrap(), value);
        for bit in 0..key.len() * 8 {
            let mut key = key.clone();
            key[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &sealed).is_err());
        }
        for bit in 0..sealed.len() * 8 {
            let mut sealed = sealed.clone();
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &sealed).is_err());
        }
        assert!(open(&key, &sealed[..3]).is_err());
    }
}
