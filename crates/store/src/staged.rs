//! Rows in memory that fjall does not hold yet: one generation that grows, and one that is being written.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use stride_ids::{CellId, Seq};

/// Rows by encoded key; none is a deletion.
pub(crate) type Rows = BTreeMap<Vec<u8>, Option<Bytes>>;

/// Rows that belong together: all of them, up to these positions.
#[derive(Default)]
pub(crate) struct Generation {
    pub(crate) rows: Rows,
    pub(crate) positions: HashMap<CellId, Seq>,
    pub(crate) bytes: usize,
}

/// What a row costs in memory beside its bytes, roughly.
const ROW_OVERHEAD: usize = 64;

impl Generation {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let len = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let (key_len, new_len) = (key.len(), len(&value));
        match self.rows.insert(key, value) {
            Some(old) => self.bytes = self.bytes + new_len - len(&old),
            None => self.bytes += key_len + new_len + ROW_OVERHEAD,
        }
    }
}

/// Both generations.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) active: Generation,
    pub(crate) frozen: Option<Arc<Generation>>,
}

impl Staged {
    /// The staged value of a row: `None` if nothing is staged, `Some(None)` if its deletion is.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.rows.get(key));
        self.active.rows.get(key).or_else(frozen).cloned()
    }

    /// Copies what is staged from `from` on as long as keys start with `prefix`.
    pub(crate) fn range(&self, prefix: &[u8], from: Bound<&[u8]>) -> Rows {
        let mut found = Rows::new();
        // The active generation is newer, so it comes second and wins.
        for generation in self.frozen.as_deref().into_iter().chain([&self.active]) {
            let rows = generation.rows.range::<[u8], _>((from, Bound::Unbounded));
            found.extend(rows.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())));
        }
        found
    }

    pub(crate) fn bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }
}
