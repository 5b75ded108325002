//! `stride deployments`, and the shape of a deployment.

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, output};

#[derive(Debug, Args)]
pub(crate) struct Deployments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a node says about a deployed component.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) component: String,
    pub(crate) version: String,
    pub(crate) functions: Vec<String>,
    pub(crate) agents: Vec<AgentType>,
    pub(crate) created_at: u64,
    pub(crate) replaced: Option<Replaced>,
    pub(crate) pure: bool,
    pub(crate) impure_because: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
}

/// The deployment that was in force before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Replaced {
    pub(crate) id: String,
    pub(crate) version: String,
}

/// Agents that stay with the version before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    agents: u64,
    example: String,
    cause: Cause,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cause {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AgentType {
    pub(crate) kind: String,
    pub(crate) methods: Vec<AgentMethod>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AgentMethod {
    pub(crate) name: String,
    pub(crate) read_only: bool,
}

/// Everything that is deployed.
pub(crate) async fn deployed(client: &Client) -> anyhow::Result<Vec<Deployment>> {
    #[derive(Deserialize)]
    struct List {
        deployments: Vec<Deployment>,
    }
    let list: List = client.json(client.request(Method::GET, &["deployments"])).await?;
    Ok(list.deployments)
}

impl Deployments {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let deployments = deployed(client).await?;
        if self.json {
            return output::json(&deployments);
        }
        let mut table = output::table(&["COMPONENT", "VERSION", "CAN BE CALLED", "PURE"]);
        for deployment in &deployments {
            let callable = callable(deployment).join(" ");
            table.add_row([&deployment.component, &deployment.version, &callable, &purity(deployment)]);
        }
        output::print(&table)?;
        for Deployment { component, version, refused, .. } in &deployments {
            if let Some(refused) = refused {
                output::line(refusal(component, version, refused))?;
            }
        }
        Ok(())
    }
}

/// What the operator has to know: new code that agents do not take.
fn refusal(component: &str, version: &str, refused: &Refused) -> String {
    let Refused { agents, example, cause } = refused;
    let stay = if *agents == 1 { "1 agent stays" } else { &format!("{agents} agents stay") };
    let (example, why) = (output::printable(example), cause.message.lines().next().unwrap_or_default());
    format!(
        "{component} {version}: {stay} with the version before, {example} for one; why: {}: {}; \
         deploy a repaired version, or `stride rollback {component}`",
        cause.code,
        output::printable(why)
    )
}

/// Whether its functions are pure, and why not.
fn purity(deployment: &Deployment) -> String {
    match &deployment.impure_because {
        _ if deployment.functions.is_empty() => "-".to_owned(),
        None => "yes".to_owned(),
        Some(why) => format!("no: {}", output::printable(why)),
    }
}

fn callable(deployment: &Deployment) -> Vec<String> {
    let functions = deployment.functions.iter().map(|f| format!("{}/{f}", deployment.component));
    let agents = deployment.agents.iter().map(|agent| {
        let methods: Vec<_> = agent.methods.iter().map(|method| method.name.as_str()).collect();
        format!("{}/KEY:{}", agent.kind, methods.join(","))
    });
    functions.chain(agents).collect()
}
