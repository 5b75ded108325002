//! `stride flow deploy FILE`, and how a flow is read from a file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use stride_flows::NodeName;
use stride_states::Resources;

use crate::{client::Client, input::Data, output, report::Trouble};

/// Where a flow is written down.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// A JSON file, a Python file that prints one, or - for stdin
    #[arg(value_name = "FILE | -")]
    pub(crate) file: PathBuf,
    /// It is a state machine in Amazon States Language, which has no name of its own: call it so
    #[arg(long, value_name = "NAME")]
    pub(crate) states: Option<String>,
    /// A JSON file that says which function a resource of the state machine is: a record from resource to COMPONENT/FUNCTION
    #[arg(long, value_name = "FILE", requires = "states")]
    pub(crate) resources: Option<PathBuf>,
}

impl Source {
    /// The flow as JSON.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = bytes(&self.file)?;
        let Some(name) = &self.states else { return Ok(bytes) };
        let wrong = |why: String| {
            Trouble::failed(format!("{} cannot become a flow", self.file.display()))
                .why(why)
                .next("docs/states-language.md says what is covered")
        };
        let resources = self.resources.as_deref().map(resources).transpose()?.unwrap_or_default();
        let mut draft = stride_states::read(&bytes, &resources).map_err(|problems| wrong(problems.to_string()))?;
        draft.name = NodeName::new(name).map_err(|e| wrong(e.to_string()))?;
        Ok(serde_json::to_vec(&draft)?)
    }
}

fn resources(file: &Path) -> anyhow::Result<Resources> {
    let wrong = |e: serde_json::Error| {
        let what = format!("{} does not say which resource is which function", file.display());
        Trouble::failed(what).why(e.to_string()).next("write {\"RESOURCE\": \"COMPONENT/FUNCTION\", ...}")
    };
    let all: BTreeMap<String, String> = serde_json::from_slice(&bytes(file)?).map_err(wrong)?;
    Ok(all.into_iter().collect())
}

fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        return Data::Stdin.read();
    }
    if file.extension().is_none_or(|extension| extension != "py") {
        return Data::File(file.to_owned()).read();
    }
    // What it says beside the flow is for whoever wrote it.
    let ran = Command::new("python3").arg(file).stderr(std::process::Stdio::inherit()).output();
    let ran = ran.with_context(|| format!("cannot run python3 {}", file.display()))?;
    if !ran.status.success() {
        let what = format!("python3 {} has failed, so there is no flow", file.display());
        return Err(Trouble::failed(what).why(format!("it ended with {}", ran.status)).into());
    }
    Ok(ran.stdout)
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    source: Source,
    /// Switch off a pass of the optimizer, as often as there are any
    #[arg(long, value_name = "PASS")]
    without: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A flow that is kept.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Deployed {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) digest: String,
    pub(crate) deployed_ms: u64,
    pub(crate) without: Vec<String>,
}

/// Has the node keep a flow.
pub(crate) async fn deploy(client: &Client, artefact: Vec<u8>, without: &[String]) -> anyhow::Result<Deployed> {
    let request = client.request(Method::POST, &["flows"]).query(&[("without", without.join(","))]).body(artefact);
    client.json(request).await
}

impl Deploy {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let deployed = deploy(client, self.source.read()?, &self.without).await?;
        if self.json {
            return output::json(&deployed);
        }
        let Deployed { name, version, .. } = &deployed;
        output::line(format_args!("flow {name}, version {version}"))?;
        Ok(output::line(format_args!("  stride flow run {name} INPUT"))?)
    }
}
