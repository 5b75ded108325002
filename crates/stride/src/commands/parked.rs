//! `stride agents parked [TYPE/KEY]` and `stride agents resume TYPE/KEY`

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, commands::deployments::Cause, output, target::AgentTarget};

/// How many messages are listed at most.
const LIMIT: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Parked {
    /// Only those of this agent, each with its whole cause
    #[arg(value_name = "TYPE/KEY")]
    target: Option<AgentTarget>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
}

#[derive(Deserialize)]
struct Page {
    parked: Vec<Message>,
    more: bool,
}

#[derive(Serialize, Deserialize)]
struct Message {
    agent: String,
    message: String,
    method: String,
    from: Option<String>,
    attempts: u32,
    cause: Cause,
    version: Option<String>,
    at: u64,
}

#[derive(Deserialize)]
struct Resumed {
    resumed: usize,
}

impl Parked {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let agent = self.target.as_ref().map(|target| format!("{}/{}", target.kind, target.key));
        let request = client.request(Method::GET, &["parked"]).query(&[("agent", &agent)]);
        let page: Page = client.json(request.query(&[("limit", LIMIT)])).await?;
        if page.more {
            eprintln!("only the first {LIMIT} are listed; name an agent to see its own");
        }
        if self.json {
            return output::json(&page.parked);
        }
        if agent.is_some() {
            return Ok(page.parked.iter().try_for_each(whole)?);
        }
        let header = ["AGENT", "MESSAGE", "METHOD", "FROM", "ATTEMPTS", "CODE", "CAUSE", "VERSION", "SINCE"];
        let mut table = output::table(&header);
        for parked in &page.parked {
            table.add_row(row(parked));
        }
        Ok(output::print(&table)?)
    }
}

/// One message as a row, with the beginning of its cause.
fn row(parked: &Message) -> [String; 9] {
    let Message { agent, message, method, from, attempts, cause, version, at } = parked;
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), output::printable);
    [
        output::printable(agent),
        message.clone(),
        output::printable(method),
        or_none(from),
        attempts.to_string(),
        cause.code.clone(),
        output::printable(cause.message.lines().next().unwrap_or_default()),
        or_none(version),
        output::time(*at),
    ]
}

/// One message with all that is known of it. The cause ends in the guest's backtrace, if there is one.
fn whole(parked: &Message) -> std::io::Result<()> {
    let [agent, message, method, from, attempts, code, _, version, since] = row(parked);
    let what = [
        ("agent", agent),
        ("message", message),
        ("method", method),
        ("from", from),
        ("attempts", attempts),
        ("version", version),
        ("since", since),
        ("code", code),
    ];
    for (name, value) in what {
        output::line(format_args!("{name:<12} {value}"))?;
    }
    for (at, text) in parked.cause.message.lines().enumerate() {
        output::line(format_args!("{:<12} {}", if at == 0 { "cause" } else { "" }, output::printable(text)))?;
    }
    Ok(())
}

impl Resume {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let AgentTarget { kind, key } = &self.target;
        let request = client.request(Method::POST, &["parked", kind.as_str(), key.as_str(), "resume"]);
        let Resumed { resumed } = client.json(request).await?;
        let messages = if resumed == 1 { "message is" } else { "messages are" };
        Ok(output::line(format_args!("{resumed} {messages} tried again for {kind}/{key}"))?)
    }
}
