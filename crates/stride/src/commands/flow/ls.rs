//! `stride flow ls [FLOW]`

use std::io;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use stride_ids::Name;

use crate::{
    client::Client,
    commands::flow::{artefact::Deployed, status::Status},
    output,
};

/// How many runs one request asks for.
const PAGE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The flow whose runs to list
    #[arg(value_name = "FLOW")]
    flow: Option<Name>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Flows {
    flows: Vec<Deployed>,
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<Status>,
    next: Option<String>,
}

impl Ls {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match &self.flow {
            None => self.flows(client).await,
            Some(flow) => self.runs(client, flow).await,
        }
    }

    async fn flows(&self, client: &Client) -> anyhow::Result<()> {
        let Flows { flows } = client.json(client.request(Method::GET, &["flows"])).await?;
        if self.json {
            return output::json(&flows);
        }
        let mut table = output::table(&["FLOW", "VERSION", "DEPLOYED"]);
        for Deployed { name, version, deployed_ms, .. } in flows {
            table.add_row([name, version.to_string(), output::time(deployed_ms)]);
        }
        Ok(output::print(&table)?)
    }

    async fn runs(&self, client: &Client, flow: &Name) -> anyhow::Result<()> {
        let mut array = self.json.then(|| output::Array::begin(io::stdout().lock()));
        let mut table = output::table(&["RUN", "STATE", "VERSION", "BEGAN", "WAITS"]);
        let mut after = String::new();
        loop {
            let request = client.request(Method::GET, &["flows", flow.as_str(), "runs"]);
            let request = request.query(&[("limit", PAGE.to_string()), ("after", after)]);
            let Runs { runs, next } = client.json(request).await?;
            for status in runs {
                if let Some(array) = &mut array {
                    array.push(&status)?;
                    continue;
                }
                let waits: Vec<_> =
                    status.steps.iter().take(3).map(|step| format!("{} {}", step.step, step.does)).collect();
                let Status { flow, run, state, version, started_ms, .. } = status;
                let run = format!("{flow}/{run}");
                table.add_row([run, state, version.to_string(), output::time(started_ms), waits.join(", ")]);
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        match array {
            Some(array) => Ok(array.end()?),
            None => Ok(output::print(&table)?),
        }
    }
}
