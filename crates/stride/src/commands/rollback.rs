//! `stride rollback COMPONENT`

use clap::Args;
use reqwest::Method;
use stride_ids::Name;

use crate::{
    client::Client,
    commands::deployments::{Deployment, deployed},
    output,
    report::Trouble,
};

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The component
    component: Name,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Rollback {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let deployed = deployed(client).await?;
        let found = deployed.into_iter().find(|deployment| deployment.component == self.component.as_str());
        let in_force = found.ok_or_else(|| {
            let what = format!("there is no component `{}`", self.component);
            Trouble::failed(what).next("`stride deployments` lists what is deployed")
        })?;
        // By id, so that a deployment that comes in between is not undone unseen.
        let request = client.request(Method::POST, &["deployments", &in_force.id, "rollback"]);
        let now: Deployment = client.json(request).await?;
        if self.json {
            return output::json(&now);
        }
        let Deployment { id, component, version, .. } = now;
        output::line(format_args!(
            "{component} is back at {version} ({id}), from {} ({})",
            in_force.version, in_force.id
        ))?;
        Ok(output::line(format_args!("to undo this: stride rollback {component}"))?)
    }
}
