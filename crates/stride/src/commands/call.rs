//! `stride call COMPONENT/FUNCTION [DATA | @FILE | -]`

use std::time::Duration;

use clap::Args;
use reqwest::{Method, RequestBuilder, header::CONTENT_TYPE};

use crate::{
    client::Client,
    input::Data,
    output,
    target::{FunctionTarget, ObjectTarget},
};

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The function
    #[arg(value_name = "COMPONENT/FUNCTION")]
    target: FunctionTarget,
    #[command(flatten)]
    body: BodyArgs,
    /// An object that it will read, as often as there are any: in a cluster it runs where they are
    #[arg(long, value_name = "BUCKET/KEY")]
    near: Vec<ObjectTarget>,
}

/// What to send with a call or an ask, and how long to wait.
#[derive(Debug, Args)]
pub(crate) struct BodyArgs {
    /// What to send: the data itself, a file's content, or stdin
    #[arg(value_name = "DATA | @FILE | -", allow_negative_numbers = true)]
    data: Option<Data>,
    /// What the data is
    #[arg(long, default_value = "application/json", value_name = "TYPE")]
    content_type: String,
    /// Give up after this long, such as 5s
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    deadline: Option<Duration>,
}

impl BodyArgs {
    pub(crate) fn onto(self, request: RequestBuilder) -> anyhow::Result<RequestBuilder> {
        let body = self.data.map(Data::read).transpose()?.unwrap_or_default();
        let request = request.header(CONTENT_TYPE, self.content_type).body(body);
        Ok(match self.deadline {
            Some(deadline) => request.header("stride-deadline-ms", deadline.as_millis().to_string()),
            None => request,
        })
    }
}

impl Call {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let near: Vec<_> = self.near.iter().map(|object| ("data", object.to_string())).collect();
        let request = self.body.onto(client.request(Method::POST, &self.target.path()).query(&near))?;
        Ok(output::reply(&client.reply(request).await?)?)
    }
}
