//! `stride ask` and `stride tell TYPE/KEY METHOD [DATA | @FILE | -]`

use clap::Args;
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use stride_ids::Name;

use crate::{client::Client, commands::call::BodyArgs, output, target::AgentTarget};

#[derive(Debug, Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    message: MessageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Tell {
    #[command(flatten)]
    message: MessageArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One message for one agent.
#[derive(Debug, Args)]
struct MessageArgs {
    /// The agent
    #[arg(value_name = "TYPE/KEY")]
    target: AgentTarget,
    /// The method
    method: Name,
    #[command(flatten)]
    body: BodyArgs,
    /// The same key again gets the first answer again, and the work is not done twice
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl MessageArgs {
    fn request(self, client: &Client) -> anyhow::Result<RequestBuilder> {
        let [agents, kind, key] = self.target.path();
        let request = client.request(Method::POST, &[agents, kind, key, self.method.as_str()]);
        let request = self.body.onto(request)?;
        Ok(match self.idempotency_key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
    }
}

impl Ask {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        Ok(output::reply(&client.reply(self.message.request(client)?).await?)?)
    }
}

#[derive(Serialize, Deserialize)]
struct Told {
    message: String,
}

impl Tell {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let agent = format!("{}/{}", self.message.target.kind, self.message.target.key);
        let request = self.message.request(client)?.query(&[("mode", "tell")]);
        let told: Told = client.json(request).await?;
        if self.json {
            return output::json(&told);
        }
        Ok(output::line(format_args!("told {agent}, message {}", told.message))?)
    }
}
