//! `stride map COMPONENT/FUNCTION --over BUCKET/PREFIX`: the node runs the map, this shows how far it is and prints results as
//! they come. The map goes on if this ends.

use std::{
    io::{self, IsTerminal as _},
    sync::atomic::AtomicBool,
    time::Duration,
};

use reqwest::{Method, Response};
use serde::{Deserialize, de::IgnoredAny};
use stride_maps::Spec;
use stride_sim::Clock;

use super::{interrupt, progress::Progress, work::Outcome};
use crate::{
    client::{self, Client},
    report::{Said, Trouble},
};

/// How often the node is asked how many items there are, and what it knew already.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Status {
    id: String,
    state: String,
    cause: Option<Cause>,
    items: u64,
    planned: bool,
    memoised: u64,
}

#[derive(Deserialize)]
struct Cause {
    code: String,
    message: String,
}

/// What has to be known of a result to count it.
#[derive(Deserialize)]
struct Line {
    ok: bool,
    code: Option<String>,
    reduce: Option<IgnoredAny>,
}

/// Begins a map and follows it to its end.
pub(crate) async fn run(client: &Client, spec: &Spec) -> anyhow::Result<()> {
    let begun: Status = client.json(client.request(Method::POST, &["maps"]).json(spec)).await?;
    let clock = Clock::real();
    let progress = Progress::begin(clock.clone(), io::stderr().is_terminal());
    progress.say(&format!("{} is under way", begun.id));
    let follow = Follow { client, spec, id: &begun.id, progress, clock, stop: AtomicBool::new(false) };
    let ended = match follow.to_the_end().await {
        Ok(()) => follow.status().await.and_then(|status| status.is_over().then_some(status).ok_or_else(stops)),
        Err(error) => Err(error),
    };
    if let Ok(status) = &ended {
        follow.tell(status);
    }
    let summary = follow.progress.end();
    let status = ended.inspect_err(|_| {
        eprintln!("map: {0} goes on by itself; GET /v1/maps/{0}/results has all of its results", begun.id);
    })?;
    if let Some(Cause { code, message }) = status.cause {
        eprintln!("{summary}");
        return Err(Trouble::failed(format!("the map could not go on ({code})")).why(message).into());
    }
    let is_cancelled = status.state == "cancelled";
    if status.items == 0 && !is_cancelled {
        let next = format!("`stride ls {}` shows what is there", spec.over);
        let what = format!("there is nothing to do: no object is under {}", spec.over);
        return Err(Trouble::failed(what).next(next).into());
    }
    eprintln!("{summary}{}", if is_cancelled { "; stopped before the end" } else { "" });
    if summary.failed() == 0 && !is_cancelled { Ok(()) } else { Err(Said.into()) }
}

impl Status {
    fn is_over(&self) -> bool {
        self.state != "running"
    }
}

/// The results ended before the map did.
fn stops() -> anyhow::Error {
    Trouble::failed("the node stops before the map has come to its end").into()
}

struct Follow<'a> {
    client: &'a Client,
    spec: &'a Spec,
    id: &'a str,
    progress: Progress,
    clock: Clock,
    stop: AtomicBool,
}

impl Follow<'_> {
    async fn status(&self) -> anyhow::Result<Status> {
        self.client.json(self.client.request(Method::GET, &["maps", self.id])).await
    }

    fn tell(&self, status: &Status) {
        if status.planned {
            self.progress.expect(status.items);
        }
        self.progress.tell_memoised(status.memoised);
    }

    async fn to_the_end(&self) -> anyhow::Result<()> {
        let mut results = self.client.send(self.client.request(Method::GET, &["maps", self.id, "results"])).await?;
        let mut rest = Vec::<u8>::new();
        loop {
            let more = tokio::select! {
                more = next(self.client, &mut results) => more?,
                () = self.progress.tick() => continue,
                () = self.clock.sleep(LOOK_EVERY) => {
                    self.tell(&self.status().await?);
                    continue;
                }
                signal = tokio::signal::ctrl_c() => {
                    signal?;
                    interrupt(&self.stop, &self.progress);
                    // One that has ended would be removed.
                    if !self.status().await?.is_over() {
                        self.client.send(self.client.request(Method::DELETE, &["maps", self.id])).await?;
                    }
                    continue;
                }
            };
            let Some(more) = more else { return Ok(()) };
            rest.extend_from_slice(&more);
            let mut taken = 0;
            while let Some(len) = rest[taken..].iter().position(|byte| *byte == b'\n') {
                self.take(&String::from_utf8_lossy(&rest[taken..taken + len]))?;
                taken += len + 1;
            }
            rest.drain(..taken);
        }
    }

    /// Prints a line and counts it. If there is a reduction, only its result and what failed are worth printing.
    fn take(&self, text: &str) -> anyhow::Result<()> {
        let Line { ok, code, reduce } = serde_json::from_str(text)?;
        if self.spec.reduce.is_none() || reduce.is_some() || !ok {
            // A reader that has gone ends this: nobody would see the rest.
            self.progress.result(text)?;
        }
        match code {
            _ if reduce.is_some() => {}
            Some(code) => self.progress.count(Outcome::Failed { line: String::new(), code }),
            // Which of the results were memoised is not in the lines, so that the same map prints the same.
            None => self.progress.count(Outcome::Done { line: String::new(), is_memoised: false }),
        }
        Ok(())
    }
}

async fn next(client: &Client, results: &mut Response) -> Result<Option<bytes::Bytes>, client::Error> {
    results.chunk().await.map_err(|e| client.unreachable(&e))
}
