//! `stride deploy [PATH]`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reqwest::{
    Method,
    multipart::{Form, Part},
};

use crate::{
    cli::DEFAULT_URL,
    client::Client,
    commands::{
        build::build,
        deployments::{AgentMethod, Deployment, Replaced},
    },
    output,
    project::Project,
};

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The project's directory
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Upload what was built before
    #[arg(long)]
    no_build: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Deploy {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let project = Project::open(&self.path)?;
        if !self.no_build {
            build(&project)?;
        }
        let artifact = project.artifact.display();
        let component = std::fs::read(&project.artifact).with_context(|| format!("cannot read {artifact}"))?;
        let component = Part::bytes(component).file_name(format!("{}.wasm", project.name));
        let form = Form::new().text("manifest", project.manifest).part("component", component);
        let request = client.request(Method::POST, &["deployments"]).multipart(form);
        let deployment: Deployment = client.json(request).await?;
        if self.json {
            return output::json(&deployment);
        }
        output::line(format_args!("deployed {} {} ({})", deployment.component, deployment.version, deployment.id))?;
        if let Some(Replaced { id, version }) = &deployment.replaced {
            let component = &deployment.component;
            output::line(format_args!("before it: {version} ({id}); to go back: stride rollback {component}"))?;
        }
        let url = client.url();
        let known = std::env::var("STRIDE_URL").ok().filter(|url| !url.is_empty());
        let known = known.as_deref().unwrap_or(DEFAULT_URL);
        let node = if url == known.trim_end_matches('/') { String::new() } else { format!(" --url {url}") };
        Ok(lines(&deployment, &node, url).into_iter().try_for_each(output::line)?)
    }
}

/// What can be typed now. The node knows names, not types, so the data is an example.
fn lines(deployment: &Deployment, node: &str, url: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if !deployment.functions.is_empty() || !deployment.agents.is_empty() {
        lines.push("try (the data is an example; change it to what the code takes):".to_owned());
    }
    for function in &deployment.functions {
        lines.push(format!("  stride call{node} {}/{function} '\"hello\"'", deployment.component));
    }
    for agent in &deployment.agents {
        for AgentMethod { name, read_only } in &agent.methods {
            let data = if *read_only { "" } else { " 1" };
            lines.push(format!("  stride ask{node} {}/alice {name}{data}", agent.kind));
        }
    }
    let with_curl = match (deployment.functions.first(), deployment.agents.first()) {
        (Some(function), _) => Some((format!("functions/{}/{function}", deployment.component), "'\"hello\"'")),
        (None, Some(agent)) => agent.methods.first().map(|m| (format!("agents/{}/alice/{}", agent.kind, m.name), "1")),
        (None, None) => None,
    };
    lines.extend(with_curl.map(|(path, data)| format!("  curl -d {data} {url}/v1/{path}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::deployments::AgentType;

    #[test]
    fn every_function_and_method_gets_a_line_to_paste() {
        let method = |name: &str, read_only| AgentMethod { name: name.into(), read_only };
        let deployment = Deployment {
            id: "dep-1".into(),
            component: "counter".into(),
            version: "abc".into(),
            functions: vec!["shout".into()],
            agents: vec![AgentType {
                kind: "counter".into(),
                methods: vec![method("add", false), method("get", true)],
            }],
            created_at: 0,
            replaced: None,
            pure: true,
            impure_because: None,
            refused: None,
        };
        let lines = lines(&deployment, "", "http://127.0.0.1:7373").join("\n");
        for line in [
            "stride call counter/shout '\"hello\"'",
            "stride ask counter/alice add 1",
            "stride ask counter/alice get",
            "curl -d '\"hello\"' http://127.0.0.1:7373/v1/functions/counter/shout",
        ] {
            assert!(lines.contains(line), "{line} is not in\n{lines}");
        }
    }
}
