//! `stride ask TYPE/KEY METHOD [DATA | @FILE | -]`

use clap::Args;
use reqwest::Method;
use stride_ids::Name;

use crate::{client::Client, commands::call::BodyArgs, output, target::AgentTarget};

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// What to ask
    method: Name,
    #[command(flatten)]
    body: BodyArgs,
    /// The same key again gets the first reply again, and the work is not done twice
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Ask {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let [agents, kind, key] = self.target.path();
        let request = client.request(Method::POST, &[agents, kind, key, self.method.as_str()]);
        let mut request = self.body.onto(request)?;
        if let Some(key) = self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        Ok(output::reply(&client.reply(request).await?)?)
    }
}
