//! What the agents of each cell read most: what its next owner fetches before they ask for it.
//!
//! Always true: of a cell at most [`PIECES_MAX`] pieces are known, and those that were read often stay among them, whatever else is read
//! once (the space-saving algorithm: who comes new takes the place of the coldest and inherits its count).
//! Not here: who tells the next owner, and how it fetches (see `runtime` and `node`).

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stride_ids::{CellId, ObjectName};

/// How many pieces of a cell are remembered.
pub const PIECES_MAX: usize = 32;
/// From here on all counts are halved: what was hot long ago is not hot for ever.
const COUNT_MAX: u32 = 1 << 10;

/// A chunk of an object, whichever version it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Piece {
    /// The object.
    pub object: ObjectName,
    /// Which of its chunks.
    pub chunk: u64,
}

/// The hottest pieces of each cell.
#[derive(Default)]
pub struct Warmth(Mutex<BTreeMap<CellId, Hot>>);

/// How often each piece was read, roughly.
#[derive(Default)]
struct Hot(HashMap<Piece, u32>);

impl Warmth {
    /// An agent of a cell has read a piece.
    pub fn note(&self, cell: CellId, piece: Piece) {
        self.0.lock().entry(cell).or_default().note(piece);
    }

    /// The pieces of a cell that leaves, the hottest first. Nothing is known of it then.
    pub fn take(&self, cell: CellId) -> Vec<Piece> {
        self.0.lock().remove(&cell).map(Hot::hottest).unwrap_or_default()
    }
}

impl Hot {
    fn note(&mut self, piece: Piece) {
        if let Some(count) = self.0.get_mut(&piece) {
            *count += 1;
            if *count >= COUNT_MAX {
                self.0.values_mut().for_each(|count| *count /= 2);
            }
            return;
        }
        let mut inherited = 0;
        if self.0.len() >= PIECES_MAX {
            let coldest = self.0.iter().min_by_key(|(piece, count)| (**count, *piece)).map(|(piece, _)| piece.clone());
            inherited = coldest.and_then(|coldest| self.0.remove(&coldest)).unwrap_or(0);
        }
        self.0.insert(piece, inherited + 1);
    }

    fn hottest(self) -> Vec<Piece> {
        let mut pieces: Vec<_> = self.0.into_iter().collect();
        pieces.sort_by(|(a, times), (b, more)| more.cmp(times).then_with(|| a.cmp(b)));
        pieces.into_iter().map(|(piece, _)| piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::{BucketName, Name, ObjectKey};

    use super::*;

    const CELL: CellId = CellId(3);

    fn piece(key: &str, chunk: u64) -> Piece {
        let (bucket, key) = (BucketName::new("data").unwrap(), ObjectKey::new(key).unwrap());
        Piece { object: ObjectName { tenant: Name::default_tenant(), bucket, key }, chunk }
    }

    #[test]
    fn what_is_read_again_and_again_stays_whatever_is_read_once() {
        let warmth = Warmth::default();
        for round in 0..200 {
            (0..4).for_each(|chunk| warmth.note(CELL, piece("hot", chunk)));
            (0..3).for_each(|n| warmth.note(CELL, piece(&format!("cold-{round}-{n}"), 0)));
        }
        let pieces = warmth.take(CELL);
        assert_eq!(pieces.len(), PIECES_MAX);
        assert!((0..4).all(|chunk| pieces[..8].contains(&piece("hot", chunk))), "{pieces:?}");
        assert_eq!(warmth.take(CELL), [], "it has left");
        assert_eq!(warmth.take(CellId(4)), []);
    }

    #[test]
    fn the_hottest_come_first_and_what_was_hot_long_ago_goes_in_the_end() {
        let warmth = Warmth::default();
        (0..5_000).for_each(|_| warmth.note(CELL, piece("old", 0)));
        (0..3_000).for_each(|_| warmth.note(CELL, piece("new", 0)));
        warmth.note(CELL, piece("once", 0));
        assert_eq!(warmth.take(CELL), ["new", "old", "once"].map(|key| piece(key, 0)));
    }
}
