//! `stride rm BUCKET/KEY`

use clap::Args;
use reqwest::Method;

use crate::{client::Client, target::ObjectTarget};

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The object
    #[arg(value_name = "BUCKET/KEY")]
    target: ObjectTarget,
}

impl Rm {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        client.send(client.request(Method::DELETE, &self.target.path())).await?;
        Ok(())
    }
}
