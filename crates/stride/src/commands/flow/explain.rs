//! `stride flow explain FLOW | FLOW/RUN | FILE`

use std::path::PathBuf;

use clap::Args;
use reqwest::Method;

use crate::{
    client::Client,
    commands::flow::{artefact::Source, target::FlowOrRun},
    output,
    report::Trouble,
};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A flow, a run, or a file with a flow that nobody has deployed
    #[arg(value_name = "FLOW | FLOW/RUN | FILE")]
    target: String,
    /// Switch off a pass of the optimizer, as often as there are any
    #[arg(long, value_name = "PASS")]
    without: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a picture, as SVG
    #[arg(long, conflicts_with = "json")]
    svg: bool,
}

impl Explain {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let format = match (self.json, self.svg) {
            (true, _) => "json",
            (_, true) => "svg",
            _ => "text",
        };
        let without = self.without.join(",");
        let file = PathBuf::from(&self.target);
        let request = if file.is_file() {
            let artefact = Source { file, states: None, resources: None }.read()?;
            let request = client.request(Method::POST, &["flows"]);
            request.query(&[("explain", format), ("without", &without)]).body(artefact)
        } else {
            match self.target.parse().map_err(|why: String| Trouble::usage(why))? {
                FlowOrRun::Flow(flow) => client
                    .request(Method::GET, &["flows", flow.as_str(), "plan"])
                    .query(&[("format", format), ("without", &without)]),
                FlowOrRun::Run(run) if without.is_empty() => {
                    client.request(Method::GET, &run.of("plan")).query(&[("format", format)])
                }
                FlowOrRun::Run(_) => {
                    return Err(Trouble::usage("a run has the plan that it began with; leave out --without").into());
                }
            }
        };
        Ok(output::reply(&client.reply(request).await?)?)
    }
}
