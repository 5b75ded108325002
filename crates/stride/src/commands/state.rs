//! `stride state ls | cat | put | rm`: an agent's state, without running its code.

use clap::{Args, Subcommand};
use reqwest::{Method, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    client::Client,
    input::Data,
    output,
    target::{AgentTarget, segment},
};

/// How many entries one request asks for.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Show the typed state and list the entries of the keyed state
    Ls(Ls),
    /// Print the typed state, or one entry as it is stored
    Cat(Cat),
    /// Replace the typed state, or one entry
    #[command(override_usage = "stride state put TYPE/KEY [STATE-KEY] <DATA | @FILE | ->")]
    Put(Put),
    /// Remove one entry
    Rm(Rm),
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// List only entries whose keys begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// The entry; without it, the typed state
    #[arg(value_name = "STATE-KEY", value_parser = segment)]
    state_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// The entry (without it, the typed state) and the new value
    #[arg(value_name = "STATE-KEY> <DATA | @FILE | -", num_args = 1..=2, required = true, allow_negative_numbers = true)]
    key_and_data: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The agent; `stride agents rm` removes all of it
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// The entry
    #[arg(value_name = "STATE-KEY", value_parser = segment)]
    state_key: String,
}

#[derive(Serialize, Deserialize)]
struct Listing {
    state: Value,
    entries: Vec<Entry>,
    #[serde(skip_serializing)]
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    bytes: u64,
}

impl State {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Ls(ls) => ls.run(client).await,
            Self::Cat(cat) => cat.run(client).await,
            Self::Put(put) => put.run(client).await,
            Self::Rm(rm) => rm.run(client).await,
        }
    }
}

/// The path of an agent's state, or of one entry.
fn path<'a>(target: &'a AgentTarget, state_key: Option<&'a str>) -> Vec<&'a str> {
    target.path().into_iter().chain(["state"]).chain(state_key).collect()
}

async fn page(
    client: &Client,
    target: &AgentTarget,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> anyhow::Result<Listing> {
    let request = client.request(Method::GET, &path(target, None));
    let request = request.query(&[("prefix", prefix)]).query(&[("after", after)]).query(&[("limit", limit)]);
    client.json(request).await
}

impl Ls {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut page = page(client, &self.target, &self.prefix, None, PAGE).await?;
        // The document has a head, so a page follows a page inside one listing instead of an array of its own.
        if self.json {
            while let Some(after) = page.next.take() {
                let more = self::page(client, &self.target, &self.prefix, Some(&after), PAGE).await?;
                page.entries.extend(more.entries);
                page.next = more.next;
            }
            return output::json(&page);
        }
        output::line(format_args!("state {}", output::printable(&page.state.to_string())))?;
        loop {
            for entry in &page.entries {
                output::line(format_args!("{:>10} {}", entry.bytes, output::printable(&entry.key)))?;
            }
            let Some(after) = page.next else { return Ok(()) };
            page = self::page(client, &self.target, &self.prefix, Some(&after), PAGE).await?;
        }
    }
}

impl Cat {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        if let Some(state_key) = &self.state_key {
            let request = client.request(Method::GET, &path(&self.target, Some(state_key)));
            return Ok(output::reply(&client.reply(request).await?)?);
        }
        Ok(output::line(page(client, &self.target, "", None, 1).await?.state)?)
    }
}

impl Put {
    async fn run(mut self, client: &Client) -> anyhow::Result<()> {
        let data: Data = self.key_and_data.pop().expect("clap demands one").parse()?;
        let state_key = self.key_and_data.pop();
        if let Some(state_key) = &state_key {
            segment(state_key).map_err(crate::report::Trouble::usage)?;
        }
        let request = client.request(Method::PUT, &path(&self.target, state_key.as_deref()));
        client.send(request.header(CONTENT_TYPE, "application/json").body(data.read()?)).await?;
        Ok(())
    }
}

impl Rm {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        client.send(client.request(Method::DELETE, &path(&self.target, Some(&self.state_key)))).await?;
        Ok(())
    }
}
