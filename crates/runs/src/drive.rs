//! The driver: does what a run says, and tells it what became of that.
//!
//! One driver works on a run, on the node where the run's agent is. It ends when there is nothing to do, and comes back when the agent has had a
//! turn. What it holds in memory is only what is under way: a driver that is lost is replaced, and what it did is done again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde::de::DeserializeOwned;
use stride_agents::Ask;
use stride_flows::{
    Command, Event,
    run::{Error, ReadFrom},
};
use stride_ids::{Address, Code, Failure};
use tokio::sync::oneshot;

use crate::{
    inside::{is_within, is_work},
    message::{OUT, Out, TOOK, Took},
    payload,
    shared::{Shared, Signal},
    store, work,
};

/// How many answers go to a run in one turn, and about how many bytes of them.
const TOOK_MAX: usize = 128;
const TOOK_BYTES: usize = 256 << 10;
/// How long a driver waits before it asks again a run that does not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// Works on a run until there is nothing to do, or until it is somewhere else.
pub(crate) async fn drive(shared: Arc<Shared>, run: Address, signal: Arc<Signal>) {
    let mut driver = Driver { shared, run, signal, under_way: FuturesUnordered::new(), going: HashMap::new() };
    loop {
        if driver.work().await.is_err() {
            driver.signal.stop();
        }
        if driver.shared.leave(&driver.run, &driver.signal) {
            return;
        }
    }
}

/// What became of a command.
enum Came {
    Event(Event),
    /// It is done in a turn of the run, which had no room for it.
    Again(String),
}

/// It is not worth going on: the run is gone, or somewhere else.
struct Gone;

struct Driver {
    shared: Arc<Shared>,
    run: Address,
    signal: Arc<Signal>,
    /// None: it was cancelled.
    under_way: FuturesUnordered<BoxFuture<'static, (String, Option<Came>)>>,
    /// By step; what is dropped is cancelled.
    going: HashMap<String, oneshot::Sender<()>>,
}

impl Driver {
    async fn work(&mut self) -> Result<(), Gone> {
        loop {
            if self.signal.is_stopped() {
                return Err(Gone);
            }
            if self.signal.is_to_be_forgotten() {
                store::forget(&self.shared, &self.run).await;
                return Err(Gone);
            }
            if self.signal.take_touched() {
                self.look().await?;
            }
            if self.under_way.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(first) = self.under_way.next() => {
                    let mut came = vec![first];
                    while came.len() < TOOK_MAX && let Some(Some(next)) = self.under_way.next().now_or_never() {
                        came.push(next);
                    }
                    self.report(came).await?;
                }
                () = self.signal.changed() => {}
            }
        }
    }

    /// Asks the run what is to be done, and begins what has not begun.
    async fn look(&mut self) -> Result<(), Gone> {
        let mut out = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let page: Out = self.ask(OUT, &after).await?;
            for command in &page.commands {
                after = command.step().map(str::to_owned);
                out.extend(after.clone());
            }
            self.begin(page.commands);
            if !page.more {
                break;
            }
        }
        // What the run waits for no longer is cancelled.
        self.going.retain(|step, _| out.contains(step));
        Ok(())
    }

    fn begin(&mut self, commands: Vec<Command>) {
        for command in commands {
            let Some(step) = command.step().map(str::to_owned) else { continue };
            match command {
                Command::Cancel { .. } => drop(self.going.remove(&step)),
                command if is_within(&command) || matches!(command, Command::Continue { .. }) => {
                    self.at_once(step, command);
                }
                command if is_work(&command) && !self.going.contains_key(&step) => self.set_out(step, command),
                _ => {}
            }
        }
    }

    fn at_once(&mut self, step: String, command: Command) {
        let came = match command {
            Command::Continue { step } => Came::Event(Event::Done { step, result: serde_json::Value::Null }),
            _ => Came::Again(step.clone()),
        };
        self.under_way.push(Box::pin(async move { (step, Some(came)) }));
    }

    fn set_out(&mut self, step: String, command: Command) {
        let (cancel, mut cancelled) = oneshot::channel();
        let (shared, run) = (self.shared.clone(), self.run.clone());
        // The only one is done right here, which saves waking somebody.
        let is_alone = self.going.is_empty();
        self.going.insert(step.clone(), cancel);
        // Who waits for messages takes no room from those who work.
        let waits = matches!(&command, Command::Read { source: ReadFrom::Topic { .. }, .. });
        let working = async move {
            let _room = match waits {
                true => None,
                false => Some(shared.room.clone().acquire_owned().await.ok()?),
            };
            tokio::select! {
                event = work::work(&shared, &run, command) => event.map(Came::Event),
                _ = &mut cancelled => None,
            }
        };
        if is_alone {
            self.under_way.push(Box::pin(working.map(move |came| (step, came))));
            return;
        }
        let (tell, told) = oneshot::channel();
        self.shared.tasks.spawn(async move {
            // The driver may have ended meanwhile.
            let _ = tell.send(working.await);
        });
        self.under_way.push(Box::pin(told.map(move |came| (step, came.ok().flatten()))));
    }

    /// Tells the run what became of its commands.
    async fn report(&mut self, came: Vec<(String, Option<Came>)>) -> Result<(), Gone> {
        let mut took = Took::default();
        let mut bytes = 0;
        for (step, came) in came {
            self.going.remove(&step);
            match came {
                Some(Came::Event(event)) => {
                    bytes += size(&event);
                    took.events.push(event);
                }
                Some(Came::Again(step)) => took.again.push(step),
                None => {}
            }
            if bytes >= TOOK_BYTES {
                self.tell(std::mem::take(&mut took)).await?;
                bytes = 0;
            }
        }
        if !took.events.is_empty() || !took.again.is_empty() {
            self.tell(took).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, took: Took) -> Result<(), Gone> {
        let mut parts = vec![took];
        while let Some(took) = parts.pop() {
            match self.try_ask::<Out>(TOOK, &took).await? {
                Ok(Out { commands, more }) => {
                    self.begin(commands);
                    if more {
                        self.look().await?;
                    }
                }
                // More than fits into one turn: with less at a time, or as a failure.
                Err(failure) if failure.code == Code::PayloadTooLarge => parts.extend(smaller(took, &failure)),
                Err(failure) => {
                    tracing::error!(run = %self.run.key, %failure, "a run does not take what became of its steps");
                    return Err(Gone);
                }
            }
        }
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&mut self, method: &str, asked: &impl serde::Serialize) -> Result<T, Gone> {
        self.try_ask(method, asked).await?.map_err(|failure| {
            tracing::error!(run = %self.run.key, %failure, "a run does not answer");
            Gone
        })
    }

    /// Asks the run's agent, with patience.
    async fn try_ask<T: DeserializeOwned>(
        &mut self,
        method: &str,
        asked: &impl serde::Serialize,
    ) -> Result<Result<T, Failure>, Gone> {
        let engine = self.shared.surroundings().map_err(|_| Gone)?.engine.clone();
        let input = payload::json(asked);
        loop {
            if self.signal.is_stopped() || !engine.is_here(&self.run) {
                return Err(Gone);
            }
            let (address, method, input) = (self.run.clone(), method.to_owned(), input.clone());
            let answer = engine.ask(Ask { address, method, input, idempotency_key: None, trace: None }).await;
            return match answer {
                Ok(answer) => Ok(serde_json::from_slice(&answer.payload.body)
                    .map_err(|e| Failure::new(Code::Internal, format!("a run answered what cannot be read: {e}")))),
                Err(Failure { code: Code::NotFound, .. }) => Err(Gone),
                // An event that counted already changes nothing, so what is unknown is said again.
                Err(Failure { code: Code::Overloaded | Code::Unavailable, .. }) => {
                    self.shared.clock.sleep(AGAIN).await;
                    continue;
                }
                Err(failure) => Ok(Err(failure)),
            };
        }
    }
}

/// The same in halves; what cannot be halved has failed, and what cannot even fail ends the run.
fn smaller(Took { mut events, mut again }: Took, failure: &Failure) -> Vec<Took> {
    if !events.is_empty() && !again.is_empty() {
        return vec![Took { events: Vec::new(), again }, Took { events, again: Vec::new() }];
    }
    if events.len() + again.len() > 1 {
        let (events_after, again_after) = (events.split_off(events.len() / 2), again.split_off(again.len() / 2));
        return vec![Took { events: events_after, again: again_after }, Took { events, again }];
    }
    let event = match (again.pop(), events.pop()) {
        (Some(step), _)
        | (None, Some(Event::Done { step, .. } | Event::Items { step, .. } | Event::Page { step, .. })) => {
            Event::Failed { step, error: Error::new("value_too_large", failure.message.clone()) }
        }
        // Not even what follows from the failure fits, so the run cannot go on; else the step would be done again and again.
        (None, Some(Event::Failed { .. })) => Event::Cancelled,
        (None, _) => return Vec::new(),
    };
    vec![Took { events: vec![event], again: Vec::new() }]
}

/// About how many bytes an event has.
fn size(event: &Event) -> usize {
    use stride_flows::value::size;
    let payload = match event {
        Event::Done { result, .. } => size(result),
        Event::Items { outcomes, combined, .. } => {
            let outcomes = outcomes.iter().flatten().flatten();
            outcomes.chain(combined.iter().flatten()).map(size).sum()
        }
        Event::Page { items, .. } => items.iter().map(size).sum(),
        _ => 0,
    };
    payload + 256
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_large_for_a_turn_is_said_in_halves_then_as_a_failure_and_at_last_ends_the_run() {
        let failure = Failure::new(Code::PayloadTooLarge, "one turn can write so much");
        let done = |step: &str| Event::Done { step: step.into(), result: json!(1) };
        let mut parts = vec![Took { events: vec![done("/a"), done("/b"), done("/c")], again: vec!["/d".into()] }];
        let mut failed = Vec::new();
        while let Some(took) = parts.pop() {
            match &took.events[..] {
                [Event::Failed { step, error }] => {
                    assert_eq!(error.code, "value_too_large");
                    failed.push(step.clone());
                }
                _ => parts.extend(smaller(took, &failure)),
            }
        }
        failed.sort();
        assert_eq!(failed, ["/a", "/b", "/c", "/d"]);
        let last =
            Took { events: vec![Event::Failed { step: "/a".into(), error: Error::new("x", "y") }], again: vec![] };
        let cancelled = smaller(last, &failure);
        assert_eq!(cancelled[0].events, [Event::Cancelled]);
        assert!(smaller(Took { events: vec![Event::Cancelled], again: vec![] }, &failure).is_empty());
    }
}
