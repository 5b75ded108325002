//! The nodes that an election runs on: one of its own, or any of a cluster that runs already.

use std::{
    fmt::Display,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use reqwest::Client;
use serde::{Serialize, de::DeserializeOwned};
use stride_sim::Clock;

use crate::{
    commands::bench::node::{Server, deploy},
    report::Trouble,
};

/// How long anything that has to become true may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is not true yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// See the module.
pub(super) struct Nodes {
    clock: Clock,
    client: Client,
    urls: Vec<String>,
    /// Whose turn it is: requests go to one after the other.
    next: AtomicUsize,
    /// Kept for as long as it is measured.
    _own: Option<(Server, tempfile::TempDir)>,
}

impl Nodes {
    /// With the example deployed.
    pub(super) async fn open(clock: &Clock, urls: &[String]) -> anyhow::Result<Self> {
        let mut urls: Vec<_> = urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let mut own = None;
        if urls.is_empty() {
            let dir = tempfile::tempdir()?;
            let node = Server::node(&dir.path().join("data"))?;
            urls.push(format!("http://{}", node.address));
            own = Some((node, dir));
        }
        deploy(&urls[0], "election").await.map_err(|why| {
            Trouble::failed(format!("{} does not take the example", urls[0]))
                .why(format!("{why:#}"))
                .next("see that --nodes names nodes of this version, as http://HOST:PORT")
        })?;
        Ok(Self { clock: clock.clone(), client: Client::new(), urls, next: AtomicUsize::new(0), _own: own })
    }

    /// Asks an agent.
    pub(super) async fn ask<R: DeserializeOwned>(
        &self,
        agent: impl Display,
        method: &str,
        body: &(impl Serialize + ?Sized),
    ) -> anyhow::Result<R> {
        let url = &self.urls[self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len()];
        let answer = self.client.post(format!("{url}/v1/agents/{agent}/{method}")).json(body).send().await?;
        let (status, bytes) = (answer.status(), answer.bytes().await?);
        if !status.is_success() {
            bail!("{agent} answers `{method}` with {status}: {}", String::from_utf8_lossy(&bytes));
        }
        serde_json::from_slice(&bytes).with_context(|| format!("{agent} answers `{method}` with something else"))
    }

    /// Asks an agent until its answer is as it should be.
    pub(super) async fn ask_until<R: DeserializeOwned>(
        &self,
        agent: impl Display,
        method: &str,
        is_it: impl Fn(&R) -> bool,
    ) -> anyhow::Result<R> {
        let began = self.clock.now();
        loop {
            let answer = self.ask(&agent, method, &()).await?;
            if is_it(&answer) {
                return Ok(answer);
            }
            if self.clock.now() - began > PATIENCE {
                bail!("{agent} does not answer `{method}` as it should, also not after {PATIENCE:?}");
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }
}
