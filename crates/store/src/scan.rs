//! Rows in order, staged ones over stored ones, of one moment.

use std::{iter::Peekable, vec};

use bytes::Bytes;

use crate::{error::Error, tree::Range, value};

/// A row as it was staged; none is a deletion.
pub(crate) type StagedRow = (Vec<u8>, Option<Bytes>);

/// An iterator over the rows between two keys.
pub(crate) struct Scan {
    staged: Peekable<vec::IntoIter<StagedRow>>,
    stored: Peekable<Range>,
}

impl Scan {
    /// Both sides have to be of the same moment and between the same keys.
    pub(crate) fn new(staged: Vec<StagedRow>, stored: Range) -> Self {
        Self { staged: staged.into_iter().peekable(), stored: stored.peekable() }
    }

    /// The next row of either side, deletions as none.
    fn step(&mut self) -> Option<Result<StagedRow, Error>> {
        let stored = match self.stored.peek() {
            None => return self.staged.next().map(Ok),
            Some(Err(e)) => return Some(Err(e.clone())),
            Some(Ok((key, _))) => key,
        };
        if let Some((staged, _)) = self.staged.peek() {
            if staged.as_slice() == &**stored {
                self.stored.next();
                return self.staged.next().map(Ok);
            }
            if staged.as_slice() < &**stored {
                return self.staged.next().map(Ok);
            }
        }
        let opened =
            |(key, sealed): (lsm_tree::Slice, lsm_tree::Slice)| Ok((key.to_vec(), Some(value::open(&key, &sealed)?)));
        self.stored.next().map(|row| row.and_then(opened))
    }
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok((key, Some(value))) => return Some(Ok((key, value))),
                Ok((_, None)) => {}
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
