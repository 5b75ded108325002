//! Verifying a store offline.

use std::{collections::BTreeSet, fmt, path::Path};

use fjall::Database;
use fjall::KeyspaceCreateOptions;

use crate::{
    error::Error,
    key::{self, RowKey},
    value,
};

/// What a store holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows that are sound.
    pub rows: u64,
    /// Agents that have a header.
    pub agents: u64,
    /// Rows that belong to no agent with a header, by agent.
    pub orphans: Vec<String>,
    /// The values of all sound rows, in bytes.
    pub bytes: u64,
    /// What is damaged, and what that puts at risk.
    pub damage: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store: {} agents, {} rows, {} bytes", self.agents, self.rows, self.bytes)?;
        for orphan in &self.orphans {
            write!(f, "\n  {orphan} has state but no header")?;
        }
        for damage in &self.damage {
            write!(f, "\n  {damage}")?;
        }
        Ok(())
    }
}

/// Reads every row of a store and verifies its checksum. No process may have it open; fjall cannot be opened without
/// writing (it finishes what it was doing), so this does what a start of the node would do, and nothing more.
///
/// # Errors
/// If the store cannot be opened at all.
pub fn check(dir: &Path) -> Result<Report, Error> {
    let failed = |e: fjall::Error| Error::from_fjall("be opened", dir, &e);
    let database = Database::builder(dir).open().map_err(failed)?;
    let rows = database.keyspace("rows", KeyspaceCreateOptions::default).map_err(failed)?;
    let mut report = Report::default();
    let (mut with_header, mut with_state) = (BTreeSet::new(), BTreeSet::new());
    for stored in rows.iter() {
        let (key, sealed) = match stored.into_inner() {
            Ok(row) => row,
            Err(e) => {
                report.damage.push(failed(e).to_string());
                break;
            }
        };
        match value::open(&key, &sealed) {
            Ok(value) => {
                report.rows += 1;
                report.bytes += value.len() as u64;
            }
            Err(e) => report.damage.push(e.to_string()),
        }
        match RowKey::decode(&key) {
            Some(RowKey::Header(agent)) => {
                with_header.insert(agent);
            }
            Some(row) => {
                with_state.insert(row.agent().clone());
            }
            None if key::is_position(&key) => {}
            None => report.damage.push(value::damaged(&key).to_string()),
        }
    }
    report.agents = with_header.len() as u64;
    report.orphans = with_state.difference(&with_header).map(ToString::to_string).collect();
    Ok(report)
}
