//! A connection of a peer that calls.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    BODY_LEN_MAX, Broken, Malformed, Refused, Service,
    frame::{Header, Kind, Refusal},
    inbox::Inbox,
    link::{ALONE_MAX, TICK},
    metrics,
    outbox::{Outbox, Outgoing},
    server::{self, Shared},
    wire::{Sink, Source},
};

/// A peer pings with every tick; one that is silent for so many is gone.
const SILENT_TICKS_MAX: u32 = 25;
/// How long what was begun may take once the node drains.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long a peer has to read the last answers and hang up. If this side did, what is on its way could be lost.
const PART_MAX: Duration = Duration::from_secs(2);

struct Incoming<'a> {
    shared: &'a Arc<Shared>,
    outbox: Arc<Outbox>,
    inbox: Inbox,
    calls: Arc<Semaphore>,
    /// The newest call that was begun or refused.
    newest: u64,
}

/// Answers until the peer is gone or the node ends, and says why it was over.
pub(crate) async fn run(shared: &Arc<Shared>, source: Source, sink: Sink, stop: watch::Receiver<bool>) -> Broken {
    let outbox = Arc::new(Outbox::new(sink));
    let calls = Arc::new(Semaphore::new(shared.settings.calls_per_connection_max));
    let incoming = Incoming { shared, outbox: outbox.clone(), inbox: Inbox::new(source), calls, newest: 0 };
    let broken = tokio::select! {
        broken = incoming.answer(stop) => broken.err().unwrap_or(Broken::Closed),
        broken = outbox.run() => broken,
    };
    // What is still being answered goes nowhere.
    outbox.close();
    broken
}

impl Incoming<'_> {
    async fn answer(mut self, stop: watch::Receiver<bool>) -> Result<(), Broken> {
        let clock = &self.shared.clock;
        let mut stopped = pin!(server::stopped(stop));
        let mut tick = pin!(clock.sleep(TICK));
        let mut silent = 0;
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return self.part().await,
                frame = self.inbox.next() => {
                    let (header, body) = frame?;
                    self.take(header, body)?;
                }
                () = &mut tick => {
                    tick.set(clock.sleep(TICK));
                    let heard = self.inbox.take_heard() | self.outbox.take_moved();
                    silent = if heard { 0 } else { silent + 1 };
                    if silent >= SILENT_TICKS_MAX {
                        return Err(Broken::Silent);
                    }
                }
            }
        }
    }

    fn take(&mut self, header: Header, body: Bytes) -> Result<(), Broken> {
        let is_last = !self.inbox.has_next();
        match header.kind {
            Kind::Call { service, deadline } => {
                self.newest = header.id;
                match self.slot(body.len()) {
                    Some(slot) => self.begin(header.id, service, deadline, body, slot, is_last),
                    None => self.outbox.push(answer(header.id, Err(Refusal::Overloaded), Vec::new())),
                }
            }
            Kind::Ping => self.outbox.push(Outgoing::bare(Kind::Pong, 0)),
            Kind::Answer | Kind::Refusal(_) | Kind::Pong | Kind::Goodbye => return Err(Malformed::Direction.into()),
        }
        if is_last {
            self.outbox.flush();
        }
        if self.outbox.queued() > 4 * self.shared.settings.calls_per_connection_max {
            return Err(Broken::Unread);
        }
        Ok(())
    }

    /// Room for one more call. It is free again when the answer has been written.
    fn slot(&self, body_len: usize) -> Option<Vec<OwnedSemaphorePermit>> {
        let kib = u32::try_from(body_len >> 10).ok()?;
        let here = self.calls.clone().try_acquire_owned().ok()?;
        let in_all = self.shared.calls.clone().try_acquire_owned().ok()?;
        let body = self.shared.bodies_kib.clone().try_acquire_many_owned(kib).ok()?;
        Some(vec![here, in_all, body])
    }

    /// Answers at once if that needs no waiting and nobody else waits to be read; otherwise in a task of its own.
    fn begin(
        &self,
        id: u64,
        service: Service,
        deadline: Duration,
        body: Bytes,
        slot: Vec<OwnedSemaphorePermit>,
        is_last: bool,
    ) {
        let answers = self.shared.answers.clone();
        let work = async move { answers.answer(service, body).await };
        let mut work = Box::pin(AssertUnwindSafe(work).catch_unwind().map(|answer| match answer {
            Ok(Ok(answer)) if answer.len() > BODY_LEN_MAX => Err(Refusal::AnswerTooLarge),
            Ok(answer) => answer.map_err(Refusal::from),
            Err(_) => Err(Refusal::Failed),
        }));
        if is_last && let Some(result) = work.as_mut().now_or_never() {
            self.outbox.push(answer(id, result, slot));
            return;
        }
        let (outbox, clock, calls) = (self.outbox.clone(), self.shared.clock.clone(), self.calls.clone());
        let alone_from = self.shared.settings.calls_per_connection_max.saturating_sub(ALONE_MAX);
        self.shared.tasks.spawn(async move {
            let result = clock.timeout(deadline, work).await.unwrap_or(Err(Refusal::Late));
            outbox.push(answer(id, result, slot));
            outbox.send(calls.available_permits() >= alone_from);
        });
    }

    /// Says goodbye, answers what was begun, and waits until the peer hangs up.
    async fn part(mut self) -> Result<(), Broken> {
        self.outbox.push(Outgoing::bare(Kind::Goodbye, self.newest));
        self.outbox.flush();
        let (clock, calls) = (self.shared.clock.clone(), self.calls.clone());
        let all = u32::try_from(self.shared.settings.calls_per_connection_max).unwrap_or(u32::MAX);
        let hung_up = async {
            loop {
                // Whatever is asked now was said not to be begun.
                if let (Header { kind: Kind::Ping, .. }, _) = self.inbox.next().await? {
                    self.outbox.push(Outgoing::bare(Kind::Pong, 0));
                    self.outbox.flush();
                }
            }
        };
        let given_up = async {
            // Each answer gives its permit back when it is written.
            let _ = clock.timeout(DRAIN_MAX, calls.acquire_many(all)).await;
            clock.sleep(PART_MAX).await;
        };
        tokio::select! {
            hung_up = hung_up => hung_up,
            () = given_up => Ok(()),
        }
    }
}

fn answer(id: u64, result: Result<Bytes, Refusal>, slot: Vec<OwnedSemaphorePermit>) -> Outgoing {
    metrics::answered(result.as_ref().err().copied());
    match result {
        Ok(body) => Outgoing::new(Kind::Answer, id, body, slot),
        Err(refusal) => Outgoing::new(Kind::Refusal(refusal), id, Bytes::new(), slot),
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Overloaded => Self::Overloaded,
            Refused::NotServed => Self::NotServed,
        }
    }
}
