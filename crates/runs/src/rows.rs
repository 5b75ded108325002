//! The rows of a run, kept in its agent's keyed map.

use std::{collections::BTreeMap, ops::Bound};

use stride_agents::Turn;
use stride_flows::{Rows, run::Row};
use stride_ids::Failure;

use crate::{head::PLAN, inside::BEGUN};

/// A run keeps so many rows in memory at most, with so many bytes: one event looks at dozens of them, and at many that are not there.
const ROWS_MAX: usize = 256;
const BYTES_MAX: usize = 256 << 10;
/// A value takes about so many times the memory of its JSON.
const OF_JSON: usize = 4;

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
    now: BTreeMap<String, Row>,
    /// What those were that this turn changed.
    before: BTreeMap<String, Option<Row>>,
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
                (Some(now), Some(before)) if now.bytes()? == before.bytes()? => {}
                (Some(now), _) => turn.set(key, now.bytes()?.clone())?,
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

    /// How much memory that takes, in bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        if let Self::All(all) = self { all.bytes() * OF_JSON } else { 0 }
    }
}

impl All {
    /// How long those are that were written.
    fn bytes(&self) -> usize {
        self.now.iter().map(|(key, row)| key.len() + row.len_kept()).sum()
    }

    fn is_large(&self) -> bool {
        self.now.len() > ROWS_MAX || self.bytes() > BYTES_MAX
    }

    fn put(&mut self, key: &str, row: Row) {
        let before = self.now.insert(key.to_owned(), row);
        self.before.entry(key.to_owned()).or_insert(before);
    }

    fn delete(&mut self, key: &str) {
        if let Some((key, before)) = self.now.remove_entry(key) {
            self.before.entry(key).or_insert(Some(before));
        }
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, Row)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = self.now.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        found.take(limit).map(|(key, row)| (key.clone(), row.clone())).collect()
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
                let machines = rows.into_iter().filter(|(key, _)| is_machines(key));
                let now = machines.map(|(key, bytes)| (key, Row::kept(bytes))).collect();
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
    fn get(&self, key: &str) -> Result<Option<Row>, Failure> {
        match &self.known {
            Known::All(all) => Ok(all.now.get(key).cloned()),
            _ => Ok(self.turn.get(key)?.map(Row::kept)),
        }
    }

    fn put(&mut self, key: &str, row: Row) -> Result<(), Failure> {
        match self.known {
            Known::All(all) => all.put(key, row),
            _ => self.turn.set(key.to_owned(), row.bytes()?.clone())?,
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

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, Failure> {
        match &self.known {
            Known::All(all) => Ok(all.scan(prefix, after, limit)),
            _ => {
                let rows = self.turn.scan(prefix, after, limit)?.into_iter();
                Ok(rows.map(|(key, bytes)| (key, Row::kept(bytes))).collect())
            }
        }
    }
}
