//! `stride flow status FLOW/RUN`, and a run as the node tells it.

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{client::Client, commands::flow::target::RunTarget, output};

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The run
    #[arg(value_name = "FLOW/RUN")]
    target: RunTarget,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a run stands.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) flow: String,
    pub(crate) run: String,
    pub(crate) version: u64,
    pub(crate) state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Error>,
    pub(crate) started_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_ms: Option<u64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) values: Vec<(String, Value)>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Error {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What a run waits for.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) does: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due_ms: Option<u64>,
}

impl Step {
    /// What it is waited for, in a few words.
    pub(crate) fn says(&self, target: &RunTarget) -> String {
        let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let question = self.question.as_ref().map(said).unwrap_or_default();
        let name = self.step.rsplit('/').next().unwrap_or_default();
        let text = match self.does.as_str() {
            "approval" => {
                let of = self.of.as_ref().map(|of| format!(" of {}", said(of))).unwrap_or_default();
                format!("asks{of}: {question} (stride flow approve {target} {name})")
            }
            "event" => format!("waits for the event {question} (stride flow event {target} {question})"),
            "timer" => format!("waits until {}", output::time(self.due_ms.unwrap_or_default())),
            "subflow" => format!("runs the flow {question}"),
            does => does.to_owned(),
        };
        format!("{} {text}", self.step)
    }
}

/// How a run stands now, or once it has ended if that is within so many milliseconds.
pub(crate) async fn status(client: &Client, target: &RunTarget, wait_ms: u64) -> anyhow::Result<Status> {
    client.json(client.request(Method::GET, &target.path()).query(&[("wait_ms", wait_ms)])).await
}

impl Show {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let status = status(client, &self.target, 0).await?;
        if self.json {
            return output::json(&status);
        }
        let Status { flow, run, version, state, .. } = &status;
        output::line(format_args!("{flow}/{run}: {state}, version {version}"))?;
        output::line(format_args!("  began  {}", output::time(status.started_ms)))?;
        if let Some(ended) = status.ended_ms {
            output::line(format_args!("  ended  {}", output::time(ended)))?;
        }
        for (name, value) in &status.values {
            output::line(format_args!("  {name} = {}", output::printable(&value.to_string())))?;
        }
        for step in &status.steps {
            output::line(format_args!("  {}", output::printable(&step.says(&self.target))))?;
        }
        if let Some(Error { code, message }) = &status.error {
            output::line(format_args!("  error  {code}: {}", output::printable(message)))?;
        }
        if let Some(result) = &status.result {
            output::line(format_args!("  result {}", output::printable(&result.to_string())))?;
        }
        Ok(())
    }
}
