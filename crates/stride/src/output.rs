//! What commands print on stdout. Listings are a table for people and, with `--json`, one JSON array, written as it
//! comes so that a long listing needs no memory.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, UNIX_EPOCH},
};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::client::Reply;

/// Prints a reply's bytes. Text gets a newline at its end, everything else is left as it is.
pub(crate) fn reply(reply: &Reply) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&reply.body)?;
    let text = reply.is_json() || reply.content_type.starts_with("text/");
    if text && !reply.body.is_empty() && !reply.body.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints one line.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(serde_json::to_string_pretty(value)?)?)
}

/// A table without lines, so that `cut` and `awk` can read it.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

/// Prints a table.
pub(crate) fn print(table: &Table) -> io::Result<()> {
    for line in table.lines() {
        self::line(line.trim())?;
    }
    Ok(())
}

/// A JSON array that is written item by item.
#[derive(Debug)]
pub(crate) struct Array<W: io::Write> {
    out: W,
    empty: bool,
}

impl<W: io::Write> Array<W> {
    pub(crate) fn begin(out: W) -> Self {
        Self { out, empty: true }
    }

    pub(crate) fn push(&mut self, item: &impl Serialize) -> anyhow::Result<()> {
        self.out.write_all(if self.empty { b"[\n  " } else { b",\n  " })?;
        self.empty = false;
        Ok(serde_json::to_writer(&mut self.out, item)?)
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        self.out.write_all(if self.empty { b"[]\n" } else { b"\n]\n" })?;
        self.out.flush()
    }
}

/// A time as people read it, from milliseconds since 1970.
pub(crate) fn time(millis: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(millis)) {
        // Four digits are all that the format has for a year.
        Some(time) if millis < 253_402_300_800_000 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => millis.to_string(),
    }
}

/// Makes text of a stranger safe to show: on a terminal, control characters are shown instead of obeyed.
pub(crate) fn printable(text: &str) -> String {
    if io::stdout().is_terminal() { escape(text) } else { text.to_owned() }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(items: &[u8]) -> String {
        let mut bytes = Vec::new();
        let mut array = Array::begin(&mut bytes);
        items.iter().for_each(|item| array.push(item).unwrap());
        array.end().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_array_is_one_json_document_however_many_items_it_has() {
        for items in [&[][..], &[1], &[1, 2, 3]] {
            assert_eq!(serde_json::from_str::<Vec<u8>>(&array(items)).unwrap(), items);
        }
    }

    #[test]
    fn a_time_is_read_as_a_date_and_one_past_all_dates_as_a_number() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn control_characters_are_shown_instead_of_obeyed() {
        assert_eq!(escape("a\tb\u{1b}[2Jc"), "a\tb\\u{1b}[2Jc");
    }
}
