//! `stride explain COMPONENT/FUNCTION [DATA…]`, `stride explain [agent] TYPE/KEY` and `stride explain cell N`

use clap::Args;
use reqwest::{Method, header::ACCEPT};
use serde_json::Value;

use crate::{client::Client, output};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The function, the agent, or a cell of a cluster
    #[arg(value_name = "COMPONENT/FUNCTION | agent TYPE/KEY | cell N", value_parser = target)]
    of: String,
    /// What the function is to read: objects, or all whose keys begin so
    #[arg(value_name = "BUCKET/KEY | BUCKET/PREFIX")]
    data: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn target(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        None if text == "agent" || text == "cell" => Ok(text.to_owned()),
        Some((first, rest)) if !first.is_empty() && !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("write COMPONENT/FUNCTION, such as counter/shout, or TYPE/KEY, such as counter/alice".into()),
    }
}

impl Explain {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let Self { of, data, json } = self;
        let parameters: Vec<_> = match (of.as_str(), &data[..]) {
            ("cell", [number]) => vec![("cell", number)],
            ("agent", [agent]) => vec![("of", agent)],
            ("cell" | "agent", _) => anyhow::bail!("write cell N, such as cell 17, or agent TYPE/KEY"),
            _ => data.iter().map(|data| ("data", data)).chain([("of", &of)]).collect(),
        };
        let request = client.request(Method::GET, &["explain"]).query(&parameters);
        if json {
            return output::json(&client.json::<Value>(request).await?);
        }
        let reply = client.reply(request.header(ACCEPT, "text/plain")).await?;
        let text = String::from_utf8_lossy(&reply.body);
        Ok(text.lines().try_for_each(|line| output::line(output::printable(line)))?)
    }
}
