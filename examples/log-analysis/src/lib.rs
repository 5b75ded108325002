//! Reads lines of logs: those of web servers in the common format, and those that begin with a time, as package managers and system services write them.
//!
//! One pure function; what is counted, and how, is said by the flow `logs.json`.

use stride::prelude::*;

#[cfg(test)]
mod tests;

/// What a line tells of.
#[derive(Debug, PartialEq, Serialize)]
struct Entry {
    /// Who it is about: a host or a package. It may be empty.
    who: String,
    /// What happened: `GET 200`, `status installed`, or the words behind the time.
    what: String,
    /// The day and the hour, as it is written in the line.
    hour: String,
}

/// What a line tells of. Null if it is no line of a log.
#[stride::function]
fn entry(line: String) -> Option<Entry> {
    common(&line).or_else(|| timed(&line))
}

/// `host - - [24/Jun/2025:14:36:25 +0000] "GET /a HTTP/1.1" 200 17`
fn common(line: &str) -> Option<Entry> {
    let (who, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (time, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let method = request.split(' ').next()?;
    let status = rest.split(' ').next().filter(|status| status.len() == 3)?;
    let [day, hour] = time.splitn(3, ':').take(2).collect::<Vec<_>>().try_into().ok()?;
    Some(Entry { who: who.to_owned(), what: format!("{method} {status}"), hour: format!("{day} {hour}") })
}

/// `2025-06-24 14:36:25 status installed libc6:amd64 2.36`, also with a `T` between day and time.
fn timed(line: &str) -> Option<Entry> {
    let is_digit = |at: usize| line.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let is_time = [0, 3, 5, 8, 11, 12].into_iter().all(is_digit) && line.as_bytes()[4] == b'-';
    let (day, hour) = (line.get(..10)?, line.get(11..13)?);
    let (_, rest) = line.get(13..)?.split_once(' ')?;
    let words: Vec<&str> = rest.split(' ').collect();
    let (what, who) = match words.as_slice() {
        ["status", state, package, ..] => (format!("status {state}"), *package),
        [action, package, ..] => ((*action).to_owned(), *package),
        _ => (rest.to_owned(), ""),
    };
    is_time.then(|| Entry { who: who.to_owned(), what, hour: format!("{day} {hour}") })
}
