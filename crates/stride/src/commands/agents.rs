//! `stride agents ls [TYPE] | show TYPE/KEY | rm TYPE/KEY | parked [TYPE/KEY] | resume TYPE/KEY`

use std::{collections::BTreeSet, fmt, io, time::Duration};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use stride_ids::Name;

use crate::{
    client::Client,
    commands::{
        deployments::deployed,
        parked::{Parked, Resume},
    },
    output,
    target::AgentTarget,
};

/// How many agents one request asks for.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// List agents, of one type or of all deployed types
    Ls(Ls),
    /// Show one agent
    Show(Show),
    /// Remove an agent and its state, for good
    Rm(Rm),
    /// List the messages that failed too often and are kept
    Parked(Parked),
    /// Take up the parked messages of an agent again, once what made them fail is repaired
    Resume(Resume),
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The type
    #[arg(value_name = "TYPE")]
    kind: Option<Name>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
}

#[derive(Deserialize)]
struct Page {
    agents: Vec<Keyed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Keyed {
    key: String,
}

#[derive(Serialize)]
struct Listed<'a> {
    r#type: &'a str,
    key: &'a str,
}

#[derive(Deserialize)]
struct Timer {
    name: String,
    schedule: Schedule,
    due: u64,
    method: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Schedule {
    At(u64),
    Every(u64),
    Cron(String),
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, schedule, due, method } = self;
        let schedule = match schedule {
            Schedule::At(at) => format!("at {}", output::time(*at)),
            Schedule::Every(period) => format!("every {}", humantime::format_duration(Duration::from_millis(*period))),
            Schedule::Cron(expression) => format!("cron {}", output::printable(expression)),
        };
        write!(f, "{}: {schedule}, next {}, method {method}", output::printable(name), output::time(*due))
    }
}

impl Agents {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Ls(ls) => ls.run(client).await,
            Self::Show(show) => show.run(client).await,
            Self::Rm(rm) => rm.run(client).await,
            Self::Parked(parked) => parked.run(client).await,
            Self::Resume(resume) => resume.run(client).await,
        }
    }
}

impl Ls {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let kinds = match self.kind {
            Some(kind) => BTreeSet::from([kind.to_string()]),
            None => deployed(client).await?.into_iter().flat_map(|d| d.agents).map(|agent| agent.kind).collect(),
        };
        let mut array = self.json.then(|| output::Array::begin(io::stdout()));
        for kind in &kinds {
            let mut after: Option<String> = None;
            loop {
                let request = client.request(Method::GET, &["agents", kind]).query(&[("limit", PAGE)]);
                let page: Page = client.json(request.query(&[("after", &after)])).await?;
                for Keyed { key } in &page.agents {
                    match &mut array {
                        Some(array) => array.push(&Listed { r#type: kind, key })?,
                        None => output::line(format_args!("{kind}/{}", output::printable(key)))?,
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        array.map_or(Ok(()), |array| Ok(array.end()?))
    }
}

impl Show {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let status: serde_json::Map<String, serde_json::Value> =
            client.json(client.request(Method::GET, &self.target.path())).await?;
        if self.json {
            return output::json(&status);
        }
        for (name, value) in status {
            if name == "timers" {
                let timers: Vec<Timer> = serde_json::from_value(value)?;
                timers.iter().try_for_each(|timer| output::line(format_args!("{:<12} {timer}", "timer")))?;
                continue;
            }
            let value = value.as_str().map_or_else(|| value.to_string(), output::printable);
            output::line(format_args!("{name:<12} {value}"))?;
        }
        Ok(())
    }
}

impl Rm {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        client.send(client.request(Method::DELETE, &self.target.path())).await?;
        Ok(output::line(format_args!("removed {}/{}", self.target.kind, self.target.key))?)
    }
}
