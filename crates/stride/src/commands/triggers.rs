//! `stride triggers ls | pause NAME | resume NAME | dead NAME | replay NAME | drop NAME`, where NAME is COMPONENT/TRIGGER

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, commands::deployments::Cause, output, target::TriggerTarget};

/// How many dead letters one request asks for: they may be large.
const PAGE: usize = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum Triggers {
    /// List triggers, with what waits and what could not be delivered
    Ls(Ls),
    /// Have events wait instead of being delivered
    Pause(One),
    /// Have events delivered again, those that wait first
    Resume(One),
    /// List the events that could not be delivered, with their causes
    Dead(Dead),
    /// Have dead letters delivered again, once what made them fail is repaired
    Replay(Letters),
    /// Forget dead letters, for good
    Drop(Letters),
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The trigger
    #[arg(value_name = "COMPONENT/TRIGGER")]
    target: TriggerTarget,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dead {
    #[command(flatten)]
    one: One,
}

#[derive(Debug, Args)]
pub(crate) struct Letters {
    #[command(flatten)]
    one: One,
    /// Only the one of this number; all without it
    #[arg(long, value_name = "NUMBER")]
    letter: Option<u64>,
}

#[derive(Deserialize)]
struct List {
    triggers: Vec<Trigger>,
}

#[derive(Serialize, Deserialize)]
struct Trigger {
    component: String,
    trigger: String,
    source: Option<String>,
    target: Option<String>,
    state: String,
    why: Option<String>,
    waiting: u64,
    dead: u64,
    delivered: u64,
    filtered: u64,
    last_at: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    letters: Vec<Letter>,
    more: bool,
}

#[derive(Serialize, Deserialize)]
struct Letter {
    number: u64,
    event: serde_json::Value,
    attempts: u32,
    cause: Cause,
    at: u64,
}

/// What came of one command, as `--json` prints it.
#[derive(Serialize)]
struct Done<'a> {
    component: &'a str,
    trigger: &'a str,
    #[serde(flatten)]
    what: serde_json::Value,
}

impl Triggers {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Ls(ls) => ls.run(client).await,
            Self::Pause(one) => one.set(client, "pause", "paused").await,
            Self::Resume(one) => one.set(client, "resume", "running").await,
            Self::Dead(Dead { one }) => one.dead(client).await,
            Self::Replay(letters) => letters.run(client, Method::POST, "replay", "replayed").await,
            Self::Drop(letters) => letters.run(client, Method::DELETE, "dead", "dropped").await,
        }
    }
}

impl Ls {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let List { triggers } = client.json(client.request(Method::GET, &["triggers"])).await?;
        if self.json {
            return output::json(&triggers);
        }
        let header =
            ["TRIGGER", "SOURCE", "TARGET", "STATE", "DELIVERED", "FILTERED", "WAITING", "DEAD", "LAST", "WHY"];
        let mut table = output::table(&header);
        for trigger in &triggers {
            table.add_row(row(trigger));
        }
        Ok(output::print(&table)?)
    }
}

fn row(trigger: &Trigger) -> [String; 10] {
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), output::printable);
    [
        format!("{}/{}", trigger.component, trigger.trigger),
        or_none(&trigger.source),
        or_none(&trigger.target),
        trigger.state.clone(),
        trigger.delivered.to_string(),
        trigger.filtered.to_string(),
        trigger.waiting.to_string(),
        trigger.dead.to_string(),
        trigger.last_at.map_or_else(|| "-".to_owned(), output::time),
        or_none(&trigger.why),
    ]
}

impl One {
    fn path(&self, last: &'static str) -> [&str; 4] {
        ["triggers", self.target.component.as_str(), self.target.trigger.as_str(), last]
    }

    fn done(&self, what: serde_json::Value, line: impl std::fmt::Display) -> anyhow::Result<()> {
        let (component, trigger) = (self.target.component.as_str(), self.target.trigger.as_str());
        match self.json {
            true => output::json(&Done { component, trigger, what }),
            false => Ok(output::line(line)?),
        }
    }

    async fn set(self, client: &Client, method: &'static str, state: &str) -> anyhow::Result<()> {
        client.send(client.request(Method::POST, &self.path(method))).await?;
        self.done(serde_json::json!({"state": state}), format_args!("{} is {state}", self.target))
    }

    async fn dead(self, client: &Client) -> anyhow::Result<()> {
        let mut array = self.json.then(|| output::Array::begin(std::io::stdout()));
        let mut after: Option<u64> = None;
        loop {
            let request = client.request(Method::GET, &self.path("dead")).query(&[("limit", PAGE)]);
            let page: Page = client.json(request.query(&[("after", &after)])).await?;
            for letter in &page.letters {
                match &mut array {
                    Some(array) => array.push(letter)?,
                    None => show(letter)?,
                }
            }
            after = page.letters.last().map(|letter| letter.number);
            if !page.more {
                return array.map_or(Ok(()), |array| Ok(array.end()?));
            }
        }
    }
}

/// One dead letter: its number to name it by, why it is dead, and the event.
fn show(letter: &Letter) -> std::io::Result<()> {
    let Letter { number, event, attempts, cause, at } = letter;
    let why = output::printable(cause.message.lines().next().unwrap_or_default());
    output::line(format_args!("{number}  {}  {attempts} attempts  {}: {why}", output::time(*at), cause.code))?;
    output::line(format_args!("    {}", output::printable(&event.to_string())))
}

impl Letters {
    async fn run(self, client: &Client, method: Method, path: &'static str, done: &str) -> anyhow::Result<()> {
        let request = client.request(method, &self.one.path(path)).query(&[("letter", self.letter)]);
        let what: serde_json::Value = client.json(request).await?;
        let count = what[done].as_u64().unwrap_or_default();
        let letters = if count == 1 { "letter is" } else { "letters are" };
        let line = format!("{count} dead {letters} {done} of {}", self.one.target);
        self.one.done(what, line)
    }
}
