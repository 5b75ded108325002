//! What people say to runs: `stride flow approve | refuse | event | move | cancel | rm`

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use stride_ids::Code;
use stride_sim::Clock;

use crate::{
    client::Client,
    commands::flow::target::{FlowOrRun, RunTarget},
    input::Data,
    output,
    report::Trouble,
};

/// How long a step is waited for that does not ask yet, and how often it is looked for.
const ABOUT_TO_ASK: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The run
    #[arg(value_name = "FLOW/RUN")]
    target: RunTarget,
    /// The step that asks, if several do
    step: Option<String>,
    /// Who consents
    #[arg(long, env = "USER", value_name = "NAME")]
    by: Option<String>,
    /// What comes with it, as JSON
    #[arg(long, value_name = "DATA | @FILE | -")]
    payload: Option<Data>,
}

#[derive(Debug, Args)]
pub(crate) struct Refuse {
    /// The run
    #[arg(value_name = "FLOW/RUN")]
    target: RunTarget,
    /// The step that asks, if several do
    step: Option<String>,
    /// Who refuses
    #[arg(long, env = "USER", value_name = "NAME")]
    by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Event {
    /// The run
    #[arg(value_name = "FLOW/RUN")]
    target: RunTarget,
    /// The event's name
    name: String,
    /// What it carries, as JSON
    #[arg(value_name = "DATA | @FILE | -", allow_negative_numbers = true)]
    payload: Option<Data>,
    /// What tells it from others: an event of the same id counts once
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run
    #[arg(value_name = "FLOW/RUN")]
    target: RunTarget,
}

#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The run
    #[arg(value_name = "FLOW/RUN")]
    target: RunTarget,
    /// To which version; without it, the one in force
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The flow, or a run that has ended
    #[arg(value_name = "FLOW | FLOW/RUN")]
    target: FlowOrRun,
}

fn value(data: Option<Data>) -> anyhow::Result<Value> {
    let Some(data) = data else { return Ok(Value::Null) };
    let none = |e: serde_json::Error| Trouble::usage("what comes with it is not JSON").why(e.to_string());
    Ok(serde_json::from_slice(&data.read()?).map_err(none)?)
}

/// Answers a step that asks. One that is about to ask is waited for: a run that has just begun is not there yet.
async fn answer(client: &Client, target: &RunTarget, said: &Value) -> anyhow::Result<()> {
    let clock = Clock::real();
    let until = clock.now() + ABOUT_TO_ASK;
    loop {
        let request = client.request(Method::POST, &target.of("approvals")).json(said);
        match client.send(request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Code::NotFound.as_str() && clock.now() < until => {
                super::status::status(client, target, 0).await?;
                clock.sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Approve {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let said = json!({"approve": true, "step": self.step, "by": self.by, "payload": value(self.payload)?});
        answer(client, &self.target, &said).await?;
        Ok(output::line(format_args!("approved; `stride flow status {}` shows how it goes on", self.target))?)
    }
}

impl Refuse {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let said = json!({"approve": false, "step": self.step, "by": self.by, "reason": self.reason});
        answer(client, &self.target, &said).await?;
        Ok(output::line("refused")?)
    }
}

impl Event {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let said = json!({"id": self.id, "name": self.name, "payload": value(self.payload)?});
        client.send(client.request(Method::POST, &self.target.of("events")).json(&said)).await?;
        Ok(output::line(format_args!("told {}", self.target))?)
    }
}

impl Move {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = client.request(Method::POST, &self.target.of("move"));
        let request = match self.version {
            Some(version) => request.query(&[("version", version)]),
            None => request,
        };
        let status: super::status::Status = client.json(request).await?;
        Ok(output::line(format_args!("{} goes on in version {}", self.target, status.version))?)
    }
}

impl Cancel {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let status = super::status::status(client, &self.target, 0).await?;
        if status.ended_ms.is_some() {
            let next = format!("`stride flow rm {}` removes it", self.target);
            return Err(Trouble::failed(format!("{} has ended: {}", self.target, status.state)).next(next).into());
        }
        client.send(client.request(Method::DELETE, &self.target.path())).await?;
        Ok(output::line(format_args!("cancelled {}", self.target))?)
    }
}

impl Rm {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let (path, name) = match &self.target {
            FlowOrRun::Flow(flow) => (vec!["flows", flow.as_str()], flow.to_string()),
            FlowOrRun::Run(run) => {
                if super::status::status(client, run, 0).await?.ended_ms.is_none() {
                    let next = format!("`stride flow cancel {run}` ends it");
                    return Err(Trouble::failed(format!("{run} still runs")).next(next).into());
                }
                (run.path(), run.to_string())
            }
        };
        client.send(client.request(Method::DELETE, &path)).await?;
        Ok(output::line(format_args!("removed {name}"))?)
    }
}
