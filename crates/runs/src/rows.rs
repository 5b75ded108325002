//! The rows of a run, kept in its agent's keyed map.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use stride_agents::Turn;
use stride_flows::Rows;
use stride_ids::Failure;

use crate::{head::PLAN, inside::BEGUN};

/// A run keeps so many rows in memory at most, with so many bytes: one event looks at dozens of them, and at many that are not there.
const ROWS_MAX: usize = 256;
const BYTES_MAX: usize = 256 << 10;

/// What is known of the rows of a run without looking.
#[derive(Default)]
pub(crate) enum Known {
    #[default]
    Nothing,
    All(All),
    /// There are too many.
    TooMany,
}

/// All rows of a run.
#[derive(Default)]
pub(crate) struct All {
    now: BTreeMap<String, Bytes>,
    /// What those were that this turn changed.
    before: BTreeMap<String, Option<Bytes>>,
}

impl Known {
    /// There are no rows yet.
    pub(crate) fn none() -> Self {
        Self::All(All::default())
    }

    /// Has the turn write what changed. Rows that came and went within it are not worth a word.
    pub(crate) fn write(&mut self, turn: &mut Turn) -> Result<(), Failure> {
        let Self::All(All { now, before }) = self else { return Ok(()) };
        for (key, before) in std::mem::take(before) {
            match (now.get(&key), before) {
                (Some(now), Some(before)) if *now == before => {}
                (Some(now), _) => turn.set(key, now.clone())?,
                (None, Some(_)) => turn.delete(key)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// What is worth keeping until the next turn.
    pub(crate) fn kept(self) -> Self {
        match self {
            Self::All(all) if all.is_large() => Self::TooMany,
            known => known,
        }
    }

    /// How much memory that takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        if let Self::All(all) = self { all.bytes() } else { 0 }
    }
}

impl All {
    fn bytes(&self) -> usize {
        self.now.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    fn is_large(&self) -> bool {
        self.now.len() > ROWS_MAX || self.bytes() > BYTES_MAX
    }

    fn put(&mut self, key: &str, value: Bytes) {
        let before = self.now.insert(key.to_owned(), value);
        self.before.entry(key.to_owned()).or_insert(before);
    }

    fn delete(&mut self, key: &str) {
        if let Some((key, before)) = self.now.remove_entry(key) {
            self.before.entry(key).or_insert(Some(before));
        }
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, Bytes)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = self.now.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// The rows as a turn sees and changes them. What changes in rows of which all are known is written by [`Known::write`].
pub(crate) struct TurnRows<'a> {
    turn: &'a mut Turn,
    known: &'a mut Known,
}

impl<'a> TurnRows<'a> {
    pub(crate) fn of(turn: &'a mut Turn, known: &'a mut Known) -> Result<Self, Failure> {
        if matches!(known, Known::Nothing) {
            let rows = turn.scan("", None, ROWS_MAX + 1)?;
            *known = if rows.len() > ROWS_MAX {
                Known::TooMany
            } else {
                let now = rows.into_iter().filter(|(key, _)| is_machines(key)).collect();
                Known::All(All { now, ..All::default() }).kept()
            };
        }
        Ok(Self { turn, known })
    }
}

/// Whether a row belongs to the machine of flows; the others are written past this.
fn is_machines(key: &str) -> bool {
    key != PLAN && !key.starts_with(BEGUN)
}

impl Rows for TurnRows<'_> {
    fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        match &self.known {
            Known::All(all) => Ok(all.now.get(key).cloned()),
            _ => Ok(self.turn.get(key)?),
        }
    }

    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Failure> {
        match self.known {
            Known::All(all) => all.put(key, value),
            _ => self.turn.set(key.to_owned(), value)?,
        }
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        match self.known {
            Known::All(all) => all.delete(key),
            _ => self.turn.delete(key.to_owned())?,
        }
        Ok(())
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, Failure> {
        match &self.known {
            Known::All(all) => Ok(all.scan(prefix, after, limit)),
            _ => Ok(self.turn.scan(prefix, after, limit)?),
        }
    }
}
