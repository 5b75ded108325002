//! What the demo shows, and what it insists on.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{bail, ensure};
use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::{Mapped, totals::Totals};

/// How many crates the table has.
const SHOWN: usize = 20;

type Crates = BTreeMap<String, Totals>;

/// Prints the table and how fast it came about.
#[expect(clippy::print_stdout, reason = "this is what the demo is for")]
pub(crate) fn print(crates: &Crates, mapped: &Mapped) {
    println!("\nThe {} crates with most unsafe blocks, of {}:\n", SHOWN.min(crates.len()), crates.len());
    println!("{}\n", table(crates));
    let (files, unparsed) = (sum(crates, |t| t.files), sum(crates, |t| t.unparsed));
    let seconds = mapped.took.as_secs_f64();
    let calls = mapped.results() as f64 / seconds;
    println!("{files} files, {} lines, {unparsed} not parsed, in {seconds:.1} s", sum(crates, |t| t.lines));
    // Every file is one call of the function and one turn of its crate's agent.
    println!("{calls:.0} calls/s, {:.0} durable turns/s", mapped.ok as f64 / seconds);
    let failed: Vec<_> = mapped.failed.iter().map(|(code, count)| format!("{code} {count}")).collect();
    println!("failures: {}", if failed.is_empty() { "none".to_owned() } else { failed.join(", ") });
    mapped.examples.iter().for_each(|line| println!("  {line}"));
}

fn table(crates: &Crates) -> String {
    let mut worst: Vec<_> = crates.iter().collect();
    worst.sort_by_key(|(name, totals)| (std::cmp::Reverse(totals.unsafe_blocks), *name));
    let mut table = Table::new();
    table.load_style(NOTHING);
    let header = ["crate", "files", "unparsed", "lines", "functions", "unsafe blocks", "unsafe fns", "unsafe impls"];
    table.set_header(header);
    for (name, totals) in worst.into_iter().take(SHOWN) {
        let Totals { files, unparsed, lines, functions, unsafe_blocks, unsafe_fns, unsafe_impls } = totals;
        let numbers = [files, unparsed, lines, functions, unsafe_blocks, unsafe_fns, unsafe_impls];
        table.add_row(std::iter::once(name.clone()).chain(numbers.map(ToString::to_string)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn sum(crates: &Crates, field: impl Fn(&Totals) -> u64) -> u64 {
    crates.values().map(field).sum()
}

/// Every file has a result and every result is in a total.
pub(crate) fn complete(crates: &Crates, mapped: &Mapped, files: u64) -> anyhow::Result<()> {
    ensure!(mapped.failed.is_empty(), "{} files have no result", mapped.failed.values().sum::<u64>());
    // More is possible: another Cargo may unpack sources meanwhile.
    ensure!(mapped.ok >= files, "there are {files} files but only {} results", mapped.ok);
    let (recorded, paths) = (sum(crates, |totals| totals.files), mapped.paths.len() as u64);
    ensure!(recorded == paths, "{paths} files have a result, but the agents recorded {recorded}");
    Ok(())
}

/// Nothing was lost and nothing was added.
pub(crate) fn same(before: &Crates, after: &Crates) -> anyhow::Result<()> {
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    if let Some(name) = changed.first() {
        let (then, now) = (before.get(*name), after.get(*name));
        bail!("{} totals changed, such as {name}: {then:?} before, {now:?} after", changed.len());
    }
    Ok(())
}

/// Says that nothing was lost.
#[expect(clippy::print_stdout, reason = "this is what the demo is for")]
pub(crate) fn survived(crates: usize, start: Duration) {
    println!("\nThe node was killed with SIGKILL and was ready again after {:.2} s.", start.as_secs_f64());
    println!("The totals of all {crates} crates are identical.");
}

/// What to try next.
#[expect(clippy::print_stdout, reason = "this is what the demo is for")]
pub(crate) fn next_steps(own_code: bool, kept: Option<&Path>) {
    println!("\nTry next:");
    if !own_code {
        println!("  cargo xtask demo --path DIR            audit your own code");
    }
    println!("  export PATH=\"{}:$PATH\"", crate::step::target().join("release").display());
    println!("  stride new hello && stride up          begin a project, run a node");
    println!("  stride deploy hello                    in another terminal: build, upload, see what can be called");
    if let Some(dir) = kept {
        println!("  stride up --data {}    look at the demo's data again", dir.join("data").display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(entries: &[(&str, u64, u64)]) -> Crates {
        let totals = |files, unsafe_blocks| Totals {
            files,
            unparsed: 0,
            lines: 10,
            functions: 1,
            unsafe_blocks,
            unsafe_fns: 0,
            unsafe_impls: 0,
        };
        entries.iter().map(|(name, files, blocks)| ((*name).to_owned(), totals(*files, *blocks))).collect()
    }

    fn mapped(ok: u64) -> Mapped {
        Mapped { ok, paths: (0..ok).map(|n| n.to_string()).collect(), ..Mapped::default() }
    }

    #[test]
    fn the_worst_crate_comes_first() {
        let table = table(&crates(&[("a", 1, 2), ("b", 1, 30), ("c", 1, 2)]));
        let order: Vec<_> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(order, ["crate", "b", "a", "c"]);
    }

    #[test]
    fn a_missing_result_or_record_fails_the_demo() {
        let two = crates(&[("a", 1, 0), ("b", 1, 0)]);
        assert!(complete(&two, &mapped(2), 2).is_ok());
        assert!(complete(&two, &mapped(2), 3).is_err(), "a file has no result");
        assert!(complete(&two, &mapped(3), 3).is_err(), "a result was not recorded");
        let failed = Mapped { failed: [("guest_trap".to_owned(), 1)].into(), ..mapped(2) };
        assert!(complete(&two, &failed, 2).is_err());
    }

    #[test]
    fn a_total_that_changed_or_went_away_fails_the_demo() {
        let before = crates(&[("a", 1, 2), ("b", 1, 3)]);
        assert!(same(&before, &before.clone()).is_ok());
        assert!(same(&before, &crates(&[("a", 1, 2)])).is_err());
        assert!(same(&before, &crates(&[("a", 1, 2), ("b", 2, 3)])).is_err());
    }
}
