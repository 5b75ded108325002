//! `stride flow run FLOW | FILE [INPUT]`

use std::path::PathBuf;

use clap::Args;
use reqwest::Method;
use stride_ids::Name;

use crate::{
    client::Client,
    commands::{
        call::BodyArgs,
        flow::{
            artefact::{self, Source},
            status::{Error, Status, status},
            target::RunTarget,
        },
    },
    output,
    report::{Said, Trouble},
};

/// How long one request waits for the end of a run. In between, what the run does is said.
const WAIT_MS: u64 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The flow, or a file with one, which is deployed first
    #[arg(value_name = "FLOW | FILE")]
    flow: String,
    /// Its input
    #[command(flatten)]
    input: BodyArgs,
    /// What to call the run; the same name with the same input is the same run
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
    /// Print how it ended as JSON, and not only its result
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let flow = self.flow(client).await?;
        let request = client.request(Method::POST, &["flows", flow.as_str(), "runs"]);
        let request = match &self.run {
            Some(run) => request.query(&[("run", run)]),
            None => request,
        };
        let begun: Status = client.json(self.input.onto(request)?).await?;
        let target = RunTarget { flow, run: begun.run.clone() };
        if self.detach {
            return if self.json { output::json(&begun) } else { Ok(output::line(format_args!("{target}"))?) };
        }
        if begun.ended_ms.is_none() {
            eprintln!("flow: {target} runs");
        }
        let ended = follow(client, &target, begun).await?;
        if self.json {
            output::json(&ended)?;
            return if ended.state == "done" { Ok(()) } else { Err(Said.into()) };
        }
        match (ended.state.as_str(), ended.error) {
            ("done", _) => Ok(output::line(serde_json::to_string(&ended.result)?)?),
            (_, Some(Error { code, message })) => {
                let next = format!("`stride flow status {target}` shows how far it came");
                Err(Trouble::failed(format!("{target} has failed ({code})")).why(message).next(next).into())
            }
            (state, None) => Err(Trouble::failed(format!("{target} was {state}")).into()),
        }
    }

    /// The flow that is meant, deployed if it is a file.
    async fn flow(&self, client: &Client) -> anyhow::Result<Name> {
        let file = PathBuf::from(&self.flow);
        if !file.is_file() {
            let none = |e: stride_ids::InvalidName| {
                Trouble::usage(format!("`{}` is neither a file nor the name of a flow", self.flow)).why(e.to_string())
            };
            return Ok(Name::new(&self.flow).map_err(none)?);
        }
        let source = Source { file, states: None, resources: None };
        let deployed = artefact::deploy(client, source.read()?, &[]).await?;
        eprintln!("flow: {}, version {}", deployed.name, deployed.version);
        Ok(Name::new(&deployed.name)?)
    }
}

/// Says what a run waits for until it has ended. Who leaves early leaves it running.
async fn follow(client: &Client, target: &RunTarget, mut now: Status) -> anyhow::Result<Status> {
    let mut said = Vec::new();
    while now.ended_ms.is_none() {
        let waits: Vec<_> = now.steps.iter().filter(|step| step.does != "call").cloned().collect();
        for step in waits.iter().filter(|step| !said.contains(*step)) {
            eprintln!("flow: {}", output::printable(&step.says(target)));
        }
        said = waits;
        now = tokio::select! {
            status = status(client, target, WAIT_MS) => status?,
            signal = tokio::signal::ctrl_c() => {
                signal?;
                let next = format!("`stride flow status {target}` shows it, `stride flow cancel {target}` ends it");
                return Err(Trouble::failed(format!("{target} goes on by itself")).next(next).into());
            }
        };
    }
    Ok(now)
}
