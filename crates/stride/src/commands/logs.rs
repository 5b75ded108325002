//! `stride logs [--follow]`

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use stride_ids::Name;
use stride_sim::Clock;

use crate::{client::Client, output};

/// How many lines one request asks for.
const PAGE: usize = 1_000;
/// How often `--follow` looks for new lines.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Only what this component prints
    #[arg(long, value_name = "NAME")]
    component: Option<Name>,
    /// Only lines after this sequence number
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: u64,
    /// Keep going as lines come
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Page {
    lines: Vec<Line>,
    next: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    seq: u64,
    at: u64,
    component: String,
    call: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    stream: String,
    text: String,
}

impl Logs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let clock = Clock::real();
        let mut after = self.after;
        loop {
            let request = client.request(Method::GET, &["logs"]).query(&[("limit", PAGE)]).query(&[("after", after)]);
            let request = request.query(&[("component", self.component.as_ref().map(Name::as_str))]);
            let page: Page = client.json(request).await?;
            for line in &page.lines {
                if self.json {
                    output::line(serde_json::to_string(line)?)?;
                } else {
                    output::line(readable(line))?;
                }
            }
            after = page.next;
            if page.lines.is_empty() {
                if !self.follow {
                    return Ok(());
                }
                clock.sleep(FOLLOW_EVERY).await;
            }
        }
    }
}

fn readable(line: &Line) -> String {
    let Line { at, component, call, stream, text, .. } = line;
    let at = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(*at));
    format!("{at} {component} {call} {stream} | {}", output::printable(text.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_who_which_call_and_what() {
        let text =
            r#"{"seq":1,"at":1700000000123,"component":"counter","call":"call-1","stream":"stdout","text":"hi\n"}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        assert_eq!(readable(&line), "2023-11-14T22:13:20.123Z counter call-1 stdout | hi");
    }
}
