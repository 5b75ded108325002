//! Verifying a store offline.

use std::{collections::HashSet, fmt, ops::Bound, path::Path, sync::Arc};

use stride_ids::{Address, CellId, Seq};

use crate::{
    error::Error,
    key::{self, RowKey},
    store::{created_with, read_summary},
    summary::Summary,
    tree::Tree,
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
    /// The last record of every cell that the rows hold.
    pub positions: Vec<(CellId, Seq)>,
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

/// Verifies everything in a store: the manifest, the checksum of every table and every row, that every row is in its
/// cell, and that the rows of every cell are as many as were written and have their digest, so that a row which is
/// missing or stale without a trace is noticed too.
///
/// No process may have the store open. The tree cannot be opened without tidying up: files that no manifest names
/// (left by a crash) are removed, which a start of the node would do as well. The manifest is verified before.
///
/// # Errors
/// If the store cannot be opened at all.
pub fn check(dir: &Path) -> Result<Report, Error> {
    let mut report = Report::default();
    if !Tree::exists(dir)? {
        return Ok(report);
    }
    let tree = Arc::new(Tree::open(dir, 1 << 20)?);
    tree.verify_tables(|damage| report.damage.push(damage.to_string()));
    let cells = match created_with(&tree) {
        Ok(cells) => cells.unwrap_or(0),
        Err(e) => {
            report.damage.push(e.to_string());
            return Ok(report);
        }
    };
    for cell in (0..cells).map(CellId) {
        check_cell(&tree, cell, &mut report);
    }
    Ok(report)
}

fn check_cell(tree: &Arc<Tree>, cell: CellId, report: &mut Report) {
    let prefix = cell.0.to_be_bytes();
    let end = key::after_all(&prefix);
    let rows = tree.snapshot().range(Bound::Included(&prefix[..]), Bound::Excluded(&end));
    let (mut headers, mut orphans) = (HashSet::<Address>::new(), HashSet::new());
    let (mut found, mut complete) = (Summary::default(), true);
    for row in rows {
        let (key, sealed) = match row {
            Ok(row) => row,
            Err(e) => {
                report.damage.push(format!("{cell}: {e}"));
                complete = false;
                break;
            }
        };
        if *key == key::position_of(cell) {
            continue;
        }
        match (value::open(&key, &sealed), RowKey::decode(&key)) {
            // That it is in the cell in which it was written says its checksum, which has the cell in it.
            (Ok(value), Some(row)) => {
                report.rows += 1;
                report.bytes += value.len() as u64;
                found.add(value::checksum(&key, &value));
                // Headers come before all other rows of a cell. Messages may come before their agent's first turn, and so
                // may the replies to those who told them.
                match row {
                    RowKey::Header(agent) => drop(headers.insert(agent)),
                    RowKey::Map(agent, _) | RowKey::Timer(agent, _) | RowKey::Due(_, agent, _)
                        if !headers.contains(&agent) =>
                    {
                        orphans.insert(agent.to_string());
                    }
                    _ => {}
                }
            }
            (Ok(_), _) => report.damage.push(format!("{cell}: a row that nothing has written")),
            (Err(e), _) => report.damage.push(e.to_string()),
        }
    }
    report.agents += headers.len() as u64;
    let mut orphans: Vec<_> = orphans.into_iter().collect();
    orphans.sort_unstable();
    report.orphans.append(&mut orphans);
    match read_summary(tree, cell) {
        Err(e) => report.damage.push(format!("{cell}: its position: {e}")),
        Ok(stored) => {
            report.positions.push((cell, stored.seq));
            if complete && !found.same_rows(&stored) {
                let (found, stored) = (found.rows, stored.rows);
                let what = format!("{cell} has {found} sound rows where {stored} were written, or stale ones");
                report.damage.push(format!("{what}; at risk: any agent of the cell"));
            }
        }
    }
}
