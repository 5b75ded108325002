//! The results of a map as lines, in the order of its items, while it runs and after that.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::json;
use stride_agents::native::ask;
use stride_ids::{Address, Failure, Name};

use crate::{
    id::MapId,
    line,
    maps::{Inner, Maps},
    message::{REDUCED, RESULTS, Results, ResultsAsked, STATUS},
    row::{Outcome, Output, Run, State},
};

/// How long to wait for a map that nobody works on yet, because the node has just started.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

struct Reading {
    inner: Arc<Inner>,
    address: Address,
    /// The number of the next item.
    next: u64,
    is_over: bool,
}

/// The lines of a map, several at a time. The stream ends when the map has, or the node stops.
pub(crate) fn lines(inner: Arc<Inner>, address: Address) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
    let reading = Reading { inner, address, next: 0, is_over: false };
    stream::try_unfold(reading, |mut reading| async move {
        let lines = reading.more().await?;
        Ok(lines.map(|lines| (lines, reading)))
    })
}

impl Reading {
    async fn more(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.is_over {
            // Looked at before the results: whoever works on the map may record some until the end.
            let signal = self.inner.signal(&self.address);
            let mut watch = signal.as_ref().map(|signal| signal.watch());
            let asked = ResultsAsked { from: self.next };
            let found: Results = ask(&self.inner.engine, &self.address, RESULTS, &asked).await?;
            let has_ended = found.state != State::Running && signal.is_none();
            let mut lines = String::new();
            for (number, outcome) in in_order(found.outcomes, self.next, has_ended) {
                self.next = number + 1;
                lines.push_str(&line_of(&outcome));
                lines.push('\n');
            }
            if !lines.is_empty() {
                return Ok(Some(lines.into()));
            }
            if has_ended {
                self.is_over = true;
                return Ok(self.reduced().await?.map(Bytes::from));
            }
            let wait = async {
                match &mut watch {
                    // The sender lives as long as the signal that is held here.
                    Some(watch) => drop(watch.changed().await),
                    None => self.inner.clock.sleep(LOOK_AGAIN).await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.inner.stopped() => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The last line, if there is a reduction and it came to its end in any way.
    async fn reduced(&self) -> Result<Option<String>, Failure> {
        let run: Run = ask(&self.inner.engine, &self.address, STATUS, &()).await?;
        let Some(function) = &run.spec.reduce else { return Ok(None) };
        if run.state != State::Done {
            return Ok(None);
        }
        let reduced: Option<Output> = ask(&self.inner.engine, &self.address, REDUCED, &()).await?;
        let function = json!(function.to_string());
        Ok(Some(match reduced {
            Some(Output::Kept(value)) => {
                let result = line::result(&value.content_type, &value.body);
                format!("{{\"reduce\":{function},\"ok\":true,\"result\":{result}}}\n")
            }
            Some(Output::Stored { object, bytes }) => {
                let object = json!(object);
                format!("{{\"reduce\":{function},\"ok\":true,\"object\":{object},\"bytes\":{bytes}}}\n")
            }
            // No item had a result.
            None => format!("{{\"reduce\":{function},\"ok\":true,\"result\":null}}\n"),
        }))
    }
}

/// Results without a gap: one that is not there yet is waited for, unless it will never be.
fn in_order(outcomes: Vec<(u64, Outcome)>, from: u64, has_ended: bool) -> impl Iterator<Item = (u64, Outcome)> {
    outcomes
        .into_iter()
        .zip(from..)
        .take_while(move |((number, _), next)| has_ended || number == next)
        .map(|(one, _)| one)
}

/// Some results, in the order of the items.
pub struct ResultsPage {
    /// Each with its number.
    pub results: Vec<(u64, Outcome)>,
    /// With which number to go on; none once the map has ended and there are no more.
    pub next: Option<u64>,
}

impl Maps {
    /// The results that are there from a number on, `limit` at most. There may be fewer, or none yet.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn results_from(
        &self,
        tenant: &Name,
        id: &MapId,
        from: u64,
        limit: usize,
    ) -> Result<ResultsPage, Failure> {
        let address = id.address(tenant);
        let is_worked_on = self.0.signal(&address).is_some();
        let Results { state, outcomes } = ask(&self.0.engine, &address, RESULTS, &ResultsAsked { from }).await?;
        let has_ended = state != State::Running && !is_worked_on;
        let results: Vec<_> = in_order(outcomes, from, has_ended).take(limit).collect();
        let next = match results.last() {
            Some((last, _)) => Some(last + 1),
            None => Some(from).filter(|_| !has_ended),
        };
        Ok(ResultsPage { results, next })
    }

    /// What the reduction came to; none if there is none, or not yet.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn reduced(&self, tenant: &Name, id: &MapId) -> Result<Option<Output>, Failure> {
        ask(&self.0.engine, &id.address(tenant), REDUCED, &()).await
    }
}

fn line_of(Outcome { name, result }: &Outcome) -> String {
    match result {
        Ok(Output::Kept(payload)) => line::success(name, &line::result(&payload.content_type, &payload.body)),
        Ok(Output::Stored { object, bytes }) => line::stored(name, object, *bytes),
        Err(failure) => line::failure(name, failure.code.as_str(), &failure.message),
    }
}
